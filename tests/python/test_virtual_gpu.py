"""The virtual GPU of the tests, by what stock torch and Inductor do on it: gemm_tuner is not switched on here."""

# ruff: noqa: E402 - without torch there is nothing to import

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

import gemm_tuner as gt

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from torch import nn

from doubles.benchmarks import UnexpectedBenchmarkError
from doubles.fused import compile_for, run_interpreted
from doubles.graphs import DEVICE, put_fake_parameters
from doubles.virtual_gpu import virtual_gpu

ODD = ((77, 65), (133, 65), (133,), (77, 133))
MAX_AUTOTUNE = {"max_autotune_gemm": True, "test_configs.max_mm_configs": 1}


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(256, 256)

    def forward(self, x: Any) -> Any:
        return x + nn.functional.gelu(self.linear(x))


def layer() -> Layer:
    with torch.device("meta"):
        return Layer()


def fusible(x: Any, weight: Any, bias: Any, residual: Any) -> Any:
    return nn.functional.gelu(torch.addmm(bias, x, weight.t())) + residual


def triton_wins(choice: Any) -> float:
    return 1.0 if choice.name.startswith("triton") else 2.0


def patched(**settings: Any) -> Any:
    from torch._inductor import config

    return config.patch(MAX_AUTOTUNE | settings)


def test_torch_sees_the_catalogued_device() -> None:
    with virtual_gpu("rtx-3060") as gpu:
        found = torch.cuda.get_device_properties(0)
        assert torch.cuda.is_available()
        assert torch.cuda.get_device_name() == found.name == "NVIDIA GeForce RTX 3060"
        assert torch.cuda.get_device_capability() == (8, 6)
        assert found.multi_processor_count == gpu.spec.sm_count == 28
        assert found.shared_memory_per_block_optin == 99 << 10
        assert triton.runtime.driver.active.get_current_target().arch == 86


def test_blocks_nest_and_leave_no_trace() -> None:
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor.runtime.hints import DeviceProperties
    from torch._inductor.utils import get_num_sms, is_big_gpu

    def state() -> list[dict[str, Any]]:
        owners = (torch.cuda, torch._C, torch._C._dynamo.guards, CudaInterface, triton.runtime.driver)
        return [dict(vars(owner)) for owner in owners]

    def answers() -> tuple[int, bool, int]:
        device = torch.device("cuda", 0)
        return get_num_sms(), is_big_gpu(device), DeviceProperties.create(device).cc

    torch.cuda.default_stream  # noqa: B018 - torch fills in some names when they are first asked for
    before = state()
    small = gt.device("h100-sxm-mig-1g.10gb")
    with virtual_gpu("rtx-3060"):
        assert answers() == (28, False, 86)
        with virtual_gpu(small):
            assert answers() == (small.sm_count, False, 90)
        with virtual_gpu("rtx-3060", sm_count=108):
            assert answers() == (108, True, 86)
        assert answers() == (28, False, 86)
    assert not torch.cuda.is_available()
    assert state() == before


def test_a_gradient_of_fake_tensors_on_it() -> None:
    from torch._subclasses import FakeTensorMode

    with virtual_gpu("l4"), FakeTensorMode():
        x, weight = (torch.empty(64, 64, device="cuda:0", requires_grad=True) for _ in range(2))
        (x @ weight).sum().backward()
        assert weight.grad.device == torch.device("cuda", 0)


