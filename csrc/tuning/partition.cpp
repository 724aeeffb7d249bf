#include "tuning/partition.hpp"

#include <stdexcept>
#include <string>

namespace gemm_tuner {
namespace {

/// The SMs of a partition of at least `least`, cut off the whole device.
cuda::DevResource split(const Driver& driver, cuda::Device device, int least) {
  cuda::DevResource whole{};
  driver.call(driver.cuDeviceGetDevResource, device, &whole, cuda::dev_resource_sm);
  cuda::DevResource group{};
  unsigned groups = 1;
  driver.call(driver.cuDevSmResourceSplitByCount, &group, &groups, &whole, nullptr, 0U, static_cast<unsigned>(least));
  if (groups == 1) return group;
  throw DriverError("The driver makes no partition of " + std::to_string(least) + " of the device's " +
                        std::to_string(whole.sm_count) + " SMs: ask for fewer, or for all of them.",
                    cuda::success, "");
}

}  // namespace

Partition::Partition(const Driver& driver, cuda::Device device, int sm_count) {
  driver.call(driver.cuDeviceGetAttribute, &sm_count_, cuda::Attribute::multiprocessors, device);
  if (sm_count < 0 || sm_count > sm_count_) {
    throw std::invalid_argument("sm_count must be 0, for all SMs, or up to the device's " + std::to_string(sm_count_) +
                                ", got " + std::to_string(sm_count));
  }
  cuda::Stream stream = nullptr;
  if (sm_count == 0) {
    driver.call(driver.cuStreamCreate, &stream, cuda::stream_non_blocking);
    stream_ = {stream, driver.cuStreamDestroy};
  } else {
    create_green(driver, device, sm_count);
  }
}

void Partition::create_green(const Driver& driver, cuda::Device device, int sm_count) {
  if (!driver.cuGreenCtxStreamCreate) {
    throw DriverError("Timing on " + std::to_string(sm_count) +
                          " SMs needs a green context, which drivers have since CUDA 12.5; this one is for CUDA " +
                          version_text(driver.library.version()) +
                          ". Install a newer driver, or time on all SMs (sm_count=0).",
                      cuda::success, "");
  }
  cuda::DevResource sms = split(driver, device, sm_count);
  sm_count_ = static_cast<int>(sms.sm_count);
  cuda::DevResourceDesc descriptor = nullptr;
  driver.call(driver.cuDevResourceGenerateDesc, &descriptor, &sms, 1U);
  cuda::GreenContext green = nullptr;
  driver.call(driver.cuGreenCtxCreate, &green, descriptor, device, cuda::green_context_default_stream);
  green_ = {green, driver.cuGreenCtxDestroy};
  cuda::Stream stream = nullptr;
  driver.call(driver.cuGreenCtxStreamCreate, &stream, green, cuda::stream_non_blocking, 0);
  stream_ = {stream, driver.cuStreamDestroy};
  // an event of the primary context may be refused on this stream; then the green context records it
  const Owned<cuda::Event> trial = create_event(driver);
  records_through_context_ = driver.cuEventRecord.address(trial.get(), stream) != cuda::success;
}

void Partition::record(const Driver& driver, cuda::Event event) const {
  if (records_through_context_) {
    driver.call(driver.cuGreenCtxRecordEvent, green_.get(), event);
  } else {
    driver.call(driver.cuEventRecord, event, stream_.get());
  }
}

}  // namespace gemm_tuner
