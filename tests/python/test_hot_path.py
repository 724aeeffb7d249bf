"""The op's calls that never leave C++, on the stand-in libcuda: a double, which tells what arrived, no more.

The double takes CPU tensors: to it any address is as good as one of a GPU.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its modes and autograd only in part)
from __future__ import annotations

import functools
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import gemm_tuner as gt
from conftest import StandIn
from doubles.hot_op import hot_on_cpu
from doubles.op_records import DEVICE, winner
from gemm_tuner import GemmConfig, GemmProblem, hot_path, ready
from gemm_tuner.hot_path import HotPath
from gemm_tuner.in_use import RecordsInUse, put_in_use
from gemm_tuner.records import Record

M, N, K = 32, 48, 64
TILED = GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=2)
SPLIT = TILED.replace(family="split_k", split_k=2)
PRODUCT = GemmProblem(m=M, n=N, k=K, dtype="float16", layout="nn")


@pytest.fixture
def double(stand_in: StandIn) -> Iterator[StandIn]:
    stand_in.tell("log=1")
    yield stand_in
    gc.collect()
    assert stand_in.leaks() == 0


@pytest.fixture
def hot(double: StandIn, own_cache: Path) -> Iterator[HotPath]:
    with hot_on_cpu() as found:
        yield found


@pytest.fixture
def by_python(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each call that is made ready, or launched, in Python."""
    seen: list[str] = []
    for name in ("__call__", "takes_as_they_are"):
        real = getattr(ready.Ready, name)

        def heard(
            *arguments: object, _name: str = name, _real: Callable[..., object] = real, **others: object
        ) -> object:
            seen.append(_name)
            return _real(*arguments, **others)

        monkeypatch.setattr(ready.Ready, name, heard)
    return seen


