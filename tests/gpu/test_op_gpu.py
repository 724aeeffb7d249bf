"""The op on a real GPU: every family, dtype and layout through records that name it, and how it lives inside torch.

Of the cross product one variety of operands each is taken, in turn; GEMM_TUNER_GPU_TESTS=all takes all of them.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda, torch's autograd and its libraries of operators)
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner.hot_path import hot_path
from gemm_tuner.in_use import in_use
from gemm_tuner.ops import from_cpp
from gemm_tuner.records import Fingerprint, Record
from gemm_tuner.sources import FAMILIES
from gpu.op_calls import Call, Operands, assert_close, in_float64, operands, problem_of
from gpu.op_cases import CONFIGS, VARIETIES, Case, Variety, cases, compile_ahead, each_family, naming, takes, varied

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here, which the op is to run on"
    ),
]

EVERY = os.environ.get("GEMM_TUNER_GPU_TESTS") == "all"
ODD = [
    Case(family, "bfloat16", "tn", variety)
    for family in FAMILIES
    for variety in VARIETIES[2:]
    if takes(family, variety) and not variety.has_residual
]
LONG = Variety(264, 136, 1032)  # some hundred tiles
STREAMS, CALLS = 4, 20
ASLEEP_CLOCKS = 100_000_000  # some 50 ms, in which everything that does not wait is over
PART_SMS = 16


@dataclass(frozen=True)
class Stage:
    """Where the op is tested. device: torch's word. following: puts records in use for a block."""

    device: str
    spec: gt.DeviceSpec
    following: Callable[[Iterable[Record]], AbstractContextManager[object]]

    def call(self, case: Case) -> Call:
        """The case with its operands; skips what the device or the family cannot do, saying why."""
        call = Call.of(case, self.device)
        illegal = gt.why_illegal(call.problem, case.config, self.spec)
        if illegal is not None:
            pytest.skip(f"{case}: {illegal}")
        return call

    def legal(self, case: Case) -> tuple[Operands, gt.GemmProblem, gt.GemmConfig]:
        """Likewise the operands, the problem and the config by themselves."""
        call = self.call(case)
        return call.operands, call.problem, case.config

    @contextmanager
    def naming(self, config: gt.GemmConfig, *problems: gt.GemmProblem) -> Iterator[None]:
        """Within the block that config is named for those problems; at its end it must have run each of them."""
        with self.following(naming(problems, config, self.spec)):
            yield
            for problem in problems:
                chosen = in_use().choices.get(problem)
                assert chosen is not None, f"{problem} was never met; met were {list(map(str, in_use().choices))}"
                assert chosen.config == config, f"{problem} ran otherwise: {chosen.why}"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path_factory.mktemp("op")))
        yield


@pytest.fixture(scope="module")
def stage(_own_cache: None) -> Stage:
    """This machine's GPU, for which everything that the cases name is compiled."""
    spec, wanted = gt.device(), []
    for case in (*cases(every=EVERY), *ODD, *each_family()):
        with allowing_tf32(case.dtype == "tf32"):
            wanted.append((Call.of(case, "cpu").problem, case.config))
    for case in each_family("bfloat16"):
        a, b, bias = operands(case, "cpu")
        forward = [problem_of(a, b, bias, activation) for activation in ("none", "relu")]
        wanted += [(each, CONFIGS[case.family]) for each in (*forward, *backward_of(a, b, a @ b))]
    compile_ahead(wanted, spec)
    return Stage("cuda", spec, gt.use_records)


@contextmanager
def allowing_tf32(allowed: bool) -> Iterator[None]:
    """Torch may compute float32 products in TF32, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def backward_of(a: torch.Tensor, b: torch.Tensor, upstream: torch.Tensor) -> list[gt.GemmProblem]:
    """The products that the gradients of a and b are, of a gradient that lies row by row."""
    return [problem_of(upstream, b.mT), problem_of(a.mT, upstream)]


def right(case: Case, stage: Stage) -> torch.Tensor:
    """The op's result for the case, which is compared with float64, and with itself, computed again."""
    with allowing_tf32(case.dtype == "tf32"):
        call = stage.call(case)
        problem = call.problem
        with stage.naming(case.config, problem):
            result, again = call.result(), call.result()
    assert result.dtype == case.out_dtype, case
    assert_close(result.cpu(), call.wanted(), problem, case)
    assert torch.equal(result, again), f"{case}: the same operands gave other bits"
    return result


