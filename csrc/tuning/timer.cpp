#include "tuning/timer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include "device/query.hpp"

namespace gemm_tuner {
namespace {

constexpr double least_span_us = 20;  // between two events: their grain of 0.5 us is 2.5 % of it
constexpr double aimed_span_us = 25;  // so that noise does not ask for another trial
constexpr int most_launches = 256;    // a stream takes some 1,000 before the host waits
constexpr int warm_up_launches = 3;   // code and descriptors are loaded, clocks awake
constexpr double host_launch_us = 3;  // of one launch, where the host was not seen to be slower
constexpr double most_head_start_us = 500;
constexpr std::size_t head_start_bytes = 16 << 20;

std::string pci_bus_id(const Driver& driver, cuda::Device device) {
  char text[32] = "";
  driver.call(driver.cuDeviceGetPCIBusId, text, static_cast<int>(sizeof text), device);
  return text;
}

}  // namespace

/// How fast the device sets memory is seen once: it is how the device is kept busy for a wanted time.
Timer::State::State(const Driver& driver, cuda::Device device, int sm_count)
    : partition(driver, device, sm_count),
      begin(create_event(driver)),
      end(create_event(driver)),
      head_start(allocate_bytes(driver, head_start_bytes)) {
  float milliseconds = 0;
  for (int warm = 0; warm < 2; ++warm) {
    partition.record(driver, begin.get());
    driver.call(driver.cuMemsetD32Async, head_start.get(), 0U, head_start_bytes / 4, partition.stream());
    partition.record(driver, end.get());
    driver.call(driver.cuEventSynchronize, end.get());
    driver.call(driver.cuEventElapsedTime, &milliseconds, begin.get(), end.get());
  }
  head_start_bytes_per_us = head_start_bytes / std::max(1e3 * static_cast<double>(milliseconds), 1.0);
}

Timer::Timer(Driver driver, int ordinal, int sm_count, std::string nvml_path)
    : driver_(std::move(driver)), nvml_(nvml_path, pci_bus_id(driver_, device_at(driver_, ordinal))) {
  const cuda::Device device = device_at(driver_, ordinal);
  driver_.call(driver_.cuDevicePrimaryCtxRetain, &context_, device);
  retained_ = {device, driver_.cuDevicePrimaryCtxRelease};
  l2_bytes_ = attribute(driver_, device, cuda::Attribute::l2_bytes).value_or(0);
  const Current current(driver_, context_);
  state_ = std::make_unique<State>(driver_, device, sm_count);
}

Timer::~Timer() {
  cuda::Context popped = nullptr;
  const bool current = driver_.cuCtxPushCurrent.address(context_) == cuda::success;
  state_.reset();
  if (current) driver_.cuCtxPopCurrent.address(&popped);
}

Current Timer::enter() const {
  if (std::this_thread::get_id() != thread_) {
    throw std::logic_error("A Timer works only on the thread that made it: make another one on this thread.");
  }
  return {driver_, context_};
}

int Timer::allocate(std::vector<Operand> operands, std::uint64_t seed) {
  const Current current = enter();
  state_->work.clear();
  state_->arena.reset();  // before the next: both may not fit together
  state_->arena =
      std::make_unique<Arena>(driver_, stream(), std::move(operands), static_cast<std::size_t>(l2_bytes_), seed);
  next_set_ = 0;
  return sets();
}

Arena& Timer::arena() const {
  if (!state_->arena) throw std::invalid_argument("no operands were allocated yet: call allocate first");
  return *state_->arena;
}

cuda::Address Timer::address(const std::string& name, int set) const { return arena().address(name, set); }

void Timer::fill(const std::string& name, const std::string& fill, int set) {
  const Current current = enter();
  arena().fill(driver_, stream(), name, fill, set);
  driver_.call(driver_.cuStreamSynchronize, stream());
}

std::string Timer::read(const std::string& name, int set) {
  const Current current = enter();
  const cuda::Address source = arena().address(name, set);
  std::string bytes(arena().place(name).bytes, '\0');
  driver_.call(driver_.cuMemcpyDtoHAsync, bytes.data(), source, bytes.size(), stream());
  driver_.call(driver_.cuStreamSynchronize, stream());
  return bytes;
}

double Timer::usual_host_us(const Work& work) {
  return host_launch_us * std::max(1.0, static_cast<double>(work.kernels.size()));
}

int Timer::keep(Work work) {
  work.host_us = usual_host_us(work);
  state_->work.emplace(next_handle_, std::move(work));
  return next_handle_++;
}

int Timer::load(const std::vector<Launch>& launches) {
  if (launches.empty()) throw std::invalid_argument("there is nothing to load: give at least one launch");
  const Current current = enter();
  Work work;
  for (const Launch& launch : launches) work.kernels.emplace_back(driver_, retained_.get(), launch, arena());
  return keep(std::move(work));
}

int Timer::add(std::function<void(int)> enqueue) {
  Work work;
  work.enqueue = std::move(enqueue);
  return keep(std::move(work));
}

Timer::Work& Timer::at(int handle) {
  const auto found = state_->work.find(handle);
  if (found != state_->work.end()) return found->second;
  throw std::invalid_argument("nothing is loaded by the handle " + std::to_string(handle) +
                              ": it was unloaded, or operands were allocated since");
}

void Timer::unload(int handle) {
  const Current current = enter();
  at(handle);
  state_->work.erase(handle);
}

void Timer::enqueue(Work& work, int set) {
  if (work.enqueue) work.enqueue(set);
  for (Kernel& kernel : work.kernels) kernel.enqueue(driver_, stream(), set);
}

void Timer::run(int handle, int set) {
  const Current current = enter();
  Work& work = at(handle);
  if (set < 0 || set >= sets()) {
    throw std::invalid_argument("set must be from 0 to " + std::to_string(sets() - 1) + ", got " + std::to_string(set));
  }
  enqueue(work, set);
  driver_.call(driver_.cuStreamSynchronize, stream());
}

void Timer::take_head_start(double us) {
  auto bytes = static_cast<std::size_t>(us * state_->head_start_bytes_per_us);
  while (bytes > 0) {
    const std::size_t next = std::min(bytes, head_start_bytes);
    driver_.call(driver_.cuMemsetD32Async, state_->head_start.get(), 0U, (next + 3) / 4, stream());
    bytes -= next;
  }
}

/// So much that the last launch is on the stream before the device comes to it. Of what the launches before it take on
/// the device only half is counted on: what was seen so far may be too much.
double Timer::head_start_us(const Work& work, int launches) {
  const double until_last_us = work.host_us * (launches + 1) - 0.5 * work.least_us * (launches - 1);
  return std::min(std::max(until_last_us, 2 * work.host_us), most_head_start_us);
}

double Timer::span_us(Work& work, int launches) {
  using Clock = std::chrono::steady_clock;
  take_head_start(head_start_us(work, launches));
  state_->partition.record(driver_, state_->begin.get());
  const Clock::time_point started = Clock::now();
  for (int i = 0; i < launches; ++i) {
    enqueue(work, next_set_);
    next_set_ = (next_set_ + 1) % sets();
  }
  const std::chrono::duration<double, std::micro> host_us = Clock::now() - started;
  state_->partition.record(driver_, state_->end.get());
  driver_.call(driver_.cuEventSynchronize, state_->end.get());
  float milliseconds = 0;
  driver_.call(driver_.cuEventElapsedTime, &milliseconds, state_->begin.get(), state_->end.get());
  const double span = 1e3 * static_cast<double>(milliseconds);
  work.host_us = std::max(usual_host_us(work), host_us.count() / launches);
  work.least_us = work.least_us > 0 ? std::min(work.least_us, span / launches) : span / launches;
  return span;
}

void Timer::warm_up(Work& work) {
  for (int i = 0; i < std::min(warm_up_launches, sets()); ++i) enqueue(work, i);
  driver_.call(driver_.cuStreamSynchronize, stream());
  work.warm = true;
}

int Timer::launches_to_span(Work& work) {
  int launches = 1;
  while (launches < most_launches) {
    const double span = span_us(work, launches);
    if (span >= least_span_us) break;
    const double wanted = std::ceil(launches * aimed_span_us / std::max(span, 1.0));
    launches = std::clamp(static_cast<int>(wanted), launches + 1, most_launches);
  }
  return launches;
}

std::vector<double> Timer::time(int handle, int repeats, std::optional<int> launches) {
  if (repeats < 1) throw std::invalid_argument("repeats must be at least 1, got " + std::to_string(repeats));
  if (launches.value_or(1) < 1) {
    throw std::invalid_argument("launches must be at least 1, got " + std::to_string(*launches));
  }
  const Current current = enter();
  Work& work = at(handle);
  if (!work.warm) warm_up(work);
  if (!launches && work.launches == 0) work.launches = launches_to_span(work);
  const int between_events = launches.value_or(work.launches);
  std::vector<double> latencies_us;
  for (int i = 0; i < repeats; ++i) latencies_us.push_back(span_us(work, between_events) / between_events);
  return latencies_us;
}

}  // namespace gemm_tuner