def operands(dtype: torch.dtype = torch.float16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b, bias = (torch.randn(sizes, generator=generator) for sizes in ((M, K), (K, N), (N,)))
    return a.to(dtype), b.to(dtype), bias.to(dtype)


def following(records: Sequence[Record]) -> RecordsInUse:
    used = RecordsInUse(records, device_of=lambda ordinal: DEVICE)
    put_in_use(used)
    return used


def addresses(*tensors: torch.Tensor) -> tuple[int, ...]:
    return tuple(each.data_ptr() for each in tensors)


def test_the_second_call_is_launched_in_cpp(double: StandIn, hot: HotPath, by_python: list[str]) -> None:
    a, b, _ = operands()
    with following([winner(PRODUCT, TILED)]):
        gt.matmul(a, b)
        assert by_python == ["__call__", "takes_as_they_are"]
        second, op = gt.matmul(a, b), torch.ops.gemm_tuner.matmul.default(a, b)
    assert len(by_python) == 2
    arrived = double.launched()
    assert [each.entry for each in arrived] == ["tiled"] * 3
    assert arrived[1].values[:3] == addresses(a, b, second) and arrived[2].values[:3] == addresses(a, b, op)
    assert arrived[0].values[3:] == arrived[1].values[3:] and arrived[0].grid == arrived[1].grid
    assert (second.shape, second.dtype, second.is_contiguous()) == ((M, N), torch.float16, True)


def test_bias_activation_and_scratch_memory(double: StandIn, hot: HotPath, by_python: list[str]) -> None:
    a, b, bias = operands()
    problem = PRODUCT.replace(op="addmm", epilogue="gelu")
    with following([winner(problem, SPLIT)]):
        outputs = [gt.matmul(a.view(4, 8, K), b, bias, "gelu") for _ in range(2)]
    assert len(by_python) == 2 and outputs[1].shape == (4, 8, N)
    _, _, product, total = double.launched()
    assert (product.entry, total.entry) == ("split_k", "add_parts")
    parts = product.values[2]
    assert product.values[:2] == addresses(a, b) and total.values[0] == parts
    assert {outputs[1].data_ptr(), bias.data_ptr()} < set(total.values) and parts not in addresses(a, b, outputs[1])


def test_a_residual(double: StandIn, hot: HotPath, by_python: list[str]) -> None:
    a, b, bias = operands()
    residual = torch.zeros(M, N, dtype=torch.float16)
    problem = PRODUCT.replace(op="addmm", epilogue="relu+residual")
    with following([winner(problem, TILED)]):
        for _ in range(2):
            out = gt.matmul(a, b, bias, "relu", residual)
        gt.matmul(a, b, bias, "relu", residual.t().contiguous().t())  # is copied, in Python
        gt.matmul(a, b, bias, "relu")  # has no record
    assert by_python == ["__call__", "takes_as_they_are"] * 2
    _, second, copied = double.launched()
    assert {out.data_ptr(), bias.data_ptr(), residual.data_ptr()} < set(second.values)
    assert residual.data_ptr() not in copied.values


@pytest.mark.parametrize("op", ["int_mm", "scaled_mm"])
def test_quantised_products(double: StandIn, hot: HotPath, by_python: list[str], op: str) -> None:
    a, b, scale_a, scale_b = torch.ones(M, K).char(), torch.ones(N, K).char().t(), torch.ones(M, 1), torch.ones(1, N)
    problem = GemmProblem(m=M, n=N, k=K, layout="nt", dtype="int8", out_dtype="int32", op="int_mm")

    def call() -> torch.Tensor:
        return gt.int_mm(a, b) if op == "int_mm" else gt.scaled_mm(a, b, scale_a, scale_b, out_dtype=torch.float16)

    exact = call()
    if op == "scaled_mm":
        problem = problem.replace(op="scaled_mm", out_dtype="float16", scaling="row")
    with following([winner(problem, TILED)]):
        for _ in range(2):
            out = call()
        with following([]):
            for _ in range(2):
                torch.testing.assert_close(call(), exact)
        gt.scaled_mm(a, b, scale_a, scale_b)  # the same operands with a result in bfloat16: no record
    assert by_python == ["__call__", "takes_as_they_are"]
    first, second = double.launched()
    assert out.dtype == exact.dtype and out.data_ptr() in second.values
    assert set(addresses(a, b)) < set(second.values) and first.grid == second.grid


def test_both_directions_of_training(double: StandIn, hot: HotPath, by_python: list[str]) -> None:
    a, b, bias = (each.requires_grad_() for each in operands())
    forward = PRODUCT.replace(op="addmm")
    of_a = GemmProblem(m=M, n=K, k=N, dtype="float16", layout="nt")
    of_b = GemmProblem(m=K, n=N, k=M, dtype="float16", layout="tn")
    with following([winner(each, TILED) for each in (forward, of_a, of_b)]):
        for _ in range(3):
            gt.matmul(a, b, bias).backward(torch.ones(M, N, dtype=torch.float16))
    assert by_python == ["__call__", "takes_as_they_are"] * 3
    assert len(double.launched()) == 9


def test_other_records_are_another_kernel(double: StandIn, hot: HotPath) -> None:
    a, b, _ = operands()
    with following([winner(PRODUCT, TILED)]):
        for _ in range(2):
            gt.matmul(a, b)
        with following([winner(PRODUCT, SPLIT)]):
            for _ in range(2):
                gt.matmul(a, b)
        gt.matmul(a, b)
    entries = [each.entry for each in double.launched()]
    assert entries == ["tiled"] * 2 + ["split_k", "add_parts"] * 2 + ["tiled"]
    torch.testing.assert_close(gt.matmul(a, b), a @ b)
    assert len(double.launched()) == len(entries)


@pytest.mark.parametrize("records", [[], [winner(PRODUCT, None), winner(PRODUCT.replace(op="addmm"), None)]])
def test_what_is_atens_is_known_to_be(
    double: StandIn, hot: HotPath, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, bias = operands(torch.float32)
    with following(records):
        for _ in range(2):
            torch.testing.assert_close(gt.matmul(a, b), a @ b)
            torch.testing.assert_close(gt.matmul(a.expand(2, M, K), b.expand(2, K, N)), (a @ b).expand(2, M, N))
            torch.testing.assert_close(gt.matmul(a, b, bias, "silu"), torch.nn.functional.silu(a @ b + bias))
            monkeypatch.setattr("gemm_tuner.ops.ready_for", None)  # from now on nobody asks the records
    assert double.launched() == []


@pytest.fixture
def allows() -> Iterator[Callable[[str], None]]:
    """What sets the precision of float32 products until the test ends: monkeypatch cannot, as torch refuses `del`."""
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    yield functools.partial(setattr, setting, "fp32_precision")
    setting.fp32_precision = before


def test_float32_is_another_call_where_tf32_is_allowed(
    double: StandIn, hot: HotPath, allows: Callable[[str], None]
) -> None:
    a, b, _ = operands(torch.float32)
    exact = GemmProblem(m=M, n=N, k=K, dtype="float32", layout="nn", precision="ieee")
    used = following([winner(exact, TILED), winner(exact.replace(precision="tf32"), SPLIT)])
    with used:
        for precision in ("ieee", "tf32", "ieee"):
            allows(precision)
            gt.matmul(a, b)
    assert [each.entry for each in double.launched()] == ["tiled", "split_k", "add_parts", "tiled"]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch, of its jvp
def test_whoever_takes_part_is_asked(double: StandIn, hot: HotPath) -> None:
    a, b, _ = operands(torch.float32)
    c = torch.randn(K, N)

    class Mode(torch.overrides.TorchFunctionMode):
        seen: int = 0

        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.seen += func is torch.ops.gemm_tuner.matmul.default
            return func(*args, **(kwargs or {}))

    problem = GemmProblem(m=M, n=N, k=K, dtype="float32", layout="nn")
    with following([winner(problem, TILED)]):
        gt.matmul(a, b)
        arrived = len(double.launched())
        with gt.capture() as captured:
            torch.testing.assert_close(gt.matmul(a, b), a @ b)
        assert [each.problem for each in captured.problems] == [problem]
        torch.testing.assert_close(torch.vmap(gt.matmul, (None, 0))(a, torch.stack([b, c]))[1], a @ c)
        torch.testing.assert_close(torch.func.jvp(lambda a: gt.matmul(a, b), (a,), (a,))[1], a @ b)
        torch.testing.assert_close(torch.compile(gt.matmul, backend="aot_eager")(a, b), a @ b)
        assert len(double.launched()) == arrived
        with Mode() as mode:
            gt.matmul(a, b)
        assert mode.seen == 1
        with torch.autocast("cpu", torch.bfloat16):
            assert gt.matmul(a, b).dtype == torch.bfloat16
        sparse = gt.matmul(a.to_sparse(), b)
        torch.testing.assert_close(sparse, a @ b)


def test_a_copy_is_made_in_python_every_time(double: StandIn, hot: HotPath, by_python: list[str]) -> None:
    a, b, _ = operands()
    scattered = torch.zeros(M, 2 * K, dtype=torch.float16)[:, ::2]
    with following([winner(PRODUCT, TILED)]):
        for _ in range(3):
            gt.matmul(scattered, b)
            gt.matmul(a, b)
    assert by_python.count("__call__") == 4
    assert all(each.values[0] != scattered.data_ptr() for each in double.launched()[::2])


def test_memory_that_torch_did_not_allocate_is_never_given_to_a_kernel(double: StandIn, hot: HotPath) -> None:
    a, b, _ = operands()
    skew = torch.frombuffer(bytearray(2 * M * K + 2), dtype=torch.float16, offset=2).view(M, K)
    assert skew.storage_offset() == 0 and skew.data_ptr() % 16
    with following([winner(PRODUCT, TILED)]):
        gt.matmul(a, b)
        for _ in range(2):
            torch.testing.assert_close(gt.matmul(skew, b), skew @ b)
    assert len(double.launched()) == 1


def test_errors_stay_what_they_are(double: StandIn, hot: HotPath) -> None:
    a, b, bias = operands()
    with following([winner(PRODUCT, TILED)]):
        gt.matmul(a, b)
        for other, words in ((b.float(), "same dtype"), (b[1:], "shapes cannot be multiplied")):
            for _ in range(2):
                with pytest.raises(RuntimeError, match=words):
                    gt.matmul(a, other)
        with pytest.raises(ValueError, match="activation must be one of"):
            gt.matmul(a, b, bias, "tanh")
    assert len(double.launched()) == 1


def test_shapes_without_end_do_not_fill_the_memory(hot: HotPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_path, "_MANY_ANSWERS", 3)
    with following([]):
        for rows in range(1, 9):
            a = torch.ones(rows, 2)
            for _ in range(2):
                torch.testing.assert_close(gt.matmul(a, a.t()), a @ a.t())
            assert len(hot.plain) <= 3


def test_threads_and_what_changes_meanwhile(double: StandIn, hot: HotPath) -> None:
    a, b, _ = operands()
    wrong: list[object] = []
    with following([winner(PRODUCT, TILED)]):
        gt.matmul(a, b)

        def work() -> None:
            for _ in range(200):
                out = gt.matmul(a, b)
                if out.shape != (M, N):
                    wrong.append(out)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for _ in range(20):
            with following([winner(PRODUCT, TILED)]):
                gt.matmul(a, b)
        for each in threads:
            each.join()
    assert not wrong
    assert len(double.launched()) >= 800


def test_without_cuda_there_is_none() -> None:
    if torch.version.cuda is None:
        assert hot_path.hot_path() is None
