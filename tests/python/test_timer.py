"""The timer through the bindings, on the stand-in libcuda (a double: it runs no code, and plays told times)."""

from __future__ import annotations

import gc
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemm_tuner as gt
from conftest import StandIn
from doubles.stand_in import KernelTime, fake_image, write_times
from gemm_tuner import _core
from gemm_tuner._core import Launch, Operand, Timer
from gemm_tuner.compile import Compiled, CompilePool, Failed, compile_candidates, compile_checks
from gemm_tuner.errors import DriverError
from gemm_tuner.launches import check_launches, launches_of
from gemm_tuner.placement import operands_of
from gemm_tuner.sources import workspace_bytes

PROBLEM = gt.GemmProblem(m=512, n=256, k=192, layout="nt")
TILED = gt.GemmConfig(block_m=64, block_n=64, block_k=32)
SPLIT = TILED.replace(family="split_k", split_k=4)
FAST = fake_image("fast(pppiii)")
SLOW = fake_image("slow(pppiii)")
WRONG = fake_image("wrong(pppiii)")
COMPARE = fake_image("compare(pppi)")
OPERANDS = [
    Operand(name="a", bytes=4096, fill="float16"),
    Operand(name="b", bytes=8192, fill="float16"),
    Operand(name="c", bytes=8192, fill="poison"),
    Operand(name="expected", bytes=16384, shared=True),
    Operand(name="verdict", bytes=8, shared=True),
]


def launch(image: bytes, *, m: int = 64, **options: Any) -> Launch:
    entry = image.split()[1].split(b"(")[0].decode()
    arguments = ["a", "b", "c", ("i32", m), ("i32", 64), ("i32", 32)]
    return Launch(**{"cubin": image, "entry": entry, "grid": (2, 1, 1), "arguments": arguments, **options})


@pytest.fixture
def told(stand_in: StandIn, tmp_path: Path) -> Iterator[StandIn]:
    """The double, told how long the kernels take; when the test ends, nothing is left in it."""
    times = [
        KernelTime(FAST, 2.0),
        KernelTime(FAST, 3.5, sizes="128,64,32"),
        KernelTime(FAST, 9.0, sizes="64,64,32@16"),
        KernelTime(SLOW, 300.0),
        KernelTime(WRONG, 2.0, behaviour="wrong"),
    ]
    stand_in.tell(write_times(tmp_path / "times.tsv", times))
    yield stand_in
    gc.collect()
    assert stand_in.leaks() == 0


def timer_of(double: StandIn, **options: int) -> Timer:
    timer = Timer(library=str(double.path), nvml=str(double.path), **options)
    timer.allocate(OPERANDS)
    return timer


def test_a_kernel_is_timed_as_what_it_takes(told: StandIn) -> None:
    timer = timer_of(told)
    fast, slow = timer.load([launch(FAST)]), timer.load([launch(SLOW)])
    assert timer.time(fast, repeats=3) == pytest.approx([2.0] * 3, rel=1e-3)
    assert timer.time(slow, repeats=2, launches=1) == pytest.approx([300.0] * 2, rel=1e-3)


def test_a_kernel_is_timed_for_its_sizes(told: StandIn) -> None:
    timer = timer_of(told)
    assert timer.time(timer.load([launch(FAST, m=128)])) == pytest.approx([3.5], rel=1e-3)


def test_two_launches_are_one_piece_of_work(told: StandIn) -> None:
    timer = timer_of(told)
    assert timer.time(timer.load([launch(FAST), launch(SLOW)])) == pytest.approx([302.0], rel=1e-3)


def test_short_kernels_are_launched_often_between_two_events(told: StandIn) -> None:
    timer = timer_of(told)
    fast, slow = timer.load([launch(FAST)]), timer.load([launch(SLOW)])
    timer.time(fast)
    timer.time(slow)
    before = told.calls("cuLaunchKernel")
    timer.time(fast)
    assert told.calls("cuLaunchKernel") - before >= 10  # of 2 us, to span 20
    before = told.calls("cuLaunchKernel")
    timer.time(slow)
    assert told.calls("cuLaunchKernel") - before == 1
    before = told.calls("cuLaunchKernel")
    timer.time(fast, repeats=2, launches=7)
    assert told.calls("cuLaunchKernel") - before == 14


