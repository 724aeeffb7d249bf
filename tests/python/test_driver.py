"""The driver through the bindings, on the stand-in libcuda (a test double)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types

import pytest

import gemm_tuner as gt
from conftest import StandIn
from gemm_tuner import _core, driver
from gemm_tuner.errors import DriverError, GemmTunerError, NoDeviceError, NotBuiltError
from gemm_tuner.settings import settings


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_a_device_is_read_whole(stand_in: StandIn) -> None:
    spec = driver.query()
    assert (spec.name, spec.compute_capability, spec.sm_count) == ("NVIDIA GeForce RTX 3060", 86, 28)
    assert (spec.source, spec.driver_version, spec.estimated) == ("driver", "13.0", ["sustained_fraction"])
    assert spec.fma == _core.architecture(86, True)["fma"]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_current_device_is_completed_from_the_catalogue(stand_in: StandIn) -> None:
    assert gt.device().uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e00"
    assert gt.device().sustained_fraction == pytest.approx(gt.device("rtx-3060").sustained_fraction, rel=0.01)


def test_devices_are_counted_and_numbered(stand_in: StandIn) -> None:
    stand_in.tell("devices=2")
    assert driver.device_count() == 2
    assert driver.query(1).uuid.endswith("01")
    with pytest.raises(NoDeviceError, match=r"no GPU 2: the driver shows 2"):
        driver.query(2)


def test_no_driver_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", "/nowhere/libcuda.so.1")
    assert driver.device_count() == 0
    with pytest.raises(NoDeviceError, match=r"No NVIDIA driver: /nowhere/libcuda.so.1 could not be opened"):
        gt.device()


def test_no_device_is_no_fault(stand_in: StandIn) -> None:
    stand_in.tell("devices=0")
    assert driver.device_count() == 0
    with pytest.raises(NoDeviceError, match="CUDA_VISIBLE_DEVICES"):
        driver.query()


def test_a_driver_that_does_not_start_is_no_missing_device(stand_in: StandIn) -> None:
    stand_in.tell("fault.cuInit=803")
    for ask in (driver.device_count, driver.query, driver.available_sms):
        with pytest.raises(DriverError, match="restart the machine") as raised:
            ask()
        assert raised.value.code == "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
        assert isinstance(raised.value, GemmTunerError)


@pytest.mark.parametrize(
    ("told", "sms", "decided_by"),
    [
        ("", 28, "device"),
        ("context=own;resource_sms=16", 16, "green context"),
        ("context=own;affinity_sms=7", 7, "MPS share"),
        ("context=own;affinity_sms=16;resource_sms=16", 16, "MPS share"),
        ("resource_sms=16", 28, "device"),  # no context is current, and none is made to find out
    ],
)
def test_the_least_limit_decides(stand_in: StandIn, told: str, sms: int, decided_by: str) -> None:
    stand_in.tell(told)
    assert driver.available_sms() == driver.AvailableSms(sms, decided_by)
    assert driver.query().available_sms == sms


def test_the_callers_budget_decides_where_it_is_least(stand_in: StandIn) -> None:
    assert driver.available_sms(sm_budget=8) == driver.AvailableSms(8, "SM budget")
    with pytest.raises(ValueError, match="SM budget must be at least 1, got 0"):
        driver.query(sm_budget=0)


def test_torchs_carveout_is_taken_off_the_device(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(is_initialized=lambda: False),
        _C=types.SimpleNamespace(_get_sm_carveout_experimental=lambda: 4),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert driver.available_sms() == driver.AvailableSms(24, "torch's carve-out")


@pytest.mark.parametrize(
    ("percentage", "per_context", "mps_enabled", "sms"),
    [("50", "", "1", 14), ("50", "", "", 14), ("50", "", "0", 28), ("50", "1", "1", 28), ("half", "", "1", 28)],
)
def test_the_mps_share_counts_where_mps_is_on(
    stand_in: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    percentage: str,
    per_context: str,
    mps_enabled: str,
    sms: int,
) -> None:
    stand_in.tell(f"attribute.133={mps_enabled}")
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", percentage)
    monkeypatch.setenv("CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING", per_context)
    assert driver.query().available_sms == sms


@pytest.mark.parametrize("given", ["0", "-5", "100.1", "nan", "half"])
def test_a_senseless_mps_share_is_taken_as_unset(caplog: pytest.LogCaptureFixture, given: str) -> None:
    assert settings({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": given}).mps_percentage is None
    assert repr(given) in caplog.text


def test_reachable_sms_are_counted_by_our_own_kernel(stand_in: StandIn) -> None:
    stand_in.tell("reachable_sms=20")
    if _core.build()["has_cuda_probes"]:
        assert driver.count_reachable_sms() == 20
    else:
        with pytest.raises(NotBuiltError, match=r"no CUDA probes: .*build"):
            driver.count_reachable_sms()


def test_the_build_says_what_it_has() -> None:
    build = _core.build()
    assert build["has_cuda_probes"] == bool(build["nvcc"]) == (not build["missing"])


@pytest.mark.parametrize("ordinal", [-1, 99])
def test_ordinals_out_of_range_are_named(stand_in: StandIn, ordinal: int) -> None:
    with pytest.raises(NoDeviceError, match=f"no GPU {ordinal}: the driver shows 1, number 0"):
        driver.query(ordinal)


def test_a_fresh_process_needs_only_the_environment(stand_in: StandIn) -> None:
    script = "import sys, gemm_tuner as gt; print(gt.device()); assert 'torch' not in sys.modules"
    told = {"FAKE_LIBCUDA": "name=NVIDIA A10;attribute.16=72"}
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    assert run.stdout == "NVIDIA A10 (sm_86, 72 SMs, driver)\n"
