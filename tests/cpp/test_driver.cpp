#include <tuple>

#include "device/driver.hpp"
#include "device/query.hpp"
#include "stand_in.hpp"

namespace gemm_tuner::testing {
namespace {

TEST(Driver, WithoutLibraryThereIsNoDevice) {
  const auto says = sentence_of<NoDeviceError>([] { Driver("libno_such_cuda.so.1"); });
  expect_says(says, "libno_such_cuda.so.1");
  expect_says(says, "Install the NVIDIA driver");
}

TEST(Driver, AnotherLibraryIsNoDriver) {
  expect_says(sentence_of<DriverError>([] { Driver("libc.so.6"); }), "is no CUDA driver");
}

TEST(Driver, MissingSymbolNamesItAndBothVersions) {
  const StandIn ancient("driver_version=11020", FAKE_LIBCUDA_ANCIENT);
  const auto says = sentence_of<DriverError>([&] { ancient.open(); });
  expect_says(says, "cuDeviceGetUuid_v2");
  expect_says(says, "driver for CUDA 11.2");
  expect_says(says, "came with CUDA 11.4");
}

TEST(Driver, OptionalSymbolsMayBeMissing) {
  const StandIn old("", FAKE_LIBCUDA_OLD);
  const Driver driver = old.open();
  EXPECT_FALSE(driver.cuCtxGetDevResource);
  EXPECT_FALSE(driver.cuCtxGetExecAffinity);
  EXPECT_TRUE(StandIn("").open().cuCtxGetDevResource);
}

TEST(Driver, VersionThatCannotBeReadIsAFault) {
  const StandIn broken("fault.cuDriverGetVersion=999");
  expect_says(sentence_of<DriverError>([&] { broken.open(); }), "cuDriverGetVersion failed with error 999");
}

TEST(Driver, NoDeviceIsNotAFaultOfTheDriver) {
  const StandIn empty("devices=0");
  expect_says(sentence_of<NoDeviceError>([&] { empty.open(); }), "CUDA_VISIBLE_DEVICES");
}

class DriverStart : public ::testing::TestWithParam<std::tuple<int, const char*, const char*>> {};

TEST_P(DriverStart, FailsWithItsNameAndARemedy) {
  const auto& [code, name, remedy] = GetParam();
  const StandIn broken("fault.cuInit=" + std::to_string(code));
  try {
    broken.open();
    FAIL() << "cuInit was told to fail";
  } catch (const DriverError& error) {
    EXPECT_EQ(error.code, code);
    EXPECT_EQ(error.code_name, name);
    expect_says(error.what(), name);
    expect_says(error.what(), remedy);
  }
}

INSTANTIATE_TEST_SUITE_P(Codes, DriverStart,
                         ::testing::Values(std::tuple{34, "CUDA_ERROR_STUB_LIBRARY", "stub"},
                                           std::tuple{802, "CUDA_ERROR_SYSTEM_NOT_READY", "fabricmanager"},
                                           std::tuple{803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "restart"},
                                           std::tuple{804, "error 804",
                                                      "forward-compatibility"},  // a name this double does not know
                                           std::tuple{999, "CUDA_ERROR_UNKNOWN", "kernel module"},
                                           std::tuple{2, "CUDA_ERROR_OUT_OF_MEMORY", "nvidia-smi"}));

TEST(Driver, FailedCallNamesFunctionErrorAndMeaning) {
  const StandIn broken("fault.cuDeviceGetCount=719");
  const auto says = sentence_of<DriverError>([&] { device_count(broken.open()); });
  EXPECT_EQ(says, "cuDeviceGetCount failed with CUDA_ERROR_LAUNCH_FAILED (the double's description)");
}

TEST(Driver, VersionIsWrittenAsPeopleWriteIt) {
  EXPECT_EQ(version_text(13000), "13.0");
  EXPECT_EQ(version_text(12040), "12.4");
}

}  // namespace
}  // namespace gemm_tuner::testing
