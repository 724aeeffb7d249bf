"""Jobs in processes that may crash or hang, each at its own cost alone.

A compiler can die of a signal or never come back; multiprocessing's pools break on the first and wait for the second,
and re-import the caller's script. Here a worker is a fresh interpreter that never sees the caller's modules, its CUDA
context or its Ctrl-C; it is started once, serves many jobs, and is replaced where it dies or is killed.
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

START_TIMEOUT_S = 180.0  # for the imports of a worker on a busy machine
_MESSAGE_LINES = 3  # of a dead worker's stderr that its reason quotes


@dataclass(frozen=True)
class Lost:
    """A job that brought no result, and why, as half a sentence: "it was killed by SIGSEGV"."""

    reason: str


class _WorkerGone(Exception):
    pass


class _Worker:
    """One process. `ask` raises _WorkerGone where it died or was too slow; then it is of no more use."""

    def __init__(self, job: str, environment: Mapping[str, str]) -> None:
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
        self._read_line(START_TIMEOUT_S)

    def ask(self, job: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _WorkerGone(self._reason_of_death()) from None
        answer: dict[str, Any] = json.loads(self._read_line(timeout_s))
        return answer

    def kill(self) -> None:
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
                raise _WorkerGone(f"it did not finish within {timeout_s:g} s")
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise _WorkerGone(self._reason_of_death())
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _reason_of_death(self) -> str:
        code = self._process.wait()
        reason = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
        self._stderr.seek(0)
        said = [line for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        return f"{reason}: {' / '.join(said[-_MESSAGE_LINES:])}" if said and code >= 0 else reason


def _worker_environment(additions: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1", **additions}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environment.pop("TRITON_INTERPRET", None)
    return environment


@final
class WorkerPool:
    """Up to `workers` processes that each call `job` ("module:function", dict -> dict) and give it `timeout_s`."""

    def __init__(
        self, job: str, *, workers: int, timeout_s: float, environment: Mapping[str, str] | None = None
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._job = job
        self._workers = workers
        self._timeout_s = timeout_s
        self._environment = dict(environment or {})
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills every worker, whatever it is doing."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for worker in workers:
            worker.kill()

    def run(self, jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any] | Lost]]:
        """The results as they come, each with the index of its job. An exception in the caller kills the workers."""
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, dict[str, Any] | Lost]] = queue.SimpleQueue()
        for index in range(len(jobs)):
            waiting.put(index)
        for _ in range(min(self._workers, len(jobs))):
            threading.Thread(target=self._serve, args=(jobs, waiting, done), daemon=True).start()
        try:
            for _ in jobs:
                yield done.get()
        except BaseException:  # Ctrl-C, or a consumer that stops early
            self.close()
            raise

    def _serve(
        self,
        jobs: Sequence[Mapping[str, Any]],
        waiting: queue.SimpleQueue[int],
        done: queue.SimpleQueue[tuple[int, dict[str, Any] | Lost]],
    ) -> None:
        worker: _Worker | None = None
        while not self._closed:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                worker = worker or self._take()
                done.put((index, worker.ask(jobs[index], self._timeout_s)))
            except _WorkerGone as gone:
                done.put((index, Lost(str(gone))))
                if worker is not None:
                    self._drop(worker)
                worker = None
            except OSError as error:  # no process can be started, or the pool was closed under it
                done.put((index, Lost(f"its process could not be used: {error}")))
                worker = None
        if worker is not None:
            self._give_back(worker)

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise _WorkerGone("the pool is closed")
            if self._idle:
                worker = self._idle.pop()
                self._busy.add(worker)
                return worker
            worker = _Worker(self._job, self._environment)
            self._busy.add(worker)
        try:
            worker.wait_until_ready()
        except _WorkerGone:
            self._drop(worker)
            raise
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            if not self._closed:
                self._idle.append(worker)
                return
        worker.kill()

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
        worker.kill()
