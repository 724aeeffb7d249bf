"""Calibrations, measured on the stand-in libcuda: a test double, which answers what it is told."""

from __future__ import annotations

import json
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gemm_tuner as gt
from conftest import StandIn
from gemm_tuner import _core, calibration, devices, driver
from gemm_tuner.cli import main
from gemm_tuner.errors import CalibrationError, NotBuiltError

UUID = "GPU-00010203-0405-0607-0809-0a0b0c0d0e00"
pytestmark = pytest.mark.usefixtures("own_cache", "without_torch")
probes = pytest.mark.skipif(not _core.build()["has_cuda_probes"], reason="this build has no CUDA probes")


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def made(**changed: Any) -> calibration.Calibration:
    """Of the double's GPU, by hand: for what needs no probes."""
    known = {"clock_mhz": 1890, "bandwidth_gbs": 370.0, "sustained_fraction": 0.9, "estimated": [], **changed}
    spec = devices.completed(driver.query()).replace(source="calibrated", **known)
    figures = {"clock_mhz": calibration.Figure(1890.0, 0.001)}
    return calibration.Calibration(spec, figures, {"gemm_tuner": "0.1.0"}, "2026-01-02T03:04:05+00:00")


@probes
def test_the_gpu_is_measured_whole(stand_in: StandIn) -> None:
    asked = gt.device()
    measured = calibration.measure(asked)
    figures = {name: figure.value for name, figure in measured.figures.items()}
    assert figures["dram_read_gbs"] == pytest.approx(336, rel=0.002)
    assert figures["fma_per_clk_per_sm_bf16"] == pytest.approx(253)
    spec = measured.spec
    assert (spec.source, spec.clock_mhz, spec.estimated) == ("calibrated", 1890, [])
    assert spec.bandwidth_gbs * gt.ModelConstants().dram_efficiency == pytest.approx(figures["dram_read_gbs"])
    assert spec.fma.fp16 * gt.ModelConstants().tensor_efficiency == pytest.approx(253)
    assert (spec.name, spec.sm_count, spec.l2_bytes, spec.uuid) == (
        asked.name, asked.sm_count, asked.l2_bytes, UUID,
    )  # fmt: skip
    assert stand_in.leaks() == 0


@probes
def test_predictions_follow_what_was_measured(stand_in: StandIn) -> None:
    big = gt.GemmProblem(m=8, n=16384, k=16384, dtype="float16", layout="nt")  # one pass over half a gigabyte
    before = gt.predict_library(big, gt.device())
    stand_in.tell("probe.read=168;probe.copy=160")
    calibration.keep(calibration.measure(gt.device()))
    assert gt.predict_library(big, gt.device()) == pytest.approx(2 * before * 360 * 0.9 / 336, rel=0.1)


def test_what_is_kept_is_what_is_read(stand_in: StandIn) -> None:
    path = calibration.keep(made())
    assert calibration.Calibration.from_dict(json.loads(path.read_text())) == made()
    assert calibration.found(gt.device()) == made()
    assert list(path.parent.iterdir()) == [path]


def test_the_calibrated_gpu_is_the_device(stand_in: StandIn) -> None:
    plain = gt.device()
    calibration.keep(made())
    assert gt.device() == plain.replace(
        source="calibrated", clock_mhz=1890, bandwidth_gbs=370.0, sustained_fraction=0.9, estimated=[]
    )
    assert gt.device(sm_budget=7).available_sms == 7
    assert gt.device(sm_budget=7).source == "calibrated"
    assert gt.device("rtx-3060").source == "catalogue"


def test_a_new_driver_is_told_as_it_is(stand_in: StandIn) -> None:
    calibration.keep(made())
    stand_in.tell("driver_version=13010")
    assert (gt.device().source, gt.device().driver_version) == ("calibrated", "13.1")


