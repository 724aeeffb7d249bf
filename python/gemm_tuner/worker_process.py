"""One process that does jobs for us and may die of them: a fresh interpreter, started once, that serves many.

It never sees the caller's modules, its CUDA context or its Ctrl-C.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, final

START_TIMEOUT_S = 180.0  # for the imports of a worker on a busy machine
_MESSAGE_LINES = 3  # of a dead worker's stderr that its reason quotes


class WorkerGone(Exception):
    """It died, or was too slow, and why, as half a sentence: "it was killed by SIGSEGV"."""


@final
class WorkerProcess:
    """A process that calls `job` ("module:function", dict -> dict). After WorkerGone it can only be killed.

    environment: variables to set, or, where the value is None, to remove.
    """

    def __init__(self, job: str, environment: Mapping[str, str | None]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._unread = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gemm_tuner.worker", job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_worker_environment(environment),
            start_new_session=True,  # Ctrl-C reaches the caller alone, and what a worker starts dies with it
        )

    def wait_until_ready(self) -> None:
        """Returns once it has imported the job. Raises WorkerGone."""
        self._read_line(START_TIMEOUT_S)

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """What it makes of the job. Raises WorkerGone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerGone(self._reason_of_death()) from None
        answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        return answer

    def kill(self) -> None:
        """Ends it, whatever it is doing."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(OSError):  # a job that was never read
                    stream.close()

    def _read_line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise WorkerGone(f"it did not finish within {timeout_s:g} s")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise WorkerGone(self._reason_of_death())
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _reason_of_death(self) -> str:
        code = self._process.wait()
        reason = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
        self._stderr.seek(0)
        said = [line for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        return f"{reason}: {' / '.join(said[-_MESSAGE_LINES:])}" if said and code >= 0 else reason


def _worker_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    ours = {"PYTHONSAFEPATH": "1", "PYTHONPATH": paths, "TRITON_INTERPRET": None}
    return {name: value for name, value in {**os.environ, **ours, **changes}.items() if value is not None}
