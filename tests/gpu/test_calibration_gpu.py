"""The probes on a real GPU: figures that can be, that come again, and that a product reaches."""

# mypy: disable-error-code="no-untyped-call"
# (torch.cuda.Event)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import gemm_tuner as gt
from gemm_tuner import _core, calibration, driver
from gemm_tuner.devices import completed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here, which the probes run on"),
    pytest.mark.skipif(not _core.build()["has_cuda_probes"], reason="this build has no CUDA probes"),
]


@pytest.fixture(scope="module")
def measured() -> calibration.Calibration:
    return calibration.measure(completed(driver.query()))


def milliseconds(act: Callable[[], object]) -> float:
    """The least of five, after one that warms up."""
    act()
    times: list[float] = []
    for _ in range(5):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        act()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return min(times)


def test_figures_come_again(measured: calibration.Calibration) -> None:
    again = calibration.measure(completed(driver.query()))
    assert again.figures.keys() == measured.figures.keys()
    for name, figure in measured.figures.items():
        tolerance = 0.3 if name.endswith("launch_us") else 0.1  # the host has other work, too
        assert again.figures[name].value == pytest.approx(figure.value, rel=tolerance), name


def test_torch_copies_as_fast(measured: calibration.Calibration) -> None:
    source = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied_gbs = 2 * source.numel() / milliseconds(lambda: target.copy_(source)) * 1e-6
    assert measured.figures["dram_copy_gbs"].value == pytest.approx(copied_gbs, rel=0.15)


def test_no_product_is_faster_than_the_tensor_cores(measured: calibration.Calibration) -> None:
    spec = measured.spec
    a = torch.randn(4096, 4096, device="cuda", dtype=torch.float16)
    fma_per_us = 4096**3 / (1e3 * milliseconds(lambda: a @ a))
    peak = spec.fma.fp16 * spec.available_sms * spec.clock_mhz
    assert 0.2 * peak < fma_per_us < 1.02 * peak


def test_what_is_kept_is_used(
    measured: calibration.Calibration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEMM_TUNER_CALIBRATIONS", str(tmp_path))
    assert gt.device().source == "driver"
    calibration.keep(measured)
    assert gt.device() == measured.spec
