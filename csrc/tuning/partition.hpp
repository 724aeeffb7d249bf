// Which of a device's SMs the timed kernels get: a stream of the whole device, or of a green context of some of its
// SMs.
#pragma once

#include "device/owned.hpp"

namespace gemm_tuner {

/// Kernels and memory of the primary context can be used on its stream. Needs the primary context to be current, from
/// the beginning to the end.
class Partition {
 public:
  /// sm_count: how many SMs, 0 for all. The driver rounds up to what it can partition. std::invalid_argument where the
  /// device has fewer, DriverError where the driver knows no partitions (before CUDA 12.5).
  Partition(const Driver& driver, cuda::Device device, int sm_count);

  int sm_count() const { return sm_count_; }
  cuda::Stream stream() const { return stream_.get(); }

  /// Puts a timestamp behind the work on the stream.
  void record(const Driver& driver, cuda::Event event) const;

 private:
  void create_green(const Driver& driver, cuda::Device device, int sm_count);

  int sm_count_ = 0;
  Owned<cuda::GreenContext> green_;
  Owned<cuda::Stream> stream_;
  bool records_through_context_ = false;
};

}  // namespace gemm_tuner
