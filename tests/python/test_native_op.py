"""The native operator, called by torch's dispatcher, on the stand-in libcuda (a double, which tells what arrived).

It is implemented for the CPU here: to the double any address is as good as one of a GPU.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import launch_overhead
from conftest import StandIn
from doubles.stand_in import fake_image
from gemm_tuner._core import Launch, Launcher, LoadedKernel, NativeOp

M, N, K = 4, 6, 8
THREADS, LAUNCHES = 4, 200
NAMESPACE = "gemm_tuner_test"
LIBTORCH = str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")
C = ((M, N), "float32")
Call = Callable[..., torch.Tensor | None]


@pytest.fixture(scope="module")
def library() -> Iterator[torch.library.Library]:
    torch_library: Any = torch.library
    defined = torch_library.Library(NAMESPACE, "DEF")
    defined.define("launch(Tensor a, Tensor b, Tensor? bias=None, str activation='none', int mode=0) -> Tensor?")
    defined.impl("launch", torch.library.fallthrough_kernel, "Autograd")
    yield defined
    defined._destroy()


@pytest.fixture
def double(stand_in: StandIn) -> Iterator[StandIn]:
    """The double, which tells of launches; when the test ends, nothing is left in it."""
    stand_in.tell("log=1")
    yield stand_in
    gc.collect()
    assert stand_in.leaks() == 0


@pytest.fixture
def native(double: StandIn, library: torch.library.Library) -> Iterator[NativeOp]:
    made = NativeOp(namespace=NAMESPACE, name="launch", key="CPU", arguments="TTtsi", libtorch_cpu=LIBTORCH)
    yield made
    made.clear()  # pytest lets go of it after the double has counted


@pytest.fixture
def call(native: NativeOp) -> Call:
    found: Call = torch.ops.gemm_tuner_test.launch.default
    return found


def loaded(double: StandIn, entries: str = "tiled(pppi)", *names: str) -> LoadedKernel:
    operands = names or ("a", "b", "c")
    launch = Launch(
        cubin=fake_image(entries), entry=entries.split("(")[0], grid=(3, 1, 1), arguments=[*operands, ("i32", K)]
    )
    return Launcher(library=str(double.path)).load([launch])


def operands() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(M, K), torch.zeros(K, N)


def learn(native: NativeOp, kernel: LoadedKernel, **places: Any) -> None:
    """Has the call that was just missed launch the kernel."""
    key = native.missed()
    assert key is not None
    native.launch(key, kernel, operands={"a": 0, "b": 1, "c": C, **places}, result="c")


def test_a_call_launches_what_it_was_told_to(double: StandIn, native: NativeOp, call: Call) -> None:
    kernel = loaded(double)
    a, b = operands()
    assert call(a, b) is None
    learn(native, kernel)
    c = call(a, b)
    assert c is not None
    assert (c.shape, c.stride(), c.dtype) == ((M, N), (N, 1), torch.float32)
    assert native.missed() is None
    (arrived,) = double.launched()
    assert arrived.values == (a.data_ptr(), b.data_ptr(), c.data_ptr(), K)
    assert len(native) == 1


def test_another_call_is_another_key(double: StandIn, native: NativeOp, call: Call) -> None:
    kernel = loaded(double)
    a, b = operands()
    call(a, b)
    learn(native, kernel)
    assert call(torch.zeros(M, K), b) is not None
    assert call(a, b.T.contiguous().T) is None
    assert call(a.double(), b.double()) is None
    assert call(torch.zeros(M + 1, K), b) is None
    assert call(torch.zeros(M * K + 1)[1:].view(M, K), b) is None  # its address is 4 bytes beyond what was aligned
    assert call(a, b, torch.zeros(N)) is None
    assert call(a, b, None, "relu") is None
    assert call(a, b, None, "none", 1) is None
    assert len(double.launched()) == 1


def test_optional_operands_and_workspace(double: StandIn, native: NativeOp, call: Call) -> None:
    a, b = operands()
    bias = torch.ones(N)
    kernel = loaded(double, "tiled(pppppi)", "a", "b", "bias", "parts", "c")
    call(a, b, bias, "gelu")
    learn(native, kernel, bias=2, parts=((2, M, N), "float32"))
    c = call(a, b, bias, "gelu")
    assert c is not None
    arrived = double.launched()[0].values
    assert (arrived[2], arrived[4]) == (bias.data_ptr(), c.data_ptr())
    assert len({*arrived[:5]}) == 5


def test_a_call_is_handed_on(native: NativeOp, call: Call) -> None:
    a, b = torch.rand(M, K), torch.rand(K, N)
    call(a, b)
    key = native.missed()
    assert key is not None
    native.hand_on(key, "aten::mm", [0, 1])
    torch.testing.assert_close(call(a, b), a @ b)
    native.clear()
    assert call(a, b) is None


def test_nothing_is_kept_of_a_call(double: StandIn, native: NativeOp, call: Call) -> None:
    kernel = loaded(double)
    a, b = operands()
    bias = torch.zeros(N)
    call(a, b, bias)
    learn(native, kernel)
    storage = a.untyped_storage()
    counts = [sys.getrefcount(each) for each in (a, b, bias)]
    uses = [each._use_count() for each in (a, b, bias)]  # type: ignore[attr-defined]
    for _ in range(100):
        call(a, b, bias)
        call(a, b, bias, "relu")
    assert [sys.getrefcount(each) for each in (a, b, bias)] == counts
    assert [each._use_count() for each in (a, b, bias)] == uses  # type: ignore[attr-defined]
    assert storage.data_ptr() == a.data_ptr()


def test_threads_call_and_learn_at_once(double: StandIn, native: NativeOp, call: Call) -> None:
    kernel = loaded(double)
    wrong: list[object] = []

    def work(thread: int) -> None:
        a, b = torch.zeros(M + thread, K), torch.zeros(K, N)
        call(a, b)
        learn(native, kernel)
        for _ in range(LAUNCHES):
            c = call(a, b)
            if c is None:
                wrong.append(native.missed())
        kept.append((a, b))

    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert len(native) == THREADS
    arrived = [each.values[:2] for each in double.launched()]
    assert {pair: arrived.count(pair) for pair in set(arrived)} == {
        (a.data_ptr(), b.data_ptr()): LAUNCHES for a, b in kept
    }


def test_what_a_thread_missed_is_its_own(native: NativeOp, call: Call) -> None:
    call(*operands())
    seen: list[object] = []
    other = threading.Thread(target=lambda: seen.append(native.missed()))
    other.start()
    other.join()
    assert seen == [None]
    assert native.missed() is not None


def test_wrong_answers_are_told(double: StandIn, native: NativeOp, call: Call) -> None:
    kernel = loaded(double)
    call(*operands())
    key = native.missed()
    assert key is not None
    for places, sentence in (
        ({"a": 0, "b": 1}, "takes an operand 'c'"),
        ({"a": 0, "b": 3, "c": C}, "argument 3 of the operator .'TTtsi'. is no tensor"),
        ({"a": 0, "b": 9, "c": C}, "argument 9 of the operator"),
        ({"a": 0, "b": 1, "c": 2}, "result must be an operand that is made"),
        ({"a": 0, "b": 1, "c": ((M, N), "half")}, "torch has no dtype 'half'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            native.launch(key, kernel, operands=places, result="c")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="result must be"):
        native.launch(key, kernel, operands={"a": 0, "b": 1, "c": C}, result="d")
    with pytest.raises(ValueError, match="only once"):
        native.hand_on(key, "aten::mm", [0, 0])
    with pytest.raises(ValueError, match="is no tensor"):
        native.hand_on(key, "aten::mm", [0, 4])
    assert len(native) == 0


def test_what_goes_wrong_in_a_call_is_raised(double: StandIn, native: NativeOp, call: Call) -> None:
    double.tell("fault.cuLaunchKernel=719")
    kernel = loaded(double)
    a, b = operands()
    call(a, b)
    learn(native, kernel)
    with pytest.raises(RuntimeError, match="cuLaunchKernel failed with CUDA_ERROR_LAUNCH_FAILED"):
        call(a, b)
    assert call(a, b, None, "relu") is None
    key = native.missed()
    assert key is not None
    native.hand_on(key, "aten::mm", [0, 2])
    # torch 2.15 makes every exception that leaves an operator a RuntimeError
    with pytest.raises((ValueError, RuntimeError), match="argument 2 is absent: aten::mm cannot be given it"):
        call(a, b, None, "relu")


def test_what_cannot_be_registered_is_told(native: NativeOp) -> None:
    def make(**changed: str) -> NativeOp:
        usual = {"namespace": NAMESPACE, "name": "launch", "key": "CPU", "arguments": "TT", "libtorch_cpu": LIBTORCH}
        return NativeOp(**{**usual, **changed})

    with pytest.raises(ValueError, match="letters T, t, i and s, got 'TX'"):
        make(arguments="TX")
    with pytest.raises(ValueError, match="up to 8"):
        make(arguments="T" * 9)
    with pytest.raises(RuntimeError, match="has not loaded /nowhere/libtorch_cpu"):
        make(libtorch_cpu="/nowhere/libtorch_cpu.so")
    with pytest.raises(RuntimeError, match="aoti_torch_library_init_impl failed"):
        make(key="NoSuchKey")


def test_the_benchmark_measures_every_way(own_cache: Path) -> None:
    rows = {row.name: row for row in launch_overhead.measure(calls=20, rounds=2)}
    assert rows["torch.mm"].call_us > 0
    assert rows["native operator"].call_us > 0
    assert rows["native operator"].within_us is not None
    assert rows["gt.matmul"].within_us == 5
