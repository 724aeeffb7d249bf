// What a GPU is, as far as a GEMM can tell: a value, wherever it came from.
#pragma once

#include <string>
#include <vector>

namespace gemm_tuner {

/// Fused multiply-adds per clock per SM, dense, with the accumulator that GEMMs use (float32, or int32 for int8).
/// 0 where the SM has no unit for the type.
struct FmaRates {
  double fp16 = 0;  // tensor cores
  double bf16 = 0;  // tensor cores
  double tf32 = 0;  // tensor cores
  double fp8 = 0;   // tensor cores
  double int8 = 0;  // tensor cores
  double fp32 = 0;  // CUDA cores, IEEE

  bool operator==(const FmaRates&) const = default;
};

struct DeviceSpec {
  std::string name;                    // as the driver and torch report it
  int compute_capability = 0;          // 86 for 8.6, 120 for 12.0
  int sm_count = 0;                    // SMs that the device (or MIG slice) has
  int available_sms = 0;               // SMs that a kernel launched now could use; at most sm_count
  int clock_mhz = 0;                   // boost clock of the SMs
  double sustained_fraction = 1.0;     // of the tensor-core peak at clock_mhz, under the board's power limit
  double bandwidth_gbs = 0;            // DRAM, peak, 1e9 bytes per second
  long long l2_bytes = 0;              // L2 that one kernel can use
  int smem_per_sm_bytes = 0;           // shared memory of one SM
  int smem_per_block_optin_bytes = 0;  // shared memory that one CTA may ask for
  int registers_per_sm = 65536;        // 32-bit registers
  int max_threads_per_sm = 0;
  int max_ctas_per_sm = 0;
  FmaRates fma;
  std::string driver_version;          // "580.159" or "13.0"; empty where no driver was asked
  std::string uuid;                    // empty where no driver was asked
  std::string source;                  // driver | catalogue | calibrated
  std::vector<std::string> estimated;  // names of the fields above that follow a rule and no source

  bool operator==(const DeviceSpec&) const = default;
};

/// Throws std::invalid_argument naming the first field that cannot be.
void validate(const DeviceSpec& spec);

/// The same device with at most `sms` SMs available to a kernel; throws where sms < 1.
DeviceSpec with_available_sms(DeviceSpec spec, int sms);

std::string to_string(const DeviceSpec& spec);

}  // namespace gemm_tuner
