"""A job for worker_pool that goes wrong as it is told: a double of a compiler that crashes or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any


def job(request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(600)
        case "hang in a child":
            subprocess.run(["sleep", "600"], check=False)
        case "print":
            sys.stdout.write("noise on stdout\n")
    return {"answer": request.get("value"), "pid": os.getpid(), "cuda": os.environ.get("CUDA_VISIBLE_DEVICES")}


def broken_compile(request: dict[str, Any]) -> dict[str, Any]:
    """Compiles what has 64 x 64 blocks, crashes at block_k 128 and hangs at 32 warps."""
    from gemm_tuner import compile_job

    source = request["source"]
    constants = dict(source["constants"])
    if constants.get("BLOCK_K") == 128:
        os.kill(os.getpid(), signal.SIGSEGV)
    if source["num_warps"] == 16:
        time.sleep(600)
    return compile_job.job(request)
