"""Loading and launching, on the stand-in libcuda (a double: it runs no code, and tells what arrived)."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gemm_tuner as gt
from conftest import StandIn
from doubles.stand_in import fake_image
from gemm_tuner._core import Launch, Launcher, LoadedKernel
from gemm_tuner.compile import Compiled, compile_candidates
from gemm_tuner.errors import DriverError, NoDeviceError
from gemm_tuner.launches import launches_of

K = 8
THREADS, LAUNCHES = 4, 200


@pytest.fixture
def double(stand_in: StandIn) -> Iterator[StandIn]:
    """The double, which tells of launches; when the test ends, nothing is left in it."""
    stand_in.tell("log=1")
    yield stand_in
    gc.collect()
    assert stand_in.leaks() == 0


def product(**options: Any) -> Launch:
    fields: dict[str, Any] = {
        "cubin": fake_image("tiled(pppipp)"),
        "entry": "tiled",
        "grid": (3, 1, 1),
        "arguments": ["a", "b", "c", ("i32", K), None, None],
    }
    return Launch(**{**fields, **options})


def loaded(double: StandIn) -> LoadedKernel:
    return Launcher(library=str(double.path)).load([product()])


def test_a_kernel_is_launched_by_addresses(double: StandIn) -> None:
    kernel = loaded(double)
    assert kernel.operands == ("a", "b", "c")
    assert kernel.scratch_bytes == 0
    kernel(5 << 32, 16, 32, 2**63)
    (arrived,) = double.launched()
    assert (arrived.entry, arrived.grid, arrived.threads) == ("tiled", (3, 1, 1), 128)
    assert arrived.stream == 5 << 32
    assert arrived.values == (16, 32, 2**63, K, 0, 0)


def test_the_launcher_loads_each_kernel_once(double: StandIn) -> None:
    launcher = Launcher(library=str(double.path), ordinal=0)
    first, second = launcher.load([product()]), launcher.load([product(grid=(9, 1, 1))])
    assert len(launcher) == 1
    assert double.calls("cuLibraryLoadData") == 1
    first(0, 1, 2, 3)
    second(0, 1, 2, 3)
    assert [each.grid[0] for each in double.launched()] == [3, 9]


def test_wrong_launches_are_told(double: StandIn) -> None:
    kernel = loaded(double)
    launcher = Launcher(library=str(double.path))
    with pytest.raises(ValueError, match="takes 6 parameters"):
        launcher.load([product(arguments=["a"])])
    with pytest.raises(ValueError, match="addresses of 3 operands, got 1"):
        kernel(0, 16)
    with pytest.raises(DriverError, match="cuLibraryLoadData failed with CUDA_ERROR_INVALID_IMAGE"):
        launcher.load([product(cubin=b"no cubin")])
    with pytest.raises(NoDeviceError, match="7"):
        Launcher(library=str(double.path), ordinal=7)


def test_threads_launch_at_once_and_each_its_own(double: StandIn) -> None:
    launcher = Launcher(library=str(double.path))

    def work(thread: int) -> None:
        kernel = launcher.load([product()])
        for _ in range(LAUNCHES):
            kernel(thread, thread, 2 * thread, 3 * thread)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(1, THREADS + 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    arrived = [(each.stream, *each.values[:3]) for each in double.launched()]
    assert sorted(arrived) == sorted([(t, t, 2 * t, 3 * t) for t in range(1, THREADS + 1)] * LAUNCHES)
    assert len(launcher) == 1


def test_a_refused_launch_is_a_driver_error(double: StandIn) -> None:
    double.tell("fault.cuLaunchKernel=719")
    kernel = loaded(double)
    with pytest.raises(DriverError, match="cuLaunchKernel failed") as raised:
        kernel(0, 1, 2, 3)
    assert raised.value.code == "CUDA_ERROR_LAUNCH_FAILED"


def test_a_compiled_candidate_runs_on_its_operands(double: StandIn, own_cache: Path) -> None:
    problem = gt.GemmProblem(m=64, n=32, k=128, layout="nt")
    config = gt.GemmConfig(family="split_k", split_k=4, block_m=32, block_n=32, block_k=32)
    compiled = compile_candidates(problem, [config], gt.device("rtx-3060"), workers=1)[config]
    assert isinstance(compiled, Compiled)
    launches = [Launch(**vars(each)) for each in launches_of(problem, compiled)]
    kernel = Launcher(library=str(double.path)).load(launches)
    assert kernel.operands == ("a", "b", "parts", "c")
    kernel(0, 16, 32, 48, 64)
    product_arrived, sum_arrived = double.launched()
    assert product_arrived.grid == (2, 1, 4)
    assert product_arrived.values[:6] == (16, 32, 48, 64, 32, 128)
    assert sum_arrived.values[:2] == (48, 64)
