"""What one `enable` holds: options, decisions, what was learned, and the key of the graphs that it shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemm_tuner import GemmProblem
from gemm_tuner.errors import RecordsError, UnknownDeviceError
from gemm_tuner.inductor.learning import Offer, Race, records_of
from gemm_tuner.inductor.session import LEARNED, Options, Session, Target, options, target
from gemm_tuner.records import Record, Versions, append
from gemm_tuner.tuning import current_kernels
from records_samples import CONFIG, DEVICE, PROBLEM, aten, record

pytestmark = pytest.mark.usefixtures("own_cache")

TEMPLATE = "inductor::mm@0123456789ab"
TEMPLATES = frozenset({TEMPLATE})
HERE = Target(DEVICE, is_here=True)
ELSEWHERE = Target(DEVICE, is_here=False)
KNOWN = next(kernel for kernel in sorted(current_kernels()) if "tiled" in kernel)


def decide(session: Session, problem: GemmProblem = PROBLEM, aim: Target = ELSEWHERE, **more: Any) -> Any:
    return session.decide(problem, aim, computed=problem, kernels=TEMPLATES, **more)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"policy": "guess"}, "policy must be one of measure, lookup, predict, got 'guess'"),
        ({"top_k": 0}, "top_k must be a whole number from 1 on, got 0"),
        ({"top_k": True}, "top_k must be"),
        ({"sm_budget": 0}, "sm_budget must be at least 1, got 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        options(**given)


def test_records_are_read_at_once_from_files_and_values(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append(path, [record(), aten()])
    assert options(path).records == (record(), aten())
    assert options([str(path), record()]).records == (record(), aten(), record())
    assert options(record()).records == (record(),)
    with pytest.raises(RecordsError, match="there is no records file"):
        options(tmp_path / "none.jsonl")
    with pytest.raises(UnknownDeviceError):
        options(device="rtx-9999")


def test_the_target_is_the_gpu_at_hand_unless_told_otherwise() -> None:
    assert target(Options(), DEVICE) == HERE
    assert target(Options(device=DEVICE.replace(name="another")), DEVICE).is_here is False
    assert target(Options(device=DEVICE), None) == ELSEWHERE
    assert target(Options(sm_budget=14), DEVICE) == Target(DEVICE.with_available_sms(14), is_here=False)
    assert target(Options(sm_budget=99), DEVICE) == HERE
    with pytest.raises(ValueError, match="no GPU"):
        target(Options(), None)


def test_a_record_answers_and_a_miss_names_the_nearest() -> None:
    session = Session(Options("lookup", records=(record(kernel=KNOWN),)))
    assert decide(session).configs == (CONFIG,)
    assert decide(session, PROBLEM.replace(n=4000)).library
    hit, miss = session.report.decisions
    assert (hit.is_hit, miss.is_hit) == (True, False)
    assert session.report.hits == [hit] and session.report.misses == [miss]
    assert miss.nearest == PROBLEM
    assert "no record, and the policy is lookup; nearest record: n is 4000, not 4096" in str(miss)
    assert "sizes are hints" in str(replace(hit, is_hint=True))


def test_records_of_other_kernels_devices_and_budgets_do_not_answer() -> None:
    stale = record(kernel="gemm_tuner::tiled@000000000000")
    session = Session(Options("lookup", records=(stale, record(kernel=KNOWN))))
    assert not decide(session, aim=Target(DEVICE.with_available_sms(14), False)).configs
    assert not decide(Session(Options("lookup", records=(stale,)))).configs
    template = record(kernel=TEMPLATE)
    assert decide(Session(Options("lookup", records=(template,)))).configs == (CONFIG,)


def test_where_nothing_can_be_measured_measure_is_predict(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="gemm_tuner")
    session = Session(Options("measure"))
    for size in (512, 256):
        assert decide(session, PROBLEM.replace(m=size)).is_settled
    assert not decide(session, aim=HERE).is_settled
    said = [each.getMessage() for each in caplog.records if "nothing can be measured" in each.getMessage()]
    assert len(said) == 1


def test_what_was_learned_answers_now_and_in_the_next_session(own_cache: Path) -> None:
    learned = record(kernel=TEMPLATE, basis="measured")
    session = Session(Options())
    assert not decide(session, aim=HERE).is_settled
    session.learn([learned])
    assert decide(session, aim=HERE).configs == (CONFIG,)
    assert session.report.learned == [learned]
    assert (own_cache / LEARNED).is_file()
    assert decide(Session(Options()), aim=HERE).configs == (CONFIG,)


def test_a_learned_file_that_cannot_be_used_costs_nothing(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    own_cache.mkdir()
    (own_cache / LEARNED).write_text("not records at all\n")
    session = Session(Options())
    assert not decide(session, aim=HERE).is_settled
    assert "cannot be used" in caplog.text
    (own_cache / LEARNED).unlink()
    (own_cache / LEARNED).mkdir()
    session.learn([record(kernel=TEMPLATE)])
    assert decide(session, aim=HERE).is_settled
    assert "is not kept" in caplog.text


def test_padding_is_answered_without_a_benchmark_where_it_is_known() -> None:
    odd = GemmProblem(m=4095, n=4095, k=4095)
    even = GemmProblem(m=4096, n=4096, k=4096)
    for policy, expected in (("measure", None), ("lookup", True), ("predict", True)):
        assert Session(Options(policy)).decide_padding(odd, even, HERE, TEMPLATES) is expected  # type: ignore[arg-type]
    known = record(problem=odd, kernel=KNOWN)
    assert Session(Options(records=(known,))).decide_padding(odd, even, HERE, TEMPLATES) is False
    padded = record(problem=even, kernel=KNOWN, padded_from=(4095, 4095, 4095))
    session = Session(Options(records=(padded,)))
    assert session.decide_padding(odd, even, HERE, TEMPLATES) is True
    assert session.padded_from(even.replace(op="addmm")) == (4095, 4095, 4095)
    assert session.padded_from(odd) is None


def test_the_key_has_all_that_shapes_a_graph_and_nothing_that_is_learned() -> None:
    session = Session(Options())
    key = session.key(HERE)
    assert key == Session(Options()).key(HERE)
    others = [
        Session(Options(policy="lookup")).key(HERE),
        Session(Options(top_k=2)).key(HERE),
        Session(Options(records=(record(),))).key(HERE),
        session.key(ELSEWHERE),
        session.key(Target(DEVICE.with_available_sms(14), True)),
    ]
    assert len({key, *others}) == 6
    assert Session(Options(records=(record(), aten()))).key(HERE) == Session(Options(records=(aten(), record()))).key(
        HERE
    )
    session.learn([record(kernel=TEMPLATE, basis="measured")])
    assert session.key(HERE) == key


OFFERS = [
    Offer(PROBLEM, None, "aten::mm"),
    Offer(PROBLEM, CONFIG, TEMPLATE),
    Offer(PROBLEM, CONFIG.replace(group_m=4), TEMPLATE),
]


def race(*times_ms: float, chosen: int | None = 1, fused: bool | None = True) -> list[Record]:
    one = Race(PROBLEM, ("gelu",), (511, 4096, 1024), dict(zip(OFFERS, times_ms, strict=True)))
    if chosen is not None:
        one.choose(OFFERS[0], None)
        one.choose(OFFERS[chosen], fused)
    return records_of(one, DEVICE, Versions("0"))


def test_a_race_becomes_a_trial_for_each_time_and_the_last_choice_wins() -> None:
    *trials, winner = race(0.2, 0.1, 0.15)
    assert [(each.kind, each.latency_us) for each in trials] == [("trial", 200.0), ("trial", 100.0), ("trial", 150.0)]
    assert (winner.kind, winner.choice, winner.kernel, winner.latency_us) == ("winner", CONFIG, TEMPLATE, 100.0)
    assert (winner.fused, winner.followed_by, winner.padded_from) == (True, ("gelu",), (511, 4096, 1024))
    assert {each.basis for each in (*trials, winner)} == {"measured"}
    *_, winner = race(0.2, 0.1, 0.15, chosen=0, fused=False)
    assert (winner.choice, winner.kernel, winner.fused) == (None, "aten::mm", False)


def test_what_did_not_run_is_a_trial_with_a_reason_and_no_time() -> None:
    *trials, winner = race(0.2, float("inf"), 0.15, chosen=0)
    assert trials[1].latency_us is None and trials[1].reason
    assert winner.latency_us == 200.0


def test_nothing_is_learned_where_nothing_was_chosen_or_timed() -> None:
    assert race(0.2, 0.1, 0.15, chosen=None) == []
    assert race(0.2, float("inf"), 0.15, chosen=1) == []


def test_a_device_spec_travels_to_another_process() -> None:
    import pickle

    given = Options("predict", 2, (record(),), DEVICE, 14)
    assert pickle.loads(pickle.dumps((given, HERE))) == (given, HERE)
