"""Jobs in processes that may crash or hang, each at its own cost alone.

A compiler can die of a signal or never come back; multiprocessing's pools break on the first and wait for the second,
and re-import the caller's script. Here a worker (worker_process.py) is replaced where it dies or is killed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from .worker_process import WorkerGone, WorkerProcess


@dataclass(frozen=True)
class Lost:
    """A job that brought no result, and why, as half a sentence: "it was killed by SIGSEGV"."""

    reason: str


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
        self._environment = {"CUDA_VISIBLE_DEVICES": "", **(environment or {})}  # what compiles needs no GPU
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
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
        worker: WorkerProcess | None = None
        while not self._closed:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                worker = worker or self._take()
                done.put((index, worker.ask(jobs[index], self._timeout_s)))
            except WorkerGone as gone:
                done.put((index, Lost(str(gone))))
                if worker is not None:
                    self._drop(worker)
                worker = None
            except (
                OSError,
                TypeError,
                ValueError,
            ) as error:  # no process starts, the pool was closed, a job is no JSON
                done.put((index, Lost(f"its process could not be used: {error}")))
                worker = None
        if worker is not None:
            self._give_back(worker)

    def _take(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise WorkerGone("the pool is closed")
            if self._idle:
                worker = self._idle.pop()
                self._busy.add(worker)
                return worker
            worker = WorkerProcess(self._job, self._environment)
            self._busy.add(worker)
        try:
            worker.wait_until_ready()
        except WorkerGone:
            self._drop(worker)
            raise
        return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
            if not self._closed:
                self._idle.append(worker)
                return
        worker.kill()

    def _drop(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._busy.discard(worker)
        worker.kill()
