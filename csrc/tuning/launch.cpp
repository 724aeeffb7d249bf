#include "tuning/launch.hpp"

#include <cstring>
#include <optional>
#include <stdexcept>

namespace gemm_tuner {
namespace {

constexpr int threads_per_warp = 32;
constexpr int max_warps = 32;                   // of a CTA, on every architecture
constexpr int usual_smem_bytes = 48 << 10;      // more must be asked for
constexpr std::size_t max_parameters = 1 << 9;  // a kernel takes at most 4 KB of them

void require(bool holds, const std::string& sentence) {
  if (!holds) throw std::invalid_argument(sentence);
}

void validate(const Launch& launch) {
  require(!launch.entry.empty(), "a launch must name its entry");
  const std::string of = "the launch of '" + launch.entry + "' ";
  for (const int ctas : launch.grid) {
    require(ctas >= 1, of + "must have at least 1 CTA along each axis, got " + std::to_string(ctas));
  }
  require(launch.num_warps >= 1 && launch.num_warps <= max_warps,
          of + "must have 1 to 32 warps, got " + std::to_string(launch.num_warps));
  require(launch.smem_bytes >= 0,
          of + "cannot have less than 0 bytes of shared memory, got " + std::to_string(launch.smem_bytes));
  require(launch.global_scratch_bytes >= 0,
          of + "cannot have less than 0 bytes of scratch, got " + std::to_string(launch.global_scratch_bytes));
}

std::size_t bytes_of(const Argument& argument) { return std::holds_alternative<std::int32_t>(argument) ? 4 : 8; }

/// "8, 8, 4": the sizes of parameters.
std::string list(const std::vector<std::size_t>& sizes) {
  std::string text;
  for (const std::size_t bytes : sizes) text += (text.empty() ? "" : ", ") + std::to_string(bytes);
  return text.empty() ? "none" : text;
}

/// The sizes of the parameters that the kernel takes; none where this driver cannot tell.
std::optional<std::vector<std::size_t>> parameters_of(const Driver& driver, cuda::Function function) {
  if (!driver.cuFuncGetParamInfo) return std::nullopt;
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < max_parameters; ++i) {
    std::size_t offset = 0;
    std::size_t bytes = 0;
    const cuda::Result code = driver.cuFuncGetParamInfo.address(function, i, &offset, &bytes);
    if (code == cuda::invalid_value) return sizes;  // past the last
    if (code != cuda::success) return std::nullopt;
    sizes.push_back(bytes);
  }
  return std::nullopt;
}

void verify_parameters(const Driver& driver, cuda::Function function, const Launch& launch) {
  const std::optional<std::vector<std::size_t>> taken = parameters_of(driver, function);
  if (!taken) return;
  std::vector<std::size_t> given;
  for (const Argument& argument : launch.arguments) given.push_back(bytes_of(argument));
  require(given == *taken, "kernel '" + launch.entry + "' takes " + std::to_string(taken->size()) +
                               " parameters (bytes of each: " + list(*taken) + "), and the launch gives " +
                               std::to_string(given.size()) + " (" + list(given) + ")");
}

}  // namespace

Kernel::Kernel(const Driver& driver, const Launch& launch, const Arena& arena)
    : threads_(static_cast<unsigned>(launch.num_warps * threads_per_warp)),
      smem_bytes_(static_cast<unsigned>(launch.smem_bytes)) {
  validate(launch);
  for (std::size_t axis = 0; axis < 3; ++axis) grid_[axis] = static_cast<unsigned>(launch.grid[axis]);
  module_ = load_module(driver, launch.cubin);
  driver.call(driver.cuModuleGetFunction, &function_, module_.get(), launch.entry.c_str());
  verify_parameters(driver, function_, launch);
  if (launch.smem_bytes > usual_smem_bytes) {
    driver.call(driver.cuFuncSetAttribute, function_, cuda::function_max_dynamic_smem_bytes, launch.smem_bytes);
  }
  set_arguments(launch, arena);
  allocate_scratch(driver, launch);
}

void Kernel::allocate_scratch(const Driver& driver, const Launch& launch) {
  if (launch.global_scratch_bytes == 0) return;
  const std::size_t last = launch.arguments.size() - 1;
  require(launch.arguments.size() >= 2 && std::holds_alternative<std::nullptr_t>(launch.arguments[last - 1]),
          "the launch of '" + launch.entry + "' needs scratch memory, so its last argument but one must be null");
  const std::size_t ctas = std::size_t{grid_[0]} * grid_[1] * grid_[2];
  scratch_ = allocate_bytes(driver, ctas * static_cast<std::size_t>(launch.global_scratch_bytes));
  values_[last - 1] = scratch_.get();
}

void Kernel::set_arguments(const Launch& launch, const Arena& arena) {
  values_.resize(launch.arguments.size());
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const Argument& argument = launch.arguments[i];
    if (const auto* name = std::get_if<std::string>(&argument)) {
      const Place& place = arena.place(*name);
      values_[i] = arena.start() + place.offset;
      pointers_.push_back({i, values_[i], place.stride});
    } else if (const auto* narrow = std::get_if<std::int32_t>(&argument)) {
      std::memcpy(&values_[i], narrow, sizeof *narrow);
    } else if (const auto* wide = std::get_if<std::int64_t>(&argument)) {
      std::memcpy(&values_[i], wide, sizeof *wide);
    }
  }
  for (std::uint64_t& value : values_) arguments_.push_back(&value);
}

void Kernel::enqueue(const Driver& driver, cuda::Stream stream, int set) {
  for (const Pointer& pointer : pointers_) {
    values_[pointer.argument] = pointer.first + pointer.stride * static_cast<std::size_t>(set);
  }
  driver.call(driver.cuLaunchKernel, function_, grid_[0], grid_[1], grid_[2], threads_, 1U, 1U, smem_bytes_, stream,
              arguments_.data(), nullptr);
}

}  // namespace gemm_tuner
