#include <tuple>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "device/architecture.hpp"
#include "device/spec.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto fma_fields =
    std::tuple{Field{"fp16", &FmaRates::fp16}, Field{"bf16", &FmaRates::bf16}, Field{"tf32", &FmaRates::tf32},
               Field{"fp8", &FmaRates::fp8},   Field{"int8", &FmaRates::int8}, Field{"fp32", &FmaRates::fp32}};

constexpr auto fields = std::tuple{Field{"name", &DeviceSpec::name},
                                   Field{"compute_capability", &DeviceSpec::compute_capability},
                                   Field{"sm_count", &DeviceSpec::sm_count},
                                   Field{"available_sms", &DeviceSpec::available_sms},
                                   Field{"clock_mhz", &DeviceSpec::clock_mhz},
                                   Field{"sustained_fraction", &DeviceSpec::sustained_fraction},
                                   Field{"bandwidth_gbs", &DeviceSpec::bandwidth_gbs},
                                   Field{"l2_bytes", &DeviceSpec::l2_bytes},
                                   Field{"smem_per_sm_bytes", &DeviceSpec::smem_per_sm_bytes},
                                   Field{"smem_per_block_optin_bytes", &DeviceSpec::smem_per_block_optin_bytes},
                                   Field{"registers_per_sm", &DeviceSpec::registers_per_sm},
                                   Field{"max_threads_per_sm", &DeviceSpec::max_threads_per_sm},
                                   Field{"max_ctas_per_sm", &DeviceSpec::max_ctas_per_sm},
                                   Field{"fma", &DeviceSpec::fma},
                                   Field{"driver_version", &DeviceSpec::driver_version},
                                   Field{"uuid", &DeviceSpec::uuid},
                                   Field{"source", &DeviceSpec::source},
                                   Field{"estimated", &DeviceSpec::estimated}};

py::dict architecture_facts(int compute_capability, bool halved) {
  const Architecture& facts = architecture(compute_capability);
  py::dict result;
  result["smem_per_sm_bytes"] = facts.smem_per_sm_bytes;
  result["smem_per_block_optin_bytes"] = facts.smem_per_block_optin_bytes;
  result["max_threads_per_sm"] = facts.max_threads_per_sm;
  result["max_ctas_per_sm"] = facts.max_ctas_per_sm;
  result["fma"] = halved ? facts.fma_halved : facts.fma;
  return result;
}

}  // namespace

void bind_device(py::module_& module) {
  bind_value<FmaRates>(
      module, "FmaRates", "Fused multiply-adds per clock per SM, dense, by data type.", [](const FmaRates&) {},
      fma_fields)
      .def(py::init([](const py::kwargs& kwargs) {
        FmaRates rates;
        assign(rates, fma_fields, kwargs);
        return rates;
      }));
  bind_value<DeviceSpec>(
      module, "DeviceSpec", "What a GPU is, as far as a GEMM can tell.", [](const DeviceSpec& spec) { validate(spec); },
      fields)
      .def(py::init([](const py::kwargs& kwargs) {
        DeviceSpec spec;
        assign(spec, fields, kwargs);
        if (!kwargs.contains("available_sms")) spec.available_sms = spec.sm_count;
        validate(spec);
        return spec;
      }))
      .def("with_available_sms", &with_available_sms, py::arg("sms"),
           "The same device with at most so many SMs available to a kernel.")
      .def("__str__", [](const DeviceSpec& self) { return to_string(self); });
  module.def("architecture", &architecture_facts, py::arg("compute_capability"), py::arg("halved") = false,
             "What NVIDIA's documents say of every device of that compute capability.");
}

}  // namespace gemm_tuner::bindings