def test_launches_take_the_operand_sets_in_turn(told: StandIn) -> None:
    timer = timer_of(told)
    sets = timer.allocate(OPERANDS)
    assert sets * (4096 + 8192 + 8192) > 2 * timer.l2_bytes
    seen: list[int] = []
    timer.time(seen.append, launches=sets + 2)
    timed = seen[-(sets + 2) :]
    assert sorted(set(timed)) == list(range(sets)) and timed[:2] == timed[-2:]


def test_addresses_are_aligned_apart_and_shared_where_said(told: StandIn) -> None:
    timer = timer_of(told)
    addresses = [timer.address(name, each) for name in ("a", "b", "c") for each in (0, 1)]
    assert all(address % 256 == 0 for address in addresses) and len(set(addresses)) == 6
    assert timer.address("expected", 1) == timer.address("expected")
    with pytest.raises(ValueError, match=r"no operand 'd'; allocated are: a, b, c, expected, verdict"):
        timer.address("d")
    with pytest.raises(ValueError, match="set must be from 0 to"):
        timer.address("a", 10**6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e5m2", "int8", "int32"])
def test_operands_hold_random_numbers_of_their_type(told: StandIn, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    timer = timer_of(told)
    size = 300_000  # beyond the period
    timer.allocate([Operand(name="x", bytes=size, fill=dtype), Operand(name="y", bytes=size, fill=dtype)], seed=3)
    x = torch.frombuffer(bytearray(timer.read("x")), dtype=getattr(torch, dtype)).double()
    y = torch.frombuffer(bytearray(timer.read("y", 1)), dtype=getattr(torch, dtype)).double()
    reach = 8.0 if dtype.startswith("int") else 1.0
    assert 0.8 * reach < x.abs().max() <= reach
    assert abs(x.mean()) < 0.02 * reach and 0.25 * reach < x.std() < 0.35 * reach
    assert (x != y).any()
    period = x[:65521]
    assert len(x) <= 65521 or torch.equal(x[65521 : 2 * 65521], period[: len(x[65521 : 2 * 65521])])
    first = timer.read("x")
    timer.allocate([Operand(name="x", bytes=size, fill=dtype)], seed=3)
    assert timer.read("x") == timer.read("x", 1) == first
    timer.allocate([Operand(name="x", bytes=size, fill=dtype)], seed=4)
    assert timer.read("x") != first


def test_fills_of_one_word(told: StandIn) -> None:
    timer = timer_of(told)
    for fill, word in (("zeros", 0), ("ones_f32", 0x3F800000), ("poison", 0xFFFFFFFF)):
        timer.fill("a", fill, 1)
        assert timer.read("a", 1) == struct.pack("<I", word) * 1024
    with pytest.raises(ValueError, match="fill must be a dtype, zeros, ones_f32 or poison, got 'ones'"):
        timer.fill("a", "ones")


def check(timer: Timer, candidate: int) -> tuple[int, float]:
    """Poisons, runs, compares: the wrong elements and the largest error."""
    reference = timer.load([launch(SLOW, arguments=["a", "b", "expected", *[("i32", 64)] * 3])])
    compare = timer.load([launch(COMPARE, arguments=["c", "expected", "verdict", ("i32", 4096)])])
    timer.run(reference)
    timer.fill("c", "poison")
    timer.fill("verdict", "zeros")
    timer.run(candidate)
    timer.run(compare)
    wrong, error = struct.unpack("<If", timer.read("verdict"))
    return wrong, error


def test_what_a_kernel_wrote_is_compared(told: StandIn) -> None:
    timer = timer_of(told)
    assert check(timer, timer.load([launch(FAST)])) == (0, 0.0)
    assert check(timer, timer.load([launch(WRONG)])) == (7, 1.0)
    elsewhere = launch(FAST, arguments=["a", "b", "expected", *[("i32", 64)] * 3])
    assert check(timer, timer.load([elsewhere])) == (7, 1.0)  # c keeps its poison


def test_a_partition_has_its_own_times(told: StandIn) -> None:
    timer = timer_of(told, sm_count=15)
    assert timer.sm_count == 16  # the double partitions by twos
    assert timer.time(timer.load([launch(FAST)])) == pytest.approx([9.0], rel=1e-3)
    assert told.calls("cuGreenCtxRecordEvent") > 0
    with pytest.raises(ValueError, match="up to the device's 28, got 29"):
        Timer(library=str(told.path), sm_count=29)


def test_work_of_a_function_is_timed_by_the_same_rules(told: StandIn) -> None:
    timer = timer_of(told)
    fast = timer.load([launch(FAST)])
    assert timer.time(lambda which: timer.run(fast, which), launches=1)[0] > 0
    handle = timer.add(lambda which: timer.run(fast, which))
    timer.time(handle)
    timer.unload(handle)
    with pytest.raises(ValueError, match="nothing is loaded by the handle"):
        timer.time(handle)


def test_errors_of_a_function_come_through(told: StandIn) -> None:
    timer = timer_of(told)

    def fails(_: int) -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        timer.time(fails)
    assert timer.time(timer.load([launch(FAST)])) == pytest.approx([2.0], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"arguments": ["a", "b"]}, r"takes 6 parameters \(bytes of each: 8, 8, 8, 4, 4, 4\), and the launch gives 2"),
        ({"arguments": ["a", "b", None, *[("i64", 1)] * 3]}, r"gives 6 \(8, 8, 8, 8, 8, 8\)"),
        ({"arguments": ["a", "b", "d", *[("i32", 1)] * 3]}, "no operand 'd'"),
        ({"grid": (1, 0, 1)}, "at least 1 CTA along each axis, got 0"),
        ({"num_warps": 33}, "1 to 32 warps, got 33"),
    ],
)
def test_launches_that_make_no_sense_are_refused(told: StandIn, options: dict[str, Any], sentence: str) -> None:
    timer = timer_of(told)
    with pytest.raises(ValueError, match=sentence):
        timer.load([launch(FAST, **options)])


