"""Which record is used, and what upkeep keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemm_tuner.records import Fingerprint, Index, Record, Versions, append, compact, kernel_state, read, verify
from records_samples import DEVICE, KERNELS, PROBLEM, TOO_BIG, record


def test_measured_beats_predicted_and_newer_beats_older() -> None:
    old = record(latency_us=1.0)
    new = record(latency_us=2.0, time="2026-01-03T00:00:00+00:00")
    measured = record(latency_us=3.0, basis="measured", spread=0.01, time="2025-01-01T00:00:00+00:00")
    later_line = record(latency_us=4.0, time=new.time)

    def found(*records: Record) -> Record | None:
        return Index(records, kernels=KERNELS).exact(PROBLEM, DEVICE)

    assert found(old, new) == found(new, old) == new
    assert found(measured, new) == found(new, measured) == measured
    assert found(new, later_line) == later_line
    assert found() is None


def test_only_winners_of_current_kernels_on_this_device_are_found() -> None:
    others = [
        record(kind="trial"),
        record(kernel="gemm_tuner::tiled@ffffffffffff"),
        record(kernel="inductor::mm@0123456789ab"),
        record(device=Fingerprint.of(DEVICE.with_available_sms(14))),
        record(device=Fingerprint("NVIDIA GeForce RTX 3060 Ti", 86, 38, 38)),
    ]
    assert Index(others, kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    assert kernel_state(others[1].kernel, KERNELS) == "stale"
    assert kernel_state(others[2].kernel, KERNELS) == "unknown"
    match = Index([*others, record()], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.exact and match.distance == 0 and "this problem" in match.why


def test_a_kernel_without_a_hash_is_judged_by_its_name() -> None:
    both, hashed = "inductor::mm_plus_mm", "inductor::mm_plus_mm@0123456789ab"
    assert kernel_state(both, {both}) == kernel_state(both, {hashed}) == kernel_state(hashed, {hashed}) == "current"
    assert kernel_state(hashed, {both}) == kernel_state(both, KERNELS) == "unknown"
    assert kernel_state(hashed, {both, "inductor::mm_plus_mm@ffffffffffff"}) == "stale"
    assert kernel_state("inductor::mm", {both, hashed}) == "unknown"


def test_of_several_winners_the_one_followed_by_the_same_goes_first() -> None:
    later = "2026-01-03T00:00:00+00:00"
    plain = record(latency_us=1.0)
    gelu = record(latency_us=2.0, basis="measured", followed_by=("gelu",), kernel="inductor::mm@0123456789ab")
    add = record(latency_us=3.0, basis="measured", followed_by=("add",), kernel=gelu.kernel, time=later)
    worse = record(latency_us=4.0, followed_by=("gelu",), time=later)
    index = Index([worse, add, gelu, plain], kernels={*KERNELS, gelu.kernel})
    assert index.exact(PROBLEM, DEVICE) == add  # measured, if elsewhere
    assert Index([plain, worse], kernels=KERNELS).exact(PROBLEM, DEVICE) == plain
    assert index.exact(PROBLEM, DEVICE, followed_by=("gelu",)) == gelu
    assert index.exact(PROBLEM, DEVICE, followed_by=("add",)) == add
    assert index.exact(PROBLEM, DEVICE, followed_by=("mul",)) == add
    match = index.look_up(PROBLEM, DEVICE, followed_by=("gelu",))
    assert match is not None and match.record == gelu
    near = index.look_up(PROBLEM.replace(m=500), DEVICE, followed_by=("gelu",))
    assert near is not None and near.record == add


def test_padding_is_remembered_until_the_sizes_have_a_winner() -> None:
    odd = PROBLEM.replace(m=511, k=1023, alignment=1)
    padded = record(padded_from=(511, 4096, 1023))
    index = Index([padded], kernels=KERNELS)
    assert index.padded(odd, DEVICE)
    assert not index.padded(PROBLEM, DEVICE)
    # what it is lowered to, and how the padded operands lie, is for Inductor to say
    assert index.padded(odd.replace(layout="nn", op="addmm"), DEVICE)
    for other in (odd.replace(m=510), odd.replace(a_dtype="bfloat16", b_dtype="bfloat16", out_dtype="bfloat16")):
        assert not index.padded(other, DEVICE)
    assert not index.padded(odd, DEVICE.with_available_sms(14))
    assert not Index([padded, record(problem=odd)], kernels=KERNELS).padded(odd, DEVICE)
    assert not Index([record(kind="trial", padded_from=(511, 4096, 1023))], kernels=KERNELS).padded(odd, DEVICE)


def test_a_near_shape_is_found_by_distance_and_only_among_its_kin() -> None:
    near = record(problem=PROBLEM.replace(m=640))
    nearer = record(problem=PROBLEM.replace(m=448))
    far = record(problem=PROBLEM.replace(m=2048))
    strangers = [
        record(problem=PROBLEM.replace(layout="nn")),
        record(problem=PROBLEM.replace(a_dtype="bfloat16", b_dtype="bfloat16", out_dtype="bfloat16")),
        record(problem=PROBLEM.replace(alignment=1)),
    ]
    index = Index([near, nearer, far, *strangers], kernels=KERNELS)
    match = index.look_up(PROBLEM, DEVICE)
    assert match is not None and not match.exact
    assert match.record == nearer
    assert match.distance == pytest.approx(0.1926, abs=1e-3)
    assert "0.19 doublings" in match.why
    assert Index([far, *strangers], kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    assert Index([far], kernels=KERNELS).look_up(PROBLEM, DEVICE, max_distance=2.0) is not None


def test_legality_is_checked_again_for_a_near_shape() -> None:
    too_big = record(problem=PROBLEM.replace(m=513), choice=TOO_BIG)
    assert Index([too_big], kernels=KERNELS).look_up(PROBLEM, DEVICE) is None
    legal = record(problem=PROBLEM.replace(m=640))
    match = Index([too_big, legal], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.record == legal


def test_measured_is_taken_of_two_equally_near() -> None:
    predicted = record(problem=PROBLEM.replace(m=256))
    measured = record(problem=PROBLEM.replace(m=1024), basis="measured")
    match = Index([predicted, measured], kernels=KERNELS).look_up(PROBLEM, DEVICE)
    assert match is not None and match.record == measured


def test_compact_keeps_the_best_line_of_each_thing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    foreign = '{"schema": "someone/1"}'
    later = "2026-01-03T00:00:00+00:00"
    keep = [
        record(latency_us=2.0, time=later),
        record(kind="trial", latency_us=5.0, time=later),
        record(kind="trial", choice=TOO_BIG),
        record(problem=PROBLEM.replace(m=1)),
        record(followed_by=("gelu",)),
        record(padded_from=(511, 4096, 1024)),
        record(kernel="inductor::mm@00", problem=PROBLEM.replace(m=2)),
    ]
    drop = [
        record(latency_us=1.0),
        record(kind="trial", latency_us=4.0),
        record(kernel="gemm_tuner::tiled@ffffffffffff", problem=PROBLEM.replace(m=3)),
    ]
    append(path, [*drop, *keep])
    path.write_text(path.read_text() + foreign + '\n{"schema": "gemm_tu')
    tally = compact(path, tmp_path / "copy.jsonl", kernels=KERNELS)
    assert (tally.kept, tally.dropped) == (len(keep) + 1, len(drop))
    assert list(read(tmp_path / "copy.jsonl").records) == keep
    assert len(read(path).records) == len(keep) + len(drop)
    compact(path, kernels=KERNELS)
    assert path.read_text() == (tmp_path / "copy.jsonl").read_text()
    assert path.read_text().splitlines()[-1] == foreign


def test_verify_says_what_is_wrong_with_each_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    unknown = Fingerprint("NVIDIA Nonesuch", 86, 10, 10)
    other_count = Fingerprint(DEVICE.name, 86, 30, 30)
    append(
        path,
        [
            record(),
            record(kernel="gemm_tuner::tiled@ffffffffffff"),
            record(choice=TOO_BIG),
            record(device=unknown),
            record(device=other_count),
            record(versions=Versions("0.0.1")),
        ],
    )
    path.write_text(path.read_text() + "{torn\n")
    verdicts = verify(
        read(path),
        kernels=KERNELS,
        find_device=lambda one: None if one == unknown else DEVICE,
        gemm_tuner_version="0.1.0",
    )
    assert [verdict.number for verdict in verdicts] == [1, 2, 3, 4, 5, 6, 7]
    faults = [" ".join(verdict.faults) for verdict in verdicts]
    assert faults[0] == faults[3] == faults[5] == ""
    for number, words in [(1, "tune again"), (2, "not legal"), (4, "28 SMs"), (6, "not a line of JSON")]:
        assert words in faults[number]
    assert "not in the catalogue" in verdicts[3].notes[0]
    assert "0.0.1" in verdicts[5].notes[0]
