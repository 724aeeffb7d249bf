"""A worker that crashes or hangs costs its own job alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemm_tuner.worker_pool import Lost, WorkerPool

HERE = str(Path(__file__).parent)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    monkeypatch.syspath_prepend(HERE)
    with WorkerPool("faulty_job:job", workers=2, timeout_s=2.0) as pool:
        yield pool


def test_every_job_is_answered_once(pool: WorkerPool) -> None:
    answers = dict(pool.run([{"do": "answer", "value": n} for n in range(20)]))
    assert sorted(answers) == list(range(20))
    assert all(isinstance(answer, dict) and answer["answer"] == n for n, answer in answers.items())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("segfault", "SIGSEGV"), ("exit", "status 3"), ("hang", "within 2 s"), ("hang in a child", "within 2 s")],
)
def test_a_fault_costs_its_own_job_alone(pool: WorkerPool, fault: str, reason: str) -> None:
    jobs = [{"do": fault if n == 3 else "answer", "value": n} for n in range(8)]
    answers = dict(pool.run(jobs))
    lost = answers.pop(3)
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert {n: answer["answer"] for n, answer in answers.items() if isinstance(answer, dict)} == {
        n: n for n in range(8) if n != 3
    }


def test_workers_stay_warm_and_see_no_gpu(pool: WorkerPool) -> None:
    first = [answer for _, answer in pool.run([{"do": "answer"}])]
    second = [answer for _, answer in pool.run([{"do": "answer"}])]
    assert first == second
    assert isinstance(first[0], dict)
    assert first[0]["cuda"] == ""
    assert first[0]["pid"] != os.getpid()


def test_what_a_job_prints_is_no_answer(pool: WorkerPool) -> None:
    answers = [answer for _, answer in pool.run([{"do": "print", "value": 7}])]
    assert isinstance(answers[0], dict)
    assert answers[0]["answer"] == 7


def test_a_job_that_cannot_be_imported_says_so() -> None:
    with WorkerPool("no_such_module:job", workers=1, timeout_s=5) as pool:
        ((_, answer),) = pool.run([{}])
    assert isinstance(answer, Lost)
    assert "no_such_module" in answer.reason


def test_ctrl_c_kills_the_workers(tmp_path: Path) -> None:
    """A script, without a main guard, is interrupted while its workers hang; nothing of it is left."""
    script = tmp_path / "interrupted.py"
    script.write_text(
        textwrap.dedent(
            """
            import signal
            from gemm_tuner.worker_pool import WorkerPool
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell job starts with it ignored
            with WorkerPool("faulty_job:job", workers=2, timeout_s=600) as pool:
                for index, answer in pool.run([{"do": "answer"}, {"do": "hang in a child"}, {"do": "hang"}]):
                    print(answer["pid"], flush=True)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": HERE},
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode != 0
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