@pytest.mark.parametrize("argument", [1, ("i16", 1), ("i32", True), ("i32", "1")])
def test_arguments_that_are_none_are_refused(argument: object) -> None:
    with pytest.raises(TypeError):
        launch(FAST, arguments=[argument])
    with pytest.raises(ValueError, match="an i32 argument is out of range"):
        launch(FAST, arguments=[("i32", 2**31)])


def test_shared_memory_beyond_what_the_device_has_is_the_drivers_error(told: StandIn) -> None:
    timer = timer_of(told)
    timer.run(timer.load([launch(FAST, smem_bytes=101376)]))
    with pytest.raises(DriverError, match="cuKernelSetAttribute failed with CUDA_ERROR_INVALID_VALUE"):
        timer.load([launch(FAST, smem_bytes=101377)])


def test_an_operand_too_large_is_out_of_memory(told: StandIn) -> None:
    timer = timer_of(told)
    with pytest.raises(DriverError) as raised:
        timer.allocate([Operand(name="a", bytes=64 << 30)])
    assert raised.value.code == "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(ValueError, match="no operands were allocated"):
        timer.address("a")
    assert timer.allocate(OPERANDS) > 1


def test_handles_end_with_their_operands(told: StandIn) -> None:
    timer = timer_of(told)
    handle = timer.load([launch(FAST)])
    timer.allocate(OPERANDS)
    with pytest.raises(ValueError, match="operands were allocated since"):
        timer.run(handle)


def test_another_thread_is_told(told: StandIn) -> None:
    timer = timer_of(told)
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            timer.allocate(OPERANDS)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "only on the thread that made it" in str(raised[0])


def test_clocks_are_told_and_fall_when_the_double_throttles(stand_in: StandIn) -> None:
    stand_in.tell("throttle_ms=1;throttle_to=0.5;default_us=100")
    timer = timer_of(stand_in)
    assert timer.clocks() == _core.Clocks(sm_mhz=1777, memory_mhz=7501, temperature_c=40, power_w=15.0)
    kernel = timer.load([launch(FAST)])
    assert timer.time(kernel, launches=1) == pytest.approx([100], rel=1e-3)
    timer.time(kernel, repeats=10, launches=1)
    assert timer.time(kernel, launches=1) == pytest.approx([200], rel=1e-3)
    clocks = timer.clocks()
    assert clocks is not None and clocks.sm_mhz == 888
    assert pickle.loads(pickle.dumps(clocks)) == clocks


def test_without_nvml_there_are_no_clocks(told: StandIn) -> None:
    assert Timer(library=str(told.path), nvml="/nowhere/libnvidia-ml.so.1").clocks() is None