@pytest.mark.parametrize(
    "other",
    [
        "devices=2;context=other",  # another uuid
        "attribute.16=26",  # another number of SMs: a slice
        "context=own;resource_sms=16",  # a part of its SMs
        "name=NVIDIA GeForce RTX 3061",
    ],
)
def test_another_device_has_no_part_in_it(stand_in: StandIn, other: str) -> None:
    calibration.keep(made())
    stand_in.tell(other)
    assert gt.device().source == "driver"


def test_a_part_has_a_calibration_of_its_own(stand_in: StandIn) -> None:
    calibration.keep(made())
    stand_in.tell("context=own;resource_sms=16")
    calibration.keep(made(bandwidth_gbs=200.0))
    assert (gt.device().available_sms, gt.device().bandwidth_gbs) == (16, 200.0)
    stand_in.tell("")
    assert (gt.device().available_sms, gt.device().bandwidth_gbs) == (28, 370.0)


def test_what_torch_leaves_unused_is_no_other_device(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration.keep(made())
    wishes = types.SimpleNamespace(
        cuda=types.SimpleNamespace(is_initialized=lambda: False),
        _C=types.SimpleNamespace(_get_sm_carveout_experimental=lambda: 4),
    )
    monkeypatch.setitem(sys.modules, "torch", wishes)
    assert (gt.device().source, gt.device().available_sms) == ("calibrated", 24)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"schema": "gemm_tuner.calibration/2"}',
        '{"schema": "gemm_tuner.calibration/1", "device": {}}',
        '{"schema": "gemm_tuner.calibration/1", "device": 3}',
    ],
)
def test_a_damaged_file_is_warned_about_and_not_used(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = calibration.keep(made())
    path.write_text(content)
    with caplog.at_level(logging.WARNING, "gemm_tuner"):
        assert gt.device().source == "driver"
    assert str(path) in caplog.text and "damaged" in caplog.text


def test_silly_values_are_damage(stand_in: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    path = calibration.keep(made())
    kept = json.loads(path.read_text())
    kept["device"]["bandwidth_gbs"] = -1
    path.write_text(json.dumps(kept))
    assert gt.device().source == "driver"
    assert "bandwidth_gbs must be positive" in caplog.text


def test_off_means_neither_used_nor_kept(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration.keep(made())
    monkeypatch.setenv("GEMM_TUNER_CALIBRATIONS", "off")
    assert gt.device().source == "driver"
    with pytest.raises(CalibrationError, match="GEMM_TUNER_CALIBRATIONS is off"):
        calibration.keep(made())


def test_the_folder_can_be_another(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEMM_TUNER_CALIBRATIONS", str(tmp_path / "elsewhere"))
    assert calibration.keep(made()).parent == tmp_path / "elsewhere"
    assert gt.device().source == "calibrated"


def test_a_folder_that_cannot_be_written_is_named(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GEMM_TUNER_CALIBRATIONS", str(tmp_path / "file"))
    with pytest.raises(CalibrationError, match=r"cannot be kept in .*file"):
        calibration.keep(made())
    assert gt.device().source == "driver"


def test_without_probes_the_driver_is_believed(stand_in: StandIn) -> None:
    stand_in.tell("attribute.75=7;attribute.76=0")
    with pytest.raises(NotBuiltError, match=r"probes"):
        calibration.measure(gt.device())


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command's exit code, its document or text, and what it said on stderr."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        code = main(["devices", *arguments])
        said = capsys.readouterr()
        return code, json.loads(said.out) if "--json" in arguments else said.out, said.err

    return run


@probes
def test_the_command_calibrates_every_gpu(stand_in: StandIn, run: Run) -> None:
    stand_in.tell("devices=2")
    code, document, said = run("--calibrate", "--json")
    assert (code, document["refused"]) == (0, {})
    assert [each["device"]["uuid"][-2:] for each in document["calibrated"]] == ["00", "01"]
    assert document["calibrated"][0]["figures"]["l2_latency_clk"]["value"] == pytest.approx(240)
    assert all(Path(each["path"]).exists() for each in document["calibrated"])
    assert "calibrating GPU 1" in said
    assert [each["source"] for each in run("--json")[1]["here"]] == ["calibrated", "calibrated"]
    assert len(run("--json")[1]["calibrations"]) == 2


@probes
def test_the_command_shows_the_figures(stand_in: StandIn, run: Run) -> None:
    calibrated = run("--calibrate")[1]
    listed = run()[1]
    for name in ("dram_read_gbs", "sustained_clock_mhz", "fma_per_clk_per_sm_tf32"):
        assert name in calibrated and name in listed
    assert "rtx-3060" in listed and "rtx-3060" not in calibrated


@probes
def test_a_refused_gpu_falls_short_and_costs_the_others_nothing(
    stand_in: StandIn, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.tell("devices=2")
    honest = driver.calibrate

    def refusing(asked: gt.DeviceSpec, ordinal: int | None = None) -> Any:
        if ordinal == 0:
            raise CalibrationError("GPU 0 was not calibrated: l2_read_gbs came out as -1.")
        return honest(asked, ordinal)

    monkeypatch.setattr(driver, "calibrate", refusing)
    code, document, said = run("--calibrate", "--json")
    assert code == 1
    assert list(document["refused"]) == ["GPU 0"] and len(document["calibrated"]) == 1
    assert "gemm-tuner: GPU 0: GPU 0 was not calibrated: l2_read_gbs" in said


@probes
def test_silly_numbers_are_refused_and_nothing_is_written(stand_in: StandIn, run: Run, own_cache: Path) -> None:
    stand_in.tell("probe.multiply_fp16=900")
    code, _, said = run("--calibrate")
    assert code == 1 and "above the 512 that the architecture has" in said
    assert not own_cache.exists()


def test_the_command_forgets(stand_in: StandIn, run: Run) -> None:
    path = calibration.keep(made())
    assert run("--forget", "--json")[:2] == (0, {"forgotten": [str(path)]})
    assert not path.exists() and gt.device().source == "driver"
    code, _, said = run("--forget")
    assert code == 0 and "no GPU here has a calibration" in said


def test_the_command_refuses_both_at_once(run: Run) -> None:
    code, _, said = run("--calibrate", "--forget")
    assert code == 2 and "exclude each other" in said


@pytest.mark.parametrize("flag", ["--calibrate", "--forget"])
def test_without_a_gpu_it_is_bad_input(run: Run, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.setenv("GEMM_TUNER_LIBCUDA", "/nowhere/libcuda.so.1")
    code, out, said = run(flag)
    assert (code, out) == (2, "") and said.count("\n") == 1 and "No NVIDIA driver" in said


@probes
def test_the_step_on_a_gpu_writes_what_it_finds(stand_in: StandIn, tmp_path: Path, own_cache: Path) -> None:
    from gpu.calibration import main as step

    stand_in.tell("probe.clock=1840")
    assert step(["--out", str(tmp_path / "out"), "--sms", "0"]) == 0
    document = json.loads((tmp_path / "out" / "calibration.json").read_text())
    whole = document["parts"][0]
    assert whole["calibration"]["figures"]["clock_mhz"]["value"] == pytest.approx(1840, rel=1e-3)
    assert whole["second_over_first"]["dram_read_gbs"] == 1
    assert whole["over_described"]["clock_mhz"] == pytest.approx(1840 / 1777, abs=1e-4)
    assert document["catalogue"]["name"] == document["described"]["name"] == "NVIDIA GeForce RTX 3060"
    assert not own_cache.exists(), "a benchmark changes no prediction"


@probes
def test_the_step_says_what_was_refused(stand_in: StandIn, tmp_path: Path) -> None:
    from gpu.calibration import main as step

    stand_in.tell("probe.noise=0.4")
    assert step(["--out", str(tmp_path), "--sms", "0"]) == 1
    assert "varied from run to run" in json.loads((tmp_path / "calibration.json").read_text())["parts"][0]["refused"]
    stand_in.tell("devices=0")
    assert step(["--out", str(tmp_path), "--sms", "0"]) == 2
