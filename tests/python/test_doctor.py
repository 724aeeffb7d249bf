"""What the doctor finds on machines that the stand-in libcuda (a test double) plays."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from conftest import StandIn
from gemm_tuner import _core
from gemm_tuner.doctor import Finding, examine


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))


def findings() -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine()}


def test_a_machine_with_a_gpu_is_well(stand_in: StandIn) -> None:
    found = findings()
    assert not [each for each in found.values() if each.status == "bad"]
    assert found["driver"] == Finding("driver", "ok", "A driver for CUDA 13.0, 1 GPU(s).")
    assert "NVIDIA GeForce RTX 3060, sm_86, 28 SMs." in found["GPU 0"].sentence
    assert "refuses it: 28 SMs, and it wants 68" in found["GPU 0 max-autotune"].sentence


def test_every_gpu_is_examined(stand_in: StandIn) -> None:
    stand_in.tell("devices=3")
    assert {"GPU 0", "GPU 1", "GPU 2"} <= set(findings())


def test_a_limit_says_which_it_is(stand_in: StandIn) -> None:
    stand_in.tell("context=own;resource_sms=16;reachable_sms=16")
    assert "28 SMs; 16 available: the green context decides." in findings()["GPU 0"].sentence


@pytest.mark.skipif(not _core.build()["has_cuda_probes"], reason="this build has no CUDA probes")
def test_sms_that_cannot_be_reached_are_a_warning(stand_in: StandIn) -> None:
    assert findings()["GPU 0 SMs"].status == "ok"
    stand_in.tell("reachable_sms=20")
    found = findings()["GPU 0 SMs"]
    assert (found.status, found.sentence) == ("warn", "A launch reached 20 SMs; 28 are taken as available.")
    assert "sm_budget=20" in found.remedy


def test_a_probe_that_fails_is_a_warning(stand_in: StandIn) -> None:
    stand_in.tell("fault.cuModuleLoadData=200")
    assert findings()["GPU 0 SMs"].status == "warn"


def test_big_gpus_and_turing_are_told_what_to_expect(stand_in: StandIn) -> None:
    stand_in.tell("attribute.16=108")
    assert "accepts it: 108 SMs" in findings()["GPU 0 max-autotune"].sentence
    stand_in.tell("name=Tesla T4;attribute.75=7;attribute.76=5;attribute.16=40")
    assert "records will say ATen" in findings()["GPU 0 max-autotune"].sentence


def test_no_driver_is_a_warning_and_a_broken_one_is_bad(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.tell("fault.cuInit=999")
    assert findings()["driver"].status == "bad"
    assert "CUDA_ERROR_UNKNOWN" in findings()["driver"].sentence
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", "/nowhere/libcuda.so.1")
    assert findings()["driver"].status == "warn"
    assert "--device NAME" in findings()["driver"].remedy


def test_a_gpu_that_cannot_be_read_leaves_the_rest_examined(stand_in: StandIn) -> None:
    stand_in.tell("devices=2;context=other;fault.cuCtxGetDevResource=719")
    found = findings()
    assert "CUDA_ERROR_LAUNCH_FAILED" in found["GPU 1"].sentence
    assert (found["GPU 0"].status, found["GPU 1"].status) == ("ok", "bad")


def test_the_build_says_what_it_has_or_lacks(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    built = {**_core.build(), "has_cuda_probes": False, "nvcc": "", "missing": "nvcc was not found: install it."}
    monkeypatch.setattr(_core, "build", lambda: built)
    assert findings()["extension"].status == "warn"
    assert findings()["extension"].remedy == "nvcc was not found: install it."


def test_packages_are_found_without_importing_them(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    found = findings()
    assert (found["torch"].status, found["triton"].status) == ("warn", "warn")
    monkeypatch.setattr(metadata, "version", lambda name: f"1.2.3+{name}")
    assert findings()["torch"].sentence == "torch 1.2.3+torch is installed."
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    assert "a build without CUDA" in findings()["torch"].sentence
    assert "torch" not in sys.modules


def test_an_unwritable_cache_is_bad(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert findings()["cache"].status == "ok"
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "file" / "cache"))
    found = findings()["cache"]
    assert found.status == "bad"
    assert "GEMM_TUNER_CACHE_DIR" in found.remedy