# What the kernels compute


@pytest.mark.parametrize("case", cases(every=EVERY), ids=str)
def test_every_family_dtype_and_layout(case: Case, stage: Stage) -> None:
    right(case, stage)


@pytest.mark.parametrize("case", ODD, ids=str)
def test_what_lies_oddly(case: Case, stage: Stage) -> None:
    right(case, stage)


@pytest.mark.parametrize("case", each_family(), ids=str)
def test_the_kernel_that_is_named_is_what_the_gpu_runs(case: Case, stage: Stage) -> None:
    given, problem, config = stage.legal(case)
    with stage.naming(config, problem):
        gt.matmul(*given, case.variety.activation)
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            gt.matmul(*given, case.variety.activation)
            torch.cuda.synchronize()
    ran = [event.key for event in profile.key_averages()]
    assert case.family in ran, ran
    assert not any(word in each.lower() for each in ran for word in ("gemm", "cutlass", "gelu")), ran


@pytest.mark.parametrize("variety", [Variety(192, 136, 264), VARIETIES[0]], ids=str)
def test_what_is_known_of_a_call_is_launched_without_python(variety: Variety, stage: Stage) -> None:
    given, problem, config = stage.legal(Case("split_k", "float16", "nt", variety))
    hot = hot_path()
    assert hot is not None, "the operators in C++ could not be made: the log has the reason"
    with stage.naming(config, problem):
        known = hot.size
        first = gt.matmul(*given, variety.activation)
        assert hot.size == known + 1
        again, _ = from_cpp(hot, in_use(), *given, variety.activation, None)
        with gt.use_records([]):
            unknown, _ = from_cpp(hot, in_use(), *given, variety.activation, None)
        assert again is not None and unknown is None
    if stage.device == "cuda":  # a double computes nothing
        assert torch.equal(first, again)


@pytest.mark.parametrize("sizes", [(0, 8, 8, 0), (8, 0, 8, 0), (8, 8, 0, 0), (0, 8, 0, 0), (8, 8, 0, 3)], ids=str)
def test_empty_products_are_atens(sizes: tuple[int, int, int, int], stage: Stage) -> None:
    m, n, k, batch = sizes
    front = (batch,) if batch else ()
    a, b = torch.ones(*front, m, k, device=stage.device), torch.ones(*front, k, n, device=stage.device)
    with stage.following([]):
        assert torch.equal(gt.matmul(a, b), torch.zeros(*front, m, n, device=stage.device))
        assert not in_use().choices


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("case", each_family("bfloat16"), ids=str)
def test_gradients_are_tuned_products_too(case: Case, activation: str, stage: Stage) -> None:
    (a, b, bias), problem, config = stage.legal(varied(case, activation=activation))
    assert bias is not None
    upstream = torch.rand(a.shape[0], b.shape[1], device=stage.device).to(a.dtype)
    backward = backward_of(a, b, upstream)
    inputs = a.detach().requires_grad_(), b.detach().requires_grad_(), bias.detach().requires_grad_()
    with stage.naming(config, problem, *backward):
        out = gt.matmul(*inputs, activation)
        found = torch.autograd.grad(out, inputs, upstream)
    grad = upstream.double() * (out.detach() > 0) if activation == "relu" else upstream.double()
    assert_close(out.detach(), in_float64(a, b, bias, activation), problem, case)
    assert_close(found[0], grad @ b.double().mT, backward[0], f"{case}, gradient of a:")
    assert_close(found[1], a.double().mT @ grad, backward[1], f"{case}, gradient of b:")
    torch.testing.assert_close(found[2].double(), grad.sum(0), rtol=1e-2, atol=1e-2)


# How it lives inside torch


def test_autocast_launches_half_precision(stage: Stage) -> None:
    (a, b, bias), _, config = stage.legal(Case("tiled", "float32", "nt", VARIETIES[0]))
    half = [None if each is None else each.half() for each in (a, b, bias)]
    assert half[0] is not None and half[1] is not None
    problem = problem_of(half[0], half[1], half[2])
    with stage.naming(config, problem), torch.autocast(stage.device, torch.float16):
        out = gt.matmul(a, b, bias)
    assert_close(out, in_float64(half[0], half[1], half[2]), problem)


