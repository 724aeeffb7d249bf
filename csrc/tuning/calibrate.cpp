#include "tuning/calibrate.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>

#include "device/owned.hpp"
#include "tuning/spread.hpp"

namespace gemm_tuner {
namespace {

constexpr unsigned stream_threads = 512;  // of a CTA that reads or copies; each has four loads in flight
constexpr unsigned dram_ctas_per_sm = 2;  // 64 KiB in flight: more than DRAM gives an SM in a microsecond
constexpr unsigned tensor_threads = 256;  // two warps for each of an SM's four tensor cores
constexpr unsigned chase_threads = 32;
constexpr std::uint64_t load_bytes = 16;
constexpr std::uint64_t line_bytes = 128;
constexpr std::uint64_t dram_bytes_at_least = 256ULL << 20;
constexpr std::uint64_t dram_times_l2 = 8;  // so much more than L2 holds, so that what it keeps hardly counts
constexpr std::uint64_t dram_times_l2_at_least = 4;
constexpr std::uint64_t l2_parts = 4;                  // a quarter of L2, so that all of it stays there
constexpr std::uint64_t l2_bytes_in_all = 4ULL << 30;  // a few milliseconds, beside which a launch is nothing
constexpr unsigned dram_passes = 4;                    // likewise
constexpr unsigned hops = 1U << 14;                    // of some 250 clocks: a few milliseconds
constexpr int runs = 11;
constexpr int launches_in_a_sample = 21;
constexpr int launches_in_a_row = 200;
constexpr double warm_up_us = 200e3;  // from idle clocks to working ones
constexpr int warm_up_launches = 2000;
constexpr unsigned trial_iterations = 2000;
constexpr double rate_ns = 2e6;       // of one run of a tensor-core probe
constexpr double load_ns = 20e6;      // of one run of those that load the device
constexpr double sustained_ns = 1e9;  // in all: power limits react within some tenths of it

/// The kernels, buffers and events of one calibration, in the context that is current.
class Bench {
 public:
  Bench(const Driver& driver, const DeviceSpec& asked, const std::string& memory_ptx, const std::string& tensor_ptx);

  /// Reads `bytes` of the buffer, a multiple of read_unit, `passes` times over.
  double read_gbs(unsigned ctas, std::uint64_t bytes, unsigned passes);
  double copy_gbs(unsigned ctas);
  double launch_us(int in_a_row);
  void link(unsigned lines);
  std::vector<Span> chase(unsigned lines);
  std::vector<Span> multiply(const std::string& dtype, unsigned iterations);

  std::uint64_t bytes() const { return bytes_; }
  unsigned sms() const { return sms_; }

 private:
  template <class... Args>
  void launch(cuda::Function kernel, unsigned ctas, unsigned threads, Args... arguments) const {
    std::array<void*, sizeof...(Args) + 1> addresses{&arguments..., nullptr};
    driver_.call(driver_.cuLaunchKernel, kernel, ctas, 1U, 1U, threads, 1U, 1U, 0U, nullptr, addresses.data(), nullptr);
  }
  template <class Act>
  double elapsed_us(Act act) const {
    driver_.call(driver_.cuEventRecord, start_.get(), nullptr);
    act();
    driver_.call(driver_.cuEventRecord, stop_.get(), nullptr);
    driver_.call(driver_.cuEventSynchronize, stop_.get());
    float ms = 0;
    driver_.call(driver_.cuEventElapsedTime, &ms, start_.get(), stop_.get());
    return 1e3 * static_cast<double>(ms);
  }
  cuda::Function kernel(cuda::Module module, const std::string& name) const {
    cuda::Function found = nullptr;
    driver_.call(driver_.cuModuleGetFunction, &found, module, ("gemm_tuner_" + name).c_str());
    return found;
  }
  std::vector<Span> spans() const;
  void allocate(const DeviceSpec& asked);

