// Clocks, temperature and power of a GPU, from NVIDIA's management library, where there is one and it answers.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace gemm_tuner {

/// What the GPU did at one moment. A field is empty where that GPU does not tell.
struct Clocks {
  std::optional<int> sm_mhz;
  std::optional<int> memory_mhz;
  std::optional<int> temperature_c;
  std::optional<double> power_w;
  bool operator==(const Clocks&) const = default;
};

/// libnvidia-ml.so.1, opened at run time. It never throws: timings are good without it.
class Nvml {
 public:
  /// pci_bus_id: of the GPU, "0000:01:00.0"; that of the whole GPU for a MIG slice.
  Nvml(const std::string& path, const std::string& pci_bus_id);

  /// None where the library, the GPU or all of the fields are missing.
  std::optional<Clocks> clocks() const;

 private:
  struct Library;
  std::shared_ptr<const Library> library_;  // empty where there is none
  void* device_ = nullptr;
};

}  // namespace gemm_tuner