def test_a_compiled_program_has_the_op_in_it(stage: Stage) -> None:
    given, problem, config = stage.legal(Case("tiled", "float16", "nt", VARIETIES[0]))
    torch._dynamo.reset()
    compiled = torch.compile(lambda a, b, bias: gt.matmul(a, b, bias, "gelu") + 1, fullgraph=True)
    with stage.following(naming([problem], config, stage.spec)):
        out = compiled(*given)
    torch.testing.assert_close(out.double(), in_float64(*given, "gelu") + 1, rtol=1e-2, atol=1e-2)


def test_errors_come_before_any_launch(stage: Stage) -> None:
    a, b = torch.ones(8, 16, device=stage.device), torch.ones(16, 24, device=stage.device)
    with stage.following([]):
        for given, words in (
            ((a, a), "mat1 and mat2 shapes cannot be multiplied"),
            ((a, b.half()), "expected a and b to have the same dtype"),
            ((a, b, torch.ones(8, device=stage.device)), "bias must be a row of 24 elements"),
        ):
            with pytest.raises(RuntimeError, match=words):
                gt.matmul(*given)
        assert not in_use().choices
    if stage.device == "cuda":
        with pytest.raises(RuntimeError, match="to be on the same device"):
            gt.matmul(a, b.cpu())
        torch.cuda.synchronize()  # a fault of the GPU would be told here


def test_records_of_another_device_or_kernel_are_never_launched(stage: Stage) -> None:
    given, problem, config = stage.legal(Case("tiled", "float16", "nt", VARIETIES[0]))
    (fits,) = naming([problem], config, stage.spec)
    other = gt.device("rtx-4060" if stage.spec.name != gt.device("rtx-4060").name else "rtx-3060")
    fewer = stage.spec.with_available_sms(stage.spec.available_sms - 1)
    for changes in (
        {"device": Fingerprint.of(other)},
        {"device": Fingerprint.of(fewer)},
        {"kernel": "gemm_tuner::tiled@000000000000"},
    ):
        with stage.following([Record(**{**vars(fits), **changes})]):
            out = gt.matmul(*given, "gelu")
            assert in_use().choices[problem].config is None, changes
        torch.testing.assert_close(out.double(), in_float64(*given, "gelu"), rtol=1e-2, atol=1e-2)


def test_distributed_training_of_one_process(stage: Stage, tmp_path: Path) -> None:
    """Its hooks find the gradients where they look for them, and reduce them over a world of one."""
    from torch import distributed

    backend = "nccl" if stage.device == "cuda" and distributed.is_nccl_available() else "gloo"
    if not distributed.is_available() or (backend == "gloo" and not distributed.is_gloo_available()):
        pytest.skip("this torch has neither NCCL nor Gloo, one of which DistributedDataParallel speaks through")
    x = torch.rand(24, 40, device=stage.device)
    layer = torch.nn.Linear(40, 56).to(stage.device)
    alone = torch.autograd.grad(torch.nn.functional.linear(x, layer.weight, layer.bias).square().sum(), layer.weight)
    problem = problem_of(x, layer.weight.detach().t(), layer.bias.detach())
    distributed.init_process_group(backend, init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        model = torch.nn.Sequential(layer)
        gt.replace_linear(model)
        whole = torch.nn.parallel.DistributedDataParallel(model)
        with stage.naming(CONFIGS["tiled"], problem):
            whole(x).square().sum().backward()
    finally:
        distributed.destroy_process_group()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, alone[0], rtol=1e-4, atol=1e-3)


# Streams, graphs and parts of the GPU


def test_a_launch_waits_for_what_is_before_it_on_the_current_stream(stage: Stage) -> None:
    (a, b, bias), problem, config = stage.legal(Case("split_k", "float16", "nt", VARIETIES[0]))
    new = a.roll(1, 0)
    side = torch.cuda.Stream()
    with stage.naming(config, problem):
        gt.matmul(a, b, bias, "gelu")
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(ASLEEP_CLOCKS)
            a.copy_(new)  # whoever did not wait for it has read the old rows
            out = gt.matmul(a, b, bias, "gelu")
        side.synchronize()
    assert_close(out, in_float64(new, b, bias, "gelu"), problem)


