#include "tuning/probe.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <vector>

#include "device/owned.hpp"

namespace gemm_tuner {
namespace {

constexpr unsigned slots = 1024;      // SM numbers have gaps in slices and partitions; no GPU has a quarter as many SMs
constexpr unsigned hold_ns = 20'000;  // long against the 1 us between two CTAs' starts
constexpr unsigned threads_per_cta = 32;
constexpr unsigned usual_ctas_per_sm = 16;  // where the driver does not know: the fewest that any architecture holds
constexpr int first_capability = 75;        // probe.cu is compiled for it, and the driver carries it up, not down

void require_capability(const Driver& driver, cuda::Device device) {
  const int capability = 10 * attribute(driver, device, cuda::Attribute::compute_capability_major).value_or(0) +
                         attribute(driver, device, cuda::Attribute::compute_capability_minor).value_or(0);
  if (capability >= first_capability) return;
  throw NotBuiltError("The SM probe is built for compute capability 7.5 and above; this device has " +
                      std::to_string(capability / 10) + "." + std::to_string(capability % 10) + ".");
}

/// Loads, launches and reads back in the context that is current.
std::vector<unsigned> marks_of_launch(const Driver& driver, unsigned ctas, const std::string& ptx) {
  const Owned<cuda::Module> module = load_module(driver, ptx);
  cuda::Function mark_sm = nullptr;
  driver.call(driver.cuModuleGetFunction, &mark_sm, module.get(), "gemm_tuner_mark_sm");

  std::vector<unsigned> marks(slots);
  const std::size_t bytes = marks.size() * sizeof(unsigned);
  const Owned<cuda::Address> memory = allocate_bytes(driver, bytes);
  cuda::Address buffer = memory.get();
  driver.call(driver.cuMemsetD32, buffer, 0U, marks.size());

  unsigned slots_argument = slots;
  unsigned hold_argument = hold_ns;
  std::array<void*, 3> arguments{&buffer, &slots_argument, &hold_argument};
  driver.call(driver.cuLaunchKernel, mark_sm, ctas, 1U, 1U, threads_per_cta, 1U, 1U, 0U, nullptr, arguments.data(),
              nullptr);
  driver.call(driver.cuCtxSynchronize);
  driver.call(driver.cuMemcpyDtoH, marks.data(), buffer, bytes);
  return marks;
}

int count_in_current_context(const Driver& driver, unsigned ctas, const std::string& ptx) {
  const std::vector<unsigned> marks = marks_of_launch(driver, ctas, ptx);
  const unsigned marked = std::accumulate(marks.begin(), marks.end(), 0U);
  if (marked != ctas) {
    throw DriverError("The SM probe launched " + std::to_string(ctas) + " CTAs and " + std::to_string(marked) +
                          " left a mark: its count cannot be trusted.",
                      cuda::success, "");
  }
  return static_cast<int>(std::count_if(marks.begin(), marks.end(), [](unsigned mark) { return mark > 0; }));
}

}  // namespace

int count_reachable_sms(const Driver& driver, std::optional<int> ordinal, std::string_view probe_ptx) {
  const cuda::Device device = device_at(driver, ordinal);
  require_capability(driver, device);
  const int sms = attribute(driver, device, cuda::Attribute::multiprocessors).value_or(1);
  const int ctas_per_sm =
      attribute(driver, device, cuda::Attribute::blocks_per_multiprocessor).value_or(usual_ctas_per_sm);
  const auto ctas = static_cast<unsigned>(sms * ctas_per_sm);
  const std::string ptx(probe_ptx);  // the driver wants it ended by a zero
  return in_context(driver, device, [&] { return count_in_current_context(driver, ctas, ptx); });
}

}  // namespace gemm_tuner