def test_stock_inductor_refuses_at_28_sms(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch._inductor.utils")
    logger.addHandler(caplog.handler)
    try:
        with patched(), virtual_gpu("rtx-3060", timings=triton_wins) as gpu:
            (graph,) = gpu.compile(fusible, *ODD)
    finally:
        logger.removeHandler(caplog.handler)
    assert "Not enough SMs to use max_autotune_gemm mode" in caplog.text
    assert graph.gemms == ()
    assert graph.extern in [("addmm",), ("bias_addmm",)]
    assert gpu.clock.compiled == []
    assert set(gpu.clock.gemms) <= {"addmm", "bias_addmm"}  # torch 2.11 chooses between the two


def test_stock_inductor_tunes_at_108_sms() -> None:
    """It times what it should, chooses by the timings given, fuses, and the kernel compiles and fits."""
    with (
        patched(**{"test_configs.max_mm_configs": 2}),
        virtual_gpu("rtx-3060", sm_count=108, timings=triton_wins) as gpu,
    ):
        graph = gpu.compile_traced(fusible, *ODD)
    (kernel,) = graph.gemms
    assert graph.calls == (kernel.name,)  # GELU and the sum went into it
    assert graph.extern == ()
    assert kernel.constants["EVEN_K"] is False
    timed = [name for name in gpu.clock.gemms if name.startswith("triton")]
    assert [candidate.name for candidate in gpu.clock.compiled] == timed
    assert len(timed) == 2
    chosen = gpu.clock.compiled[0]  # of equals, the first
    assert {key: kernel.constants[key] for key in chosen.constants} == chosen.constants
    assert (kernel.num_warps, kernel.num_stages) == (chosen.num_warps, chosen.num_stages)
    assert gpu.clock.fusions >= 2  # the epilogue alone, and with the winner
    assert gpu.clock.refused == {}
    for compute_capability in (86, 90):
        resources = compile_for(kernel, compute_capability)
        assert 0 < resources["smem_bytes"] <= gpu.spec.smem_per_block_optin_bytes
        assert resources["tensor_core_instructions"] > 0
        assert 0 < resources["registers_per_thread"] < 255


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_fused_kernel_computes_what_eager_does(dtype: str) -> None:
    kind = getattr(torch, dtype)
    with patched(), virtual_gpu("rtx-3060", sm_count=108, timings=triton_wins) as gpu:
        graph = gpu.compile_traced(fusible, *ODD, dtype=kind)
    assert len(graph.gemms) == len(graph.calls) == 1
    torch.manual_seed(1)
    inputs = [torch.randn(shape).to(kind) for shape in ODD]
    (found,) = run_interpreted(graph, inputs)
    wanted = fusible(*(tensor.float() for tensor in inputs))
    rounding = torch.finfo(kind).eps
    torch.testing.assert_close(found.float(), wanted, rtol=rounding, atol=4 * rounding)


def test_timings_decide() -> None:
    """The library kernel where it is faster; no fusion where that does not pay."""
    with patched(), virtual_gpu("a30", sm_count=108, timings=lambda choice: 3.0 - triton_wins(choice)) as gpu:
        assert gpu.compile_traced(fusible, *ODD).gemms == ()
    with patched(), virtual_gpu("a30", sm_count=108, timings=triton_wins, fused_ms=5.0) as gpu:
        graph = gpu.compile_traced(fusible, *ODD)
        assert len(graph.gemms) == 1
        assert len(graph.calls) == 2
    with (
        patched(),
        virtual_gpu("a30", sm_count=108) as gpu,
        pytest.raises(Exception, match="say what it takes") as caught,
    ):
        gpu.compile_traced(fusible, *ODD)
    assert isinstance(caught.value, UnexpectedBenchmarkError) or "UnexpectedBenchmarkError" in str(caught.value)


def test_a_candidate_that_does_not_fit_is_refused() -> None:
    narrow = gt.device("rtx-3060").replace(smem_per_block_optin_bytes=1024)
    with patched(), virtual_gpu(narrow, sm_count=108, timings=triton_wins) as gpu:
        graph = gpu.compile_traced(fusible, *ODD)
    assert graph.gemms == ()
    assert gpu.clock.compiled == []
    assert len(gpu.clock.refused) == 1
    assert all("out of resource: shared memory" in reason for reason in gpu.clock.refused.values())


def test_padding_is_timed_and_decided() -> None:
    def product(a: Any, b: Any) -> Any:
        return a @ b

    unaligned = ((1023, 2047), (2047, 1021))
    with virtual_gpu("rtx-3060") as gpu:
        (graph,) = gpu.compile(product, *unaligned)
        assert graph.calls == ("extern_kernels.mm",)
        assert gpu.clock.paddings == 2
    with virtual_gpu("rtx-3060", padding_pays=True) as gpu:
        (graph,) = gpu.compile(product, *unaligned)
        assert len(graph.calls) > 1


def test_forward_and_backward_of_a_module() -> None:
    with (
        patched(),
        virtual_gpu("rtx-3060", sm_count=108, timings=triton_wins) as gpu,
    ):
        forward, backward = gpu.compile(layer(), (128, 256), backward=True)
        again = gpu.compile(layer(), (128, 256), backward=True)  # from Inductor's cache
    assert [forward.is_backward, backward.is_backward] == [False, True]
    assert len(forward.gemms) == 1
    assert len(backward.gemms) == 2
    assert forward.extern == backward.extern == ()
    assert again == [forward, backward]
    assert all(kernel.constants["EVEN_K"] for graph in (forward, backward) for kernel in graph.gemms)


def test_a_backward_compiled_late_in_another_thread() -> None:
    """Of sizes that do not vary, the backward is compiled when it is first run: here in a thread of its own."""
    from torch._subclasses import FakeTensorMode

    model = layer()
    with virtual_gpu("l4") as gpu, FakeTensorMode() as mode:
        torch._dynamo.reset()
        put_fake_parameters(model, torch.float16)
        x = torch.empty(128, 256, dtype=torch.float16, device=DEVICE, requires_grad=True)
        loss = torch.compile(model)(x).sum()
        assert [graph.is_backward for graph in gpu.graphs] == [False]

        def backward() -> None:
            with mode, torch.autograd.set_multithreading_enabled(False):
                loss.backward()

        thread = threading.Thread(target=backward)
        thread.start()
        thread.join()
    assert [graph.is_backward for graph in gpu.graphs] == [False, True]
    assert len(gpu.graphs[1].extern) == 2


def test_constants_of_a_graph_are_folded() -> None:
    """Inductor makes real tensors of one element for that, which cannot be on a device that is not there."""

    def scaled(x: Any) -> Any:
        return (x @ x) * torch.full((64, 64), 2.0, device=x.device)

    with virtual_gpu("rtx-3060") as gpu:
        (graph,) = gpu.compile(scaled, (64, 64))
        assert graph.extern == ("mm",)
        assert len(graph.kernels) == 1
