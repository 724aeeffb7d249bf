"""What Inductor is offered for one problem: plans, from values alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from gemm_tuner import DeviceSpec, GemmConfig, GemmProblem, catalogue, predict_library, rank, space, why_illegal
from gemm_tuner.inductor.plan import (
    Plan,
    difference,
    from_record,
    nearest,
    no_tensor_cores,
    own_of,
    padding_pays,
    served_winners,
    weighed,
    without_record,
)
from gemm_tuner.records import Fingerprint, Record, Versions
from gemm_tuner.settling import MARGIN
from gemm_tuner.sources import kernel_id

RTX_3060 = catalogue()["rtx-3060"]
PROBLEM = GemmProblem(m=512, n=2048, k=2048, dtype="float16", layout="nt")
TILED = GemmConfig(block_m=64, block_n=64, block_k=32, num_warps=4, num_stages=3)
SPLIT = TILED.replace(family="split_k", split_k=4)


def fit(problem: GemmProblem, device: DeviceSpec) -> str | None:
    return None


def record(choice: GemmConfig | None, latency_us: float = 100.0, kind: Literal["trial", "winner"] = "winner") -> Record:
    return Record(
        device=Fingerprint.of(RTX_3060),
        problem=PROBLEM,
        choice=choice,
        kernel="aten::mm" if choice is None else kernel_id(choice.family),
        latency_us=latency_us,
        basis="predicted",
        kind=kind,
        versions=Versions("0"),
    )


@pytest.mark.parametrize("choice", [None, TILED])
def test_a_record_is_one_choice(choice: GemmConfig | None) -> None:
    plan = from_record(record(choice), PROBLEM, RTX_3060)
    assert plan.is_settled
    assert plan.library == (choice is None)
    assert plan.configs == (() if choice is None else (choice,))


def test_a_measured_loss_of_fusion_is_kept_and_an_unknown_one_is_not() -> None:
    assert from_record(replace(record(TILED), fused=False), PROBLEM, RTX_3060).keeps_unfused
    assert not from_record(replace(record(TILED), fused=True), PROBLEM, RTX_3060).keeps_unfused
    assert not from_record(record(TILED), PROBLEM, RTX_3060).keeps_unfused
    assert not from_record(replace(record(None), fused=False), PROBLEM, RTX_3060).keeps_unfused


def test_a_choice_that_does_not_fit_what_inductor_makes_gives_way_to_aten() -> None:
    odd = GemmProblem(m=512, n=2048, k=2047)
    wide = odd.replace(alignment=16)
    tight = next(
        config
        for config in (
            TILED.replace(block_m=m, block_n=n, block_k=k, num_stages=s, num_warps=8)
            for m in (128, 256)
            for n in (128, 256)
            for k in (32, 64, 128)
            for s in (2, 3, 4, 5)
        )
        if why_illegal(odd, config, RTX_3060) is None and why_illegal(wide, config, RTX_3060) is not None
    )
    known = replace(record(tight), problem=odd)
    assert from_record(known, odd, RTX_3060).configs == (tight,)
    refused = from_record(known, wide, RTX_3060)
    assert refused.library and not refused.configs
    assert "cannot follow" in refused.why
    plan = without_record(odd, wide, RTX_3060, "measure", 64, evidence=fit)
    assert all(why_illegal(wide, config, RTX_3060) is None for config in plan.configs)


def test_measure_races_the_best_legal_tiles_against_aten() -> None:
    plan = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit)
    assert plan.library
    assert len(plan.configs) == 4
    assert not plan.is_settled
    best = rank(PROBLEM, RTX_3060, configs=[c for c in space(PROBLEM, RTX_3060) if c.family == "tiled"])[0].config
    assert plan.configs[0] == best
    assert all(why_illegal(PROBLEM, config, RTX_3060) is None for config in plan.configs)
    assert len({config.replace(group_m=1) for config in plan.configs}) == 4  # each is worth its compile


def test_a_near_record_races_in_the_place_of_the_last() -> None:
    ranked = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit).configs
    legal = [c for c in space(PROBLEM, RTX_3060) if c.family == "tiled" and c not in ranked]
    plan = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit, near=record(legal[-1]))
    assert plan.configs == (legal[-1], *ranked[:3])
    out_of_memory = TILED.replace(block_m=256, block_n=256, block_k=128)
    assert (
        without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit, near=record(out_of_memory)).configs
        == ranked
    )


def test_lookup_keeps_aten() -> None:
    plan = without_record(PROBLEM, PROBLEM, RTX_3060, "lookup", 4, evidence=fit)
    assert plan == Plan((), True, plan.why)
    assert "lookup" in plan.why


def test_predict_replaces_aten_only_beyond_the_margin() -> None:
    kept = chosen = 0
    for m in (1, 16, 64, 200, 512, 2048):
        for n in (64, 100, 1000, 4096):
            problem = PROBLEM.replace(m=m, n=n)
            plan = without_record(problem, problem, RTX_3060, "predict", 4, evidence=fit)
            assert plan.is_settled
            served = [c for c in space(problem, RTX_3060) if c.family == "tiled"]
            best = rank(problem, RTX_3060, configs=served)[0]
            wins = best.latency_us < predict_library(problem, RTX_3060) * (1 - MARGIN)
            assert plan.configs == ((best.config,) if wins else ())
            kept, chosen = kept + (not wins), chosen + wins
    assert kept and chosen


def test_refused_by_evidence_is_aten_with_the_reason() -> None:
    for policy in ("measure", "predict"):
        plan = without_record(PROBLEM, PROBLEM, RTX_3060, policy, 4, evidence=lambda *_: "no such instruction")
        assert plan == Plan((), True, "no such instruction")


def test_the_evidence_is_the_compilers() -> None:
    turing = no_tensor_cores(PROBLEM, catalogue()["t4"])
    assert turing is not None
    assert "no tensor-core code for float16 on compute capability 7.5" in turing
    assert no_tensor_cores(PROBLEM, RTX_3060) is None
    # where ATen has no tensor cores for the type either, there is nothing to lose
    assert no_tensor_cores(PROBLEM.replace(a_dtype="float32", b_dtype="float32", out_dtype="float32"), RTX_3060) is None


def test_where_only_templates_count_another_family_gives_way_to_the_best_that_has_one() -> None:
    winner = record(SPLIT, 80.0)
    trials = [record(None, 100.0, "trial"), record(SPLIT, 80.0, "trial"), record(TILED, 90.0, "trial")]
    assert served_winners([*trials, winner], "not offered")[0].choice == TILED
    slow = [*trials[:2], record(TILED, 99.0, "trial")]
    (kept,) = served_winners([*slow, winner], "not offered for sizes that are hints")
    assert kept.choice is None
    assert kept.latency_us == 100.0
    assert kept.reason == "split_k won, which is not offered for sizes that are hints"
    assert served_winners([winner], "not offered")[0].choice is None
    assert served_winners([record(TILED)], "not offered")[0].choice == TILED


def test_a_record_of_another_family_is_followed_as_the_problem_is_whatever_a_template_would_load() -> None:
    plan = from_record(record(SPLIT), PROBLEM.replace(m=1, n=1), RTX_3060)
    assert plan.configs == (SPLIT,) and plan.is_settled
    too_big = SPLIT.replace(block_m=256, block_n=256, block_k=128)
    assert from_record(record(too_big), PROBLEM, RTX_3060).library


DEEP = GemmProblem(m=16, n=512, k=4096)  # few tiles of long sums: for split_k


def test_the_best_of_another_family_races_where_it_is_predicted_to_win_by_the_margin() -> None:
    own = own_of(DEEP, RTX_3060, is_fusable=False)
    without = without_record(DEEP, DEEP, RTX_3060, "measure", 4, evidence=fit).configs
    first, *others = without_record(DEEP, DEEP, RTX_3060, "measure", 4, evidence=fit, own=own).configs
    assert {config.family for config in without} == {"tiled"}
    assert first.family == "split_k" and tuple(others) == without[:3]
    beside = [config for config in space(DEEP, RTX_3060) if config.family != "tiled"]
    assert rank(DEEP, RTX_3060, configs=beside)[0].config == first
    best_tiled = rank(DEEP, RTX_3060, configs=list(without))[0].latency_us
    gain_us = best_tiled * (1 - MARGIN) - rank(DEEP, RTX_3060, configs=[first])[0].latency_us
    assert gain_us > 0
    dear = replace(own, unfused_us=gain_us + 0.01)  # more than it wins is lost where nothing is fused into it
    assert without_record(DEEP, DEEP, RTX_3060, "measure", 4, evidence=fit, own=dear).configs == without
    cheap = replace(own, unfused_us=gain_us - 0.01)
    assert without_record(DEEP, DEEP, RTX_3060, "measure", 4, evidence=fit, own=cheap).configs[0] == first
    # where the tiles fill the device already, no other family has anything to gain
    wide = own_of(PROBLEM, RTX_3060, is_fusable=False)
    plan = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit, own=wide)
    assert plan == without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit)


def test_predict_may_choose_another_family() -> None:
    own = own_of(DEEP, RTX_3060, is_fusable=False)
    raced = without_record(DEEP, DEEP, RTX_3060, "measure", 4, evidence=fit, own=own).configs[0]
    (best,) = rank(DEEP, RTX_3060, configs=[raced])
    wins = best.latency_us < predict_library(DEEP, RTX_3060) * (1 - MARGIN)
    plan = without_record(DEEP, DEEP, RTX_3060, "predict", 4, evidence=fit, own=own)
    assert plan.is_settled
    assert plan.configs == ((raced,) if wins else ())


def test_a_near_record_of_another_family_races_too_where_it_is_offered() -> None:
    own = own_of(PROBLEM, RTX_3060, is_fusable=True)
    near = record(SPLIT)
    ranked = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit).configs
    plan = without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit, near=near, own=own)
    assert plan.configs == (SPLIT, *ranked[:3])
    assert without_record(PROBLEM, PROBLEM, RTX_3060, "measure", 4, evidence=fit, near=near).configs == ranked


def test_what_is_not_fused_costs_a_pass_over_the_result() -> None:
    assert own_of(PROBLEM, RTX_3060, is_fusable=False).unfused_us == 0
    own = own_of(PROBLEM, RTX_3060, is_fusable=True)
    read_and_written = 2 * PROBLEM.m * PROBLEM.n * 2
    assert own.unfused_us == pytest.approx(read_and_written / (RTX_3060.bandwidth_gbs * 1e3))
    split, tiled, slow = record(SPLIT, 80.0), record(TILED, 80.0 + 0.9 * own.unfused_us), record(TILED, 200.0)
    assert weighed(split, tiled, own) is tiled
    assert weighed(split, slow, own) is split
    assert weighed(split, tiled, replace(own, unfused_us=0.0)) is split
    assert weighed(split, record(None, 80.0), own) is split  # ATen's kernel fuses nothing either
    assert weighed(split, replace(tiled, basis="measured"), own) is split  # a guess is not compared with a fact
    assert weighed(split, None, own) is split


def test_padding_pays_where_alignment_does_and_copies_are_small() -> None:
    odd = GemmProblem(m=4096, n=4095, k=4095)
    padded = GemmProblem(m=4096, n=4096, k=4096)
    assert odd.alignment == 1
    assert padding_pays(odd, padded, RTX_3060)
    assert not padding_pays(odd.replace(m=1), padded.replace(m=8), RTX_3060)  # the copy is the whole work


def test_nearest_and_difference_name_what_differs() -> None:
    other = PROBLEM.replace(op="addmm")
    near = PROBLEM.replace(n=1024)
    far = PROBLEM.replace(n=64)
    assert nearest(PROBLEM, [other, far, near]) == near
    assert nearest(PROBLEM, []) is None
    assert difference(PROBLEM, near) == "n is 2048, not 1024"
    assert difference(PROBLEM, other) == "op is mm, not addmm"