  const Driver& driver_;
  unsigned sms_;
  std::uint64_t bytes_ = 0;
  Owned<cuda::Module> memory_;
  Owned<cuda::Module> tensor_;
  Owned<cuda::Event> start_;
  Owned<cuda::Event> stop_;
  Owned<cuda::Address> buffer_;
  Owned<cuda::Address> spans_;
};

/// What a grid reads with one load of each thread, four times: the least that it can be given.
std::uint64_t read_unit(unsigned ctas) { return 4ULL * ctas * stream_threads * load_bytes; }

Bench::Bench(const Driver& driver, const DeviceSpec& asked, const std::string& memory_ptx,
             const std::string& tensor_ptx)
    : driver_(driver),
      sms_(static_cast<unsigned>(asked.available_sms)),
      memory_(load_module(driver, memory_ptx)),
      tensor_(load_module(driver, tensor_ptx)),
      start_(create_event(driver)),
      stop_(create_event(driver)) {
  allocate(asked);
}

void Bench::allocate(const DeviceSpec& asked) {
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  driver_.call(driver_.cuMemGetInfo, &free_bytes, &total_bytes);
  const auto l2 = static_cast<std::uint64_t>(asked.l2_bytes);
  const std::uint64_t wanted =
      std::min<std::uint64_t>(std::max(dram_bytes_at_least, dram_times_l2 * l2), free_bytes / 4);
  const std::uint64_t unit = 2 * read_unit(dram_ctas_per_sm * sms_);  // two halves, to copy between
  bytes_ = wanted / unit * unit;
  if (bytes_ < std::max(dram_times_l2_at_least * l2, unit)) {
    throw CalibrationError(asked.name + " was not calibrated: " + std::to_string(free_bytes >> 20) +
                           " MiB of its memory are free, and a quarter of that is too little beside an L2 of " +
                           std::to_string(l2 >> 10) + " KiB. Free some memory and try again.");
  }
  buffer_ = allocate_bytes(driver_, bytes_);
  spans_ = allocate_bytes(driver_, sms_ * sizeof(Span));
  driver_.call(driver_.cuMemsetD32, buffer_.get(), 0U, bytes_ / sizeof(std::uint32_t));
}

double Bench::read_gbs(unsigned ctas, std::uint64_t bytes, unsigned passes) {
  const cuda::Function read = kernel(memory_.get(), "read");
  const double us =
      elapsed_us([&] { launch(read, ctas, stream_threads, buffer_.get(), bytes / load_bytes, passes, spans_.get()); });
  return static_cast<double>(bytes) * passes / us * 1e-3;
}

double Bench::copy_gbs(unsigned ctas) {
  const cuda::Function copy = kernel(memory_.get(), "copy");
  const std::uint64_t half = bytes_ / 2;
  const double us = elapsed_us([&] {
    for (unsigned pass = 0; pass < dram_passes; ++pass) {
      launch(copy, ctas, stream_threads, buffer_.get(), buffer_.get() + half, half / load_bytes);
    }
  });
  return static_cast<double>(dram_passes * bytes_) / us * 1e-3;
}

double Bench::launch_us(int in_a_row) {
  const cuda::Function nothing = kernel(memory_.get(), "nothing");
  return elapsed_us([&] {
           for (int i = 0; i < in_a_row; ++i) launch(nothing, 1, chase_threads);
         }) /
         in_a_row;
}

std::vector<Span> Bench::spans() const {
  std::vector<Span> result(sms_);
  driver_.call(driver_.cuMemcpyDtoH, result.data(), spans_.get(), result.size() * sizeof(Span));
  return result;
}

void Bench::link(unsigned lines) { launch(kernel(memory_.get(), "link"), sms_, stream_threads, buffer_.get(), lines); }

std::vector<Span> Bench::chase(unsigned lines) {
  driver_.call(driver_.cuMemsetD32, spans_.get(), 0U, sms_ * sizeof(Span) / sizeof(std::uint32_t));
  launch(kernel(memory_.get(), "chase"), sms_, chase_threads, buffer_.get(), lines, hops, spans_.get());
  driver_.call(driver_.cuCtxSynchronize);
  return spans();
}

std::vector<Span> Bench::multiply(const std::string& dtype, unsigned iterations) {
  driver_.call(driver_.cuMemsetD32, spans_.get(), 0U, sms_ * sizeof(Span) / sizeof(std::uint32_t));
  launch(kernel(tensor_.get(), "multiply_" + dtype), sms_, tensor_threads, iterations, spans_.get());
  driver_.call(driver_.cuCtxSynchronize);
  return spans();
}

template <class Sample>
std::vector<double> repeated(Sample sample) {
  std::vector<double> samples;
  for (int run = 0; run < runs; ++run) samples.push_back(sample());
  return samples;
}

void probe_memory(Bench& bench, const DeviceSpec& asked, Samples& samples) {
  const unsigned full = dram_ctas_per_sm * bench.sms();
  double spent_us = 0;
  for (int launch = 0; spent_us < warm_up_us && launch < warm_up_launches; ++launch) {
    spent_us +=
        static_cast<double>(dram_passes * bench.bytes()) / bench.read_gbs(full, bench.bytes(), dram_passes) * 1e-3;
  }
  samples["dram_read_gbs"] = repeated([&] { return bench.read_gbs(full, bench.bytes(), dram_passes); });
  samples["dram_copy_gbs"] = repeated([&] { return bench.copy_gbs(full); });

  const auto l2_part = static_cast<std::uint64_t>(asked.l2_bytes) / l2_parts;
  const std::uint64_t unit = read_unit(bench.sms());
  const std::uint64_t l2_bytes = std::max<std::uint64_t>(1, l2_part / unit) * unit;
  const auto passes = static_cast<unsigned>(std::max<std::uint64_t>(1, l2_bytes_in_all / l2_bytes));
  samples["l2_read_gbs"] = repeated([&] { return bench.read_gbs(bench.sms(), l2_bytes, passes); });

  const auto lines = static_cast<unsigned>(std::bit_floor(std::max<std::uint64_t>(1024, l2_part / line_bytes)));
  bench.link(lines);
  bench.chase(lines);  // so that all of it is in L2
  for (int run = 0; run < runs; ++run) {
    const std::vector<Span> spans = bench.chase(lines);
    samples["l2_latency_clk"].push_back(clk_per_work_of(spans));
    samples["clock_mhz"].push_back(clock_mhz_of(spans));
  }
}

void probe_launches(Bench& bench, Samples& samples) {
  samples["launch_us"] = repeated([&] {
    std::vector<double> each;
    for (int i = 0; i < launches_in_a_sample; ++i) each.push_back(bench.launch_us(1));
    return median(each);
  });
  samples["next_launch_us"] = repeated([&] { return bench.launch_us(launches_in_a_row); });
}

double longest_ns(const std::vector<Span>& spans) {
  double longest = 0;
  for (const Span& span : spans) longest = std::max(longest, static_cast<double>(span.stop_ns - span.start_ns));
  return longest;
}

/// As many as take so long, by a trial.
unsigned iterations_for(Bench& bench, const std::string& dtype, double ns) {
  const std::vector<Span> trial = bench.multiply(dtype, trial_iterations);
  clock_mhz_of(trial);  // for its complaint: what follows divides by this time
  return static_cast<unsigned>(trial_iterations * std::clamp(ns / longest_ns(trial), 1.0, 1e4));
}

/// The data types that the tensor cores take by mma.sync; where that is not their full rate, fp16 alone, to be shown.
std::vector<std::string> probed_dtypes(int compute_capability, int compiled_for) {
  if (!mma_sync_is_the_full_rate(compute_capability)) return {"fp16"};
  std::vector<std::string> dtypes{"fp16", "int8"};
  if (compiled_for >= 80) dtypes.insert(dtypes.end(), {"bf16", "tf32"});
  if (compiled_for >= 89) dtypes.emplace_back("fp8");
  return dtypes;
}

void probe_tensor_cores(Bench& bench, const std::vector<std::string>& dtypes, Samples& samples) {
  for (const std::string& dtype : dtypes) {
    const unsigned iterations = iterations_for(bench, dtype, rate_ns);
    samples[fma_prefix + dtype] = repeated([&] { return work_per_clk_of(bench.multiply(dtype, iterations)); });
  }
  const unsigned iterations = iterations_for(bench, "fp16", load_ns);
  std::vector<double>& clocks = samples["sustained_clock_mhz"];
  for (double spent_ns = 0; spent_ns < sustained_ns;) {
    const std::vector<Span> spans = bench.multiply("fp16", iterations);
    clocks.push_back(clock_mhz_of(spans));
    spent_ns += longest_ns(spans);
  }
  clocks.erase(clocks.begin(), clocks.begin() + static_cast<std::ptrdiff_t>(clocks.size() / 2));  // not yet limited
}

TensorProbe tensor_probe(const Build& built, int compute_capability) {
  TensorProbe best{0, ""};
  for (const TensorProbe& probe : built.tensor) {
    if (probe.compute_capability <= compute_capability && !probe.ptx.empty()) best = probe;
  }
  return best;
}

}  // namespace

Calibration calibrate(const Driver& driver, std::optional<int> ordinal, const DeviceSpec& asked, const Build& built) {
  if (built.memory_ptx.empty()) {
    throw NotBuiltError("This build of gemm_tuner has no CUDA probes, which calibration takes: " +
                        std::string(built.missing));
  }
  const TensorProbe tensor = tensor_probe(built, asked.compute_capability);
  if (tensor.ptx.empty()) {
    throw NotBuiltError("The probes are built for compute capability 7.5 and above; " + asked.name + " has " +
                        std::to_string(asked.compute_capability / 10) + "." +
                        std::to_string(asked.compute_capability % 10) + " and is used as the driver describes it.");
  }
  const Samples samples = in_context(driver, device_at(driver, ordinal), [&] {
    Bench bench(driver, asked, std::string(built.memory_ptx), std::string(tensor.ptx));
    Samples taken;
    probe_memory(bench, asked, taken);
    probe_launches(bench, taken);
    probe_tensor_cores(bench, probed_dtypes(asked.compute_capability, tensor.compute_capability), taken);
    return taken;
  });
  const Figures figures = figures_of(samples, asked.available_sms);
  return {calibrated(asked, figures), figures};
}

}  // namespace gemm_tuner