@pytest.mark.parametrize("family", ["split_k", "stream_k"])  # those with scratch memory, which nobody may share
def test_several_streams_at_once(family: str, stage: Stage) -> None:
    case = Case(family, "float16", "nn", LONG)
    (a, b, _), problem, config = stage.legal(case)
    rolled = [a.roll(turn, 0) for turn in range(STREAMS)]
    torch.cuda.synchronize()

    def work(own: torch.Tensor) -> list[torch.Tensor]:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            results = [gt.matmul(own, b) for _ in range(CALLS)]
        stream.synchronize()
        return results

    with stage.naming(config, problem), ThreadPoolExecutor(STREAMS) as pool:
        found = list(pool.map(work, rolled))
    for own, results in zip(rolled, found, strict=True):
        assert_close(results[0], in_float64(own, b), problem, case)
        assert all(torch.equal(results[0], each) for each in results), f"{case}: streams disturb each other"


@pytest.mark.parametrize("case", each_family(), ids=str)
def test_a_captured_graph_computes_anew(case: Case, stage: Stage) -> None:
    (a, b, bias), problem, config = stage.legal(case)
    later = a[:64].clone()  # of a product that is first met during the capture
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with stage.naming(config, problem):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            gt.matmul(a, b, bias, case.variety.activation)  # the warm-up, which loads the kernels
            torch.mm(later, b)  # and makes the library's handle
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            out = gt.matmul(a, b, bias, case.variety.activation)
            unmet = gt.matmul(later, b)
        for turn in (1, 2):
            a.copy_(a.roll(turn, 0))
            out.fill_(torch.nan)
            graph.replay()
            torch.cuda.synchronize()
            assert_close(out, in_float64(a, b, bias, case.variety.activation), problem, f"{case}, replay {turn}:")
        assert problem_of(later, b) not in in_use().choices
    assert_close(unmet, in_float64(later, b), problem_of(later, b))


def test_on_a_part_of_the_gpu_its_own_records_count(stage: Stage) -> None:
    from gpu.partition import PartitionError, partition, reached_sms

    (a, b, bias), problem, config = stage.legal(Case("persistent", "float16", "nt", VARIETIES[0]))
    try:
        part = partition(PART_SMS)
    except PartitionError as error:
        pytest.skip(str(error))
    torch.cuda.synchronize()
    with part.entered():
        assert reached_sms() == PART_SMS
        of_part = Stage(stage.device, gt.device(), stage.following)
        assert of_part.spec.available_sms == PART_SMS
        with of_part.naming(config, problem):
            out = gt.matmul(a, b, bias, "gelu")
        with of_part.following(naming([problem], config, stage.spec)):
            library = gt.matmul(a, b, bias, "gelu")
            assert in_use().choices[problem].config is None
        part.stream.synchronize()
    assert_close(out, in_float64(a, b, bias, "gelu"), problem)
    torch.testing.assert_close(library, out, rtol=1e-2, atol=1e-2)


# The native operator


@pytest.mark.parametrize("family", ["tiled", "split_k"])
def test_the_native_operator_launches_on_the_current_stream(family: str, stage: Stage) -> None:
    from gpu.native import native_operator

    case = Case(family, "float16", "nn", LONG)
    (a, b, _), problem, config = stage.legal(case)
    new, side = a.roll(1, 0), torch.cuda.Stream()
    with native_operator(problem, config, a, b, spec=stage.spec) as op:
        assert_close(op(a, b), in_float64(a, b), problem, case)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            torch.cuda._sleep(ASLEEP_CLOCKS)
            a.copy_(new)
            out = op(a, b)
        side.synchronize()
        assert_close(out, in_float64(new, b), problem, f"{case}, on another stream:")
        assert op(a[1:], b) is None  # of another call nothing is known


def test_the_native_operator_is_captured_too(stage: Stage) -> None:
    from gpu.native import native_operator

    case = Case("tiled", "float16", "nn", LONG)
    (a, b, _), problem, config = stage.legal(case)
    graph = torch.cuda.CUDAGraph()
    with native_operator(problem, config, a, b, spec=stage.spec) as op:
        op(a, b)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            out: Any = op(a, b)
        a.copy_(a.roll(1, 0))
        graph.replay()
        torch.cuda.synchronize()
        assert_close(out, in_float64(a, b), problem, case)
