#include <tuple>

#include "bindings/bind.hpp"
#include "bindings/value.hpp"
#include "gemm/config.hpp"

namespace gemm_tuner::bindings {
namespace {

constexpr auto fields = std::tuple{Field{"family", &GemmConfig::family},
                                   Field{"block_m", &GemmConfig::block_m},
                                   Field{"block_n", &GemmConfig::block_n},
                                   Field{"block_k", &GemmConfig::block_k},
                                   Field{"num_warps", &GemmConfig::num_warps},
                                   Field{"num_stages", &GemmConfig::num_stages},
                                   Field{"group_m", &GemmConfig::group_m},
                                   Field{"split_k", &GemmConfig::split_k},
                                   Field{"ctas", &GemmConfig::ctas}};

}  // namespace

void bind_config(py::module_& module) {
  bind_value<GemmConfig>(
      module, "GemmConfig", "How it is computed: one point of the kernel config space.",
      [](const GemmConfig& config) { validate(config); }, fields)
      .def(py::init([](const py::kwargs& kwargs) {
        GemmConfig config;
        assign(config, fields, kwargs);
        // the family follows from split_k unless the caller names one
        if (!kwargs.contains("family") && config.split_k > 1) config.family = Family::split_k;
        validate(config);
        return config;
      }))
      .def("__str__", [](const GemmConfig& self) { return to_string(self); });
}

}  // namespace gemm_tuner::bindings
