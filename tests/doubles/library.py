"""A double of the library's kernel for the stand-in libcuda: it takes as long as the double's table says of LIBRARY."""

from __future__ import annotations

from gemm_tuner import GemmProblem
from gemm_tuner._core import Launch, Timer

from .stand_in import fake_image

LIBRARY = fake_image("library(pppiii)")


def library_work(problem: GemmProblem, timer: Timer, *, ordinal: int, sets: int) -> int:
    """The timer's handle of it; its sizes are m, n and k."""
    del ordinal, sets
    sizes = [("i32", size) for size in (problem.m, problem.n, problem.k)]
    return timer.load([Launch(cubin=LIBRARY, entry="library", grid=(1, 1, 1), arguments=["a", "b", "c", *sizes])])
