#include "device/query.hpp"

#include <array>
#include <string>
#include <utility>

#include "device/architecture.hpp"

namespace gemm_tuner {
namespace {

// Used only where the driver says 0 or nothing, and then named in `estimated`.
constexpr int assumed_clock_mhz = 1500;                   // boost clocks of parts since 2017 lie between 900 and 2900
constexpr double assumed_bandwidth_gbs_per_sm = 10;       // L4 has 5, T4 8, RTX 3060 13, A100 14
constexpr long long assumed_l2_bytes_per_sm = 100 << 10;  // T4 and RTX 3060 have about this, newer parts more
constexpr int first_tensor_core_capability = 70;

/// The newest known architecture up to this one; nullptr before Volta.
const Architecture* nearest_architecture(int compute_capability) {
  for (int cc = compute_capability; cc >= first_tensor_core_capability; --cc) {
    try {
      return &architecture(cc);
    } catch (const std::invalid_argument&) {
      continue;  // the gaps between known architectures
    }
  }
  return nullptr;
}

FmaRates fma_rates(const Architecture* nearest, std::string_view name) {
  if (nearest == nullptr) return {.fp32 = 128};  // Maxwell and Pascal: no tensor cores
  return is_geforce(name) ? nearest->fma_halved : nearest->fma;
}

int required_attribute(const Driver& driver, cuda::Device device, cuda::Attribute which) {
  int value = 0;
  driver.call(driver.cuDeviceGetAttribute, &value, which, device);
  return value;
}

std::string device_name(const Driver& driver, cuda::Device device) {
  std::array<char, 256> name{};
  driver.call(driver.cuDeviceGetName, name.data(), static_cast<int>(name.size()) - 1, device);
  return name.data();
}

std::string device_uuid(const Driver& driver, cuda::Device device, std::string_view name) {
  cuda::Uuid uuid{};
  driver.call(driver.cuDeviceGetUuid, &uuid, device);
  constexpr std::string_view digits = "0123456789abcdef";
  // the prefixes by which nvidia-smi and CUDA_VISIBLE_DEVICES know them; the driver gives the bytes alone
  std::string text = name.find(" MIG ") != std::string_view::npos ? "MIG" : "GPU";
  for (int i = 0; i < 16; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits[uuid.bytes[i] >> 4];
    text += digits[uuid.bytes[i] & 15];
  }
  return text;
}

/// Peak of the memory: two transfers a clock, as the driver counts clocks for GDDR and HBM alike.
std::optional<double> bandwidth_gbs(const Driver& driver, cuda::Device device) {
  const auto clock_khz = attribute(driver, device, cuda::Attribute::memory_clock_khz);
  const auto bus_bits = attribute(driver, device, cuda::Attribute::memory_bus_bits);
  if (!clock_khz || !bus_bits) return std::nullopt;
  return 2e-6 * *clock_khz * *bus_bits / 8;
}

/// Some calls have nothing to say of an ordinary context, and that is no fault.
bool has_nothing_to_say(cuda::Result code) {
  return code == cuda::invalid_value || code == cuda::invalid_context || code == cuda::unsupported_exec_affinity ||
         code == cuda::not_permitted || code == cuda::not_supported;
}

std::optional<int> affinity_sms(const Driver& driver) {
  if (!driver.cuCtxGetExecAffinity) return std::nullopt;
  cuda::ExecAffinity affinity{};
  const cuda::Result code = driver.cuCtxGetExecAffinity.address(&affinity, cuda::exec_affinity_sm_count);
  if (code == cuda::success && affinity.sm_count > 0) return static_cast<int>(affinity.sm_count);
  if (code != cuda::success && !has_nothing_to_say(code)) driver.fail(driver.cuCtxGetExecAffinity.name, code);
  return std::nullopt;
}

std::optional<int> resource_sms(const Driver& driver, cuda::Context context) {
  if (!driver.cuCtxGetDevResource) return std::nullopt;
  cuda::DevResource resource{};
  const cuda::Result code = driver.cuCtxGetDevResource.address(context, &resource, cuda::dev_resource_sm);
  if (code == cuda::success && resource.sm_count > 0) return static_cast<int>(resource.sm_count);
  if (code != cuda::success && !has_nothing_to_say(code)) driver.fail(driver.cuCtxGetDevResource.name, code);
  return std::nullopt;
}

/// Whether a share set in the environment can count: contexts go through MPS, or the driver is too old to say.
bool may_use_mps(const Driver& driver, cuda::Device device) {
  int enabled = 1;
  return driver.cuDeviceGetAttribute.address(&enabled, cuda::Attribute::mps_enabled, device) != cuda::success ||
         enabled != 0;
}

}  // namespace

int device_count(const Driver& driver) {
  int count = 0;
  driver.call(driver.cuDeviceGetCount, &count);
  return count;
}

cuda::Device device_at(const Driver& driver, std::optional<int> ordinal) {
  cuda::Context context = nullptr;
  cuda::Device device = 0;
  if (!ordinal) driver.call(driver.cuCtxGetCurrent, &context);
  if (context != nullptr) {
    driver.call(driver.cuCtxGetDevice, &device);
    return device;
  }
  const int count = device_count(driver);
  const int wanted = ordinal.value_or(0);
  if (wanted < 0 || wanted >= count) {
    throw NoDeviceError("There is no GPU " + std::to_string(wanted) + ": the driver shows " + std::to_string(count) +
                        (count == 1 ? ", number 0." : ", numbered from 0.") +
                        " CUDA_VISIBLE_DEVICES may hide or renumber them.");
  }
  driver.call(driver.cuDeviceGet, &device, wanted);
  return device;
}

cuda::Context current_context(const Driver& driver, cuda::Device device) {
  cuda::Context context = nullptr;
  driver.call(driver.cuCtxGetCurrent, &context);
  if (context == nullptr) return nullptr;
  cuda::Device its_device = 0;
  driver.call(driver.cuCtxGetDevice, &its_device);
  return its_device == device ? context : nullptr;
}

std::optional<int> attribute(const Driver& driver, cuda::Device device, cuda::Attribute which) {
  int value = 0;
  const cuda::Result code = driver.cuDeviceGetAttribute.address(&value, which, device);
  if (code != cuda::success && !has_nothing_to_say(code)) driver.fail(driver.cuDeviceGetAttribute.name, code);
  if (code != cuda::success || value <= 0) return std::nullopt;
  return value;
}

SmLimits sm_limits(const Driver& driver, cuda::Device device, const CallerLimits& caller) {
  SmLimits limits{.device_sms = required_attribute(driver, device, cuda::Attribute::multiprocessors),
                  .affinity_sms = {},
                  .mps_percentage = {},
                  .green_context_sms = {},
                  .carveout_sms = caller.carveout_sms,
                  .budget_sms = caller.budget_sms};
  if (caller.mps_percentage && may_use_mps(driver, device)) limits.mps_percentage = caller.mps_percentage;
  if (const cuda::Context context = current_context(driver, device); context != nullptr) {
    limits.affinity_sms = affinity_sms(driver);
    limits.green_context_sms = resource_sms(driver, context);
  }
  return limits;
}

bool is_geforce(std::string_view name) { return name.find("GeForce") != std::string_view::npos; }

DeviceSpec query_device(const Driver& driver, std::optional<int> ordinal, const CallerLimits& caller) {
  using cuda::Attribute;
  const cuda::Device device = device_at(driver, ordinal);
  DeviceSpec spec;
  const auto told_or = [&](const char* field, auto told, auto estimate) {
    if (!told) spec.estimated.emplace_back(field);
    return told ? static_cast<decltype(estimate)>(*told) : estimate;
  };
  const auto ask = [&](Attribute which) { return attribute(driver, device, which); };
  spec.name = device_name(driver, device);
  spec.compute_capability = 10 * required_attribute(driver, device, Attribute::compute_capability_major) +
                            required_attribute(driver, device, Attribute::compute_capability_minor);
  const SmLimits limits = sm_limits(driver, device, caller);
  spec.sm_count = limits.device_sms;
  spec.available_sms = available_sms(limits).sms;
  spec.clock_mhz = told_or("clock_mhz", ask(Attribute::clock_khz), assumed_clock_mhz * 1000) / 1000;
  spec.estimated.emplace_back("sustained_fraction");  // 1: no driver says what the power limit leaves of the peak
  spec.bandwidth_gbs =
      told_or("bandwidth_gbs", bandwidth_gbs(driver, device), assumed_bandwidth_gbs_per_sm * spec.sm_count);
  spec.l2_bytes = told_or("l2_bytes", ask(Attribute::l2_bytes), assumed_l2_bytes_per_sm * spec.sm_count);

  const Architecture* const nearest = nearest_architecture(spec.compute_capability);
  const Architecture facts = nearest != nullptr ? *nearest : architecture(first_tensor_core_capability);
  spec.smem_per_sm_bytes =
      told_or("smem_per_sm_bytes", ask(Attribute::smem_per_multiprocessor_bytes), facts.smem_per_sm_bytes);
  spec.smem_per_block_optin_bytes = told_or("smem_per_block_optin_bytes", ask(Attribute::smem_per_block_optin_bytes),
                                            facts.smem_per_block_optin_bytes);
  spec.registers_per_sm =
      told_or("registers_per_sm", ask(Attribute::registers_per_multiprocessor), spec.registers_per_sm);
  spec.max_threads_per_sm =
      told_or("max_threads_per_sm", ask(Attribute::threads_per_multiprocessor), facts.max_threads_per_sm);
  spec.max_ctas_per_sm = told_or("max_ctas_per_sm", ask(Attribute::blocks_per_multiprocessor), facts.max_ctas_per_sm);
  spec.fma = fma_rates(nearest, spec.name);
  if (nearest == nullptr || nearest->compute_capability != spec.compute_capability) spec.estimated.emplace_back("fma");

  spec.driver_version = version_text(driver.library.version());
  spec.uuid = device_uuid(driver, device, spec.name);
  spec.source = "driver";
  validate(spec);
  return spec;
}

}  // namespace gemm_tuner
