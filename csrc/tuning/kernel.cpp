#include "tuning/kernel.hpp"

namespace gemm_tuner {
namespace {

const Launch& checked(const Launch& launch) {
  validate(launch);
  return launch;
}

}  // namespace

Kernel::Kernel(const Driver& driver, cuda::Device device, const Launch& launch, const Arena& arena)
    : shape_(checked(launch)), function_(driver, device, launch) {
  function_.verify_parameters(driver, launch);
  set_arguments(launch, arena);
  if (launch.global_scratch_bytes == 0) return;
  scratch_ = allocate_bytes(driver, scratch_bytes(launch));
  values_[scratch_argument(launch)] = scratch_.get();
}

void Kernel::set_arguments(const Launch& launch, const Arena& arena) {
  values_.resize(launch.arguments.size());
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const Argument& argument = launch.arguments[i];
    values_[i] = bits_of(argument);
    if (const auto* name = std::get_if<std::string>(&argument)) {
      const Place& place = arena.place(*name);
      values_[i] = arena.start() + place.offset;
      pointers_.push_back({i, values_[i], place.stride});
    }
  }
  for (std::uint64_t& value : values_) arguments_.push_back(&value);
}

void Kernel::enqueue(const Driver& driver, cuda::Stream stream, int set) {
  for (const Pointer& pointer : pointers_) {
    values_[pointer.argument] = pointer.first + pointer.stride * static_cast<std::size_t>(set);
  }
  shape_.enqueue(driver, function_.handle(), stream, arguments_.data());
}

}  // namespace gemm_tuner
