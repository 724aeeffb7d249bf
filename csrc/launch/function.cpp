#include "launch/function.hpp"

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

}  // namespace

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
  if (launch.global_scratch_bytes == 0) return;
  const std::size_t count = launch.arguments.size();
  require(count >= 2 && std::holds_alternative<std::nullptr_t>(launch.arguments[count - 2]),
          of + "needs scratch memory, so its last argument but one must be null");
}

std::size_t scratch_bytes(const Launch& launch) {
  const auto [x, y, z] = launch.grid;
  return static_cast<std::size_t>(launch.global_scratch_bytes) * static_cast<std::size_t>(x) *
         static_cast<std::size_t>(y) * static_cast<std::size_t>(z);
}

std::size_t scratch_argument(const Launch& launch) { return launch.arguments.size() - 2; }

std::uint64_t bits_of(const Argument& argument) {
  std::uint64_t bits = 0;
  if (const auto* narrow = std::get_if<std::int32_t>(&argument)) std::memcpy(&bits, narrow, sizeof *narrow);
  if (const auto* wide = std::get_if<std::int64_t>(&argument)) std::memcpy(&bits, wide, sizeof *wide);
  return bits;
}

LaunchShape::LaunchShape(const Launch& launch)
    : threads(static_cast<unsigned>(launch.num_warps * threads_per_warp)),
      smem_bytes(static_cast<unsigned>(launch.smem_bytes)) {
  for (std::size_t axis = 0; axis < 3; ++axis) grid[axis] = static_cast<unsigned>(launch.grid[axis]);
}

LoadedFunction::LoadedFunction(const Driver& driver, cuda::Device device, const Launch& launch) {
  if (driver.cuLibraryLoadData && driver.cuKernelSetAttribute) {
    load_library(driver, device, launch);
  } else {
    load_module(driver, launch);
  }
}

void LoadedFunction::load_library(const Driver& driver, cuda::Device device, const Launch& launch) {
  cuda::KernelLibrary library = nullptr;
  driver.call(driver.cuLibraryLoadData, &library, launch.cubin.c_str(), nullptr, nullptr, 0U, nullptr, nullptr, 0U);
  library_ = {library, driver.cuLibraryUnload};
  cuda::LibraryKernel kernel = nullptr;
  driver.call(driver.cuLibraryGetKernel, &kernel, library, launch.entry.c_str());
  // also loads it in this context now: the first launch may be inside the capture of a CUDA graph
  driver.call(driver.cuKernelGetFunction, &in_context_, kernel);
  if (launch.smem_bytes > usual_smem_bytes) {
    driver.call(driver.cuKernelSetAttribute, cuda::function_max_dynamic_smem_bytes, launch.smem_bytes, kernel, device);
  }
  handle_ = reinterpret_cast<cuda::Function>(kernel);  // cuLaunchKernel takes either
}

void LoadedFunction::load_module(const Driver& driver, const Launch& launch) {
  cuda::Module module = nullptr;
  driver.call(driver.cuModuleLoadData, &module, launch.cubin.c_str());
  module_ = {module, driver.cuModuleUnload};
  driver.call(driver.cuModuleGetFunction, &handle_, module, launch.entry.c_str());
  in_context_ = handle_;
  if (launch.smem_bytes > usual_smem_bytes) {
    driver.call(driver.cuFuncSetAttribute, handle_, cuda::function_max_dynamic_smem_bytes, launch.smem_bytes);
  }
}

void LoadedFunction::verify_parameters(const Driver& driver, const Launch& launch) const {
  const std::optional<std::vector<std::size_t>> taken = parameters_of(driver, in_context_);
  if (!taken) return;
  std::vector<std::size_t> given;
  for (const Argument& argument : launch.arguments) given.push_back(bytes_of(argument));
  require(given == *taken, "kernel '" + launch.entry + "' takes " + std::to_string(taken->size()) +
                               " parameters (bytes of each: " + list(*taken) + "), and the launch gives " +
                               std::to_string(given.size()) + " (" + list(given) + ")");
}

}  // namespace gemm_tuner
