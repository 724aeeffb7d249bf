"""A double of the benchmark's contestants: they live in processes of their own and answer, but run nothing.

What they report is made up, and their device says so.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from gpu.contest import Compiled, Ready, Times

GPU_US = {"eager": 300.0, "stock_gated": 200.0, "stock_forced": 180.0, "ours_cold": 160.0, "ours_warm": 160.0}


class Pretender:
    """Answers at once, with the numbers above; on a part of the GPU, with more."""

    def __init__(self, variant: str, sms: int | None) -> None:
        self._variant, self._sms = variant, sms or 132
        self._us = GPU_US[variant] * 132 / self._sms

    def ready(self) -> Ready:
        device = {"name": "a double, no GPU", "sm_count": 132, "driver": "none"}
        return Ready(sms=self._sms, reached_sms=self._sms, device=device, versions={"torch": "none"})

    def compile(self, workload: str) -> Compiled:
        """Like the real ones: our first leaves a record where our second finds it."""
        learned = Path(os.environ["GEMM_TUNER_CACHE_DIR"]) / "learned.jsonl"
        if self._variant == "ours_cold":
            learned.parent.mkdir(exist_ok=True)
            with learned.open("a") as file:
                file.write(f'{{"pretended": "{workload} on {self._sms} SMs"}}\n')
        known = learned.read_text().count("\n") if learned.exists() else 0
        report = f"{known} records" if self._variant.startswith("ours") else os.environ["TORCHINDUCTOR_CACHE_DIR"]
        return Compiled(seconds=0.5, error=0.001, triton_gemms=3, library_gemms=4, report=report)

    def time(self, calls: int) -> Times:
        return Times([self._us + i for i in range(calls)], [2 * self._us] * calls, launched_ahead=calls)


class OneFails(Pretender):
    """stock_forced raises at its first compile, eager dies at it."""

    def compile(self, workload: str) -> Compiled:
        if self._variant == "stock_forced":
            raise RuntimeError("out of\nresources")
        if self._variant == "eager":
            sys.stderr.write("eager was here\n")
            os._exit(7)
        return super().compile(workload)


class OneHangs(Pretender):
    """ours_cold never comes back from its compile."""

    def compile(self, workload: str) -> Compiled:
        if self._variant == "ours_cold":
            time.sleep(600)
        return super().compile(workload)