def test_noise_is_stated_and_repeats(stand_in: StandIn) -> None:
    def latencies(seed: int) -> list[float]:
        stand_in.tell(f"default_us=100;noise=0.02;seed={seed}")
        timer = timer_of(stand_in)
        return timer.time(timer.load([launch(FAST)]), repeats=400, launches=1)

    first = latencies(1)
    assert first == latencies(1) != latencies(2)
    middle = sorted(first)[200]
    assert middle == pytest.approx(100, rel=0.01)
    assert sorted(first)[336] == pytest.approx(102, rel=0.01)  # 84 %: one standard deviation above


FAULTS = """
import sys, pathlib
sys.path[:0] = [{tests!r}, {tests!r} + "/python"]
from test_timer import FAST, OPERANDS, launch
from gemm_tuner._core import Timer
from gemm_tuner.errors import DriverError
timer = Timer(library={library!r})
timer.allocate(OPERANDS)
handle = timer.load([launch(FAST)])
print("loaded", flush=True)
for act in (lambda: timer.run(handle), lambda: timer.time(handle), lambda: timer.fill("a", "zeros")):
    try:
        act()
        print("fine")
    except DriverError as error:
        print(error.code)
"""


@pytest.mark.parametrize(
    ("behaviour", "printed", "returncode"),
    [
        ("fault=700", ["CUDA_ERROR_ILLEGAL_ADDRESS"] * 3, 0),  # the context is dead
        ("oom", ["CUDA_ERROR_OUT_OF_MEMORY"] * 2 + ["fine"], 0),
        ("exit", [], -9),
    ],
)
def test_faults_are_named(
    stand_in: StandIn, tmp_path: Path, behaviour: str, printed: list[str], returncode: int
) -> None:
    table = write_times(tmp_path / "times.tsv", [KernelTime(FAST, 2.0, behaviour=behaviour)])
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(tests=str(Path(__file__).parents[1]), library=str(stand_in.path))],
        env={**os.environ, "FAKE_LIBCUDA": table},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.split()) == (returncode, ["loaded", *printed]), done.stderr


def test_a_hang_is_waited_for_without_end_and_can_be_killed(stand_in: StandIn, tmp_path: Path) -> None:
    table = write_times(tmp_path / "times.tsv", [KernelTime(FAST, 2.0, behaviour="hang")])
    script = FAULTS.format(tests=str(Path(__file__).parents[1]), library=str(stand_in.path))
    with subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "FAKE_LIBCUDA": table}, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "loaded\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=1)
        child.kill()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[gt.GemmConfig, Compiled | Failed], Any]:
    """Both kernel families and the kernels of the check, as Triton compiles them for the RTX 3060 of the double."""
    pytest.importorskip("triton")
    folder, device = tmp_path_factory.mktemp("compiled"), gt.device("rtx-3060")
    with CompilePool(workers=2) as pool:
        ((_, checks),) = compile_checks([PROBLEM], device, cache_dir=folder, pool=pool)
        return compile_candidates(PROBLEM, [TILED, SPLIT], device, cache_dir=folder, pool=pool), checks


@pytest.mark.parametrize("config", [TILED, SPLIT], ids=["tiled", "split_k"])
@pytest.mark.parametrize("behaviour", ["", "wrong"])
def test_real_kernels_load_with_the_parameters_that_they_take(
    stand_in: StandIn,
    tmp_path: Path,
    compiled: tuple[dict[gt.GemmConfig, Compiled | Failed], Any],
    config: gt.GemmConfig,
    behaviour: str,
) -> None:
    candidate, checks = compiled[0][config], compiled[1]
    assert isinstance(candidate, Compiled)
    product = candidate.binaries[0].cubin
    stand_in.tell(write_times(tmp_path / "times.tsv", [KernelTime(product, 40, "512,256,192", behaviour)]))
    timer = Timer(library=str(stand_in.path))
    timer.allocate(
        [Operand(**buffer._asdict()) for buffer in operands_of(PROBLEM, parts_bytes=workspace_bytes(PROBLEM, SPLIT))]
    )
    expect, compare = (timer.load([_core.Launch(**vars(each))]) for each in check_launches(PROBLEM, checks))
    handle = timer.load([_core.Launch(**vars(each)) for each in launches_of(PROBLEM, candidate)])
    timer.run(expect)
    timer.fill("c", "poison")
    timer.run(handle)
    timer.run(compare)
    assert struct.unpack("<I", timer.read("verdict")[:4]) == (7 if behaviour else 0,)
    adding_us = 10 * (len(candidate.binaries) - 1)  # what the double says of kernels that it was not told of
    assert timer.time(handle) == pytest.approx([40 + adding_us], rel=1e-3)
