"""The switch in the environment: what `import torch` calls, what it costs, and that it never breaks that import."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gemm_tuner_autoload
from gemm_tuner.settings import DEFAULT_TOP_K, Settings, settings

COST_LIMIT_MS = 1.0
PROCESSES = 10  # at most: other processes share the caches and the cores

COST = """
import json, sys, time
import torch  # without its call of our switch (TORCH_DEVICE_BACKEND_AUTOLOAD=0): that is made, and timed, below
before, start = set(sys.modules), time.perf_counter()
import gemm_tuner_autoload
gemm_tuner_autoload.autoload()
print(json.dumps([1e3 * (time.perf_counter() - start), sorted(set(sys.modules) - before)]))
"""

# gemm_tuner.inductor.switch is a double: it notes that it was called, or raises what it is told to
IMPORT_TORCH = """
import builtins, sys, types
double, calls = types.ModuleType("gemm_tuner.inductor.switch"), []
def enable_from_environment():
    calls.append(1)
    if sys.argv[1]:
        raise getattr(builtins, sys.argv[1])("of the double")
double.enable_from_environment = enable_from_environment
sys.modules.update({"gemm_tuner.inductor": types.ModuleType("gemm_tuner.inductor"), double.__name__: double})
import torch
print(len(calls), torch.ones(2).sum().item())
"""


def python(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GEMM_TUNER_")}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )


@pytest.mark.parametrize("environment", [{}, {"GEMM_TUNER_ENABLE": ""}, {"GEMM_TUNER_ENABLE": "0"}])
def test_unset_it_imports_nothing_and_costs_under_a_millisecond(environment: dict[str, str]) -> None:
    pytest.importorskip("torch")
    taken_ms = []
    for _ in range(PROCESSES):
        cost_ms, imported = json.loads(python(COST, TORCH_DEVICE_BACKEND_AUTOLOAD="0", **environment).stdout)
        assert imported == ["gemm_tuner_autoload"]
        taken_ms.append(cost_ms)
        if cost_ms < COST_LIMIT_MS:
            return
    pytest.fail(f"importing and calling it took at least {min(taken_ms):.2f} ms")


def test_the_installed_package_names_its_entry_points() -> None:
    (autoload,) = importlib.metadata.entry_points(group="torch.backends", name="gemm_tuner")
    (backend,) = importlib.metadata.entry_points(group="torch_dynamo_backends", name="gemm_tuner")
    assert autoload.load() is gemm_tuner_autoload.autoload
    assert backend.value == "gemm_tuner.inductor.backend:gemm_tuner"


@pytest.mark.parametrize(("value", "calls"), [(None, 0), ("", 0), ("0", 0), ("1", 1)])
def test_import_torch_switches_it_on_when_told_to(value: str | None, calls: int) -> None:
    pytest.importorskip("torch")
    run = python(IMPORT_TORCH, "", **({} if value is None else {"GEMM_TUNER_ENABLE": value}))
    assert run.stdout.split() == [str(calls), "2.0"]
    assert "gemm_tuner" not in run.stderr


@pytest.mark.parametrize("fault", ["ValueError", "ImportError", "AssertionError", "SystemExit"])
def test_whatever_goes_wrong_is_one_warning_and_torch_is_imported(fault: str) -> None:
    pytest.importorskip("torch")
    run = python(IMPORT_TORCH, fault, GEMM_TUNER_ENABLE="1")
    assert run.stdout.split() == ["1", "2.0"]
    (said,) = [line for line in run.stderr.splitlines() if "GEMM_TUNER_ENABLE" in line]
    assert "torch works without it" in said and f"{fault}: of the double" in said
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("missing", ["gemm_tuner", "gemm_tuner._core"])
def test_a_broken_installation_is_one_warning_too(missing: str) -> None:
    pytest.importorskip("torch")
    run = python(f"import sys; sys.modules[{missing!r}] = None; import torch; print('here')", GEMM_TUNER_ENABLE="1")
    assert run.stdout == "here\n"
    assert run.stderr.count("GEMM_TUNER_ENABLE=1 did not switch gemm_tuner on") == 1
    assert missing in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize("value", ["yes", "2", "01"])
def test_a_value_that_is_no_switch_is_told_and_taken_as_unset(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GEMM_TUNER_ENABLE", value)
    gemm_tuner_autoload.autoload()
    assert [record.getMessage() for record in caplog.records] == [
        f"GEMM_TUNER_ENABLE={value!r} is neither 0 nor 1; taken as unset"
    ]


def enabling(**environment: str) -> Settings:
    return settings({f"GEMM_TUNER_{name.upper()}": value for name, value in environment.items()})


def test_the_environment_says_what_to_enable(caplog: pytest.LogCaptureFixture) -> None:
    told = enabling(
        records=os.pathsep.join(["a.jsonl", "", "~/b.jsonl"]), policy="predict", top_k="2", device="l4", sm_budget="14"
    )
    assert told.records == (Path("a.jsonl"), Path.home() / "b.jsonl")
    assert (told.policy, told.top_k, told.device, told.sm_budget) == ("predict", 2, "l4", 14)
    for unset in (enabling(), enabling(records="", policy="", top_k="", device="", sm_budget="")):
        assert (unset.records, unset.device, unset.sm_budget) == ((), None, None)
        assert (unset.policy, unset.top_k) == ("measure", DEFAULT_TOP_K)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("policy", "guess", "is none of measure, lookup, predict"),
        *(("top_k", value, "is no whole number from 1 on") for value in ("0", "-1", "4.5", "four", "²", "9" * 5000)),
        ("sm_budget", "0", "is no whole number from 1 on"),
    ],
)
def test_a_senseless_value_is_one_warning_and_the_default(
    name: str, value: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "gemm_tuner"):
        for _ in range(2):
            assert enabling(**{name: value}) == enabling()
    assert [record.getMessage() for record in caplog.records] == [
        f"GEMM_TUNER_{name.upper()}={value!r} {says}; taken as unset"
    ]
