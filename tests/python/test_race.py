"""The racing tuner from Python: whatever the times, an answer that they allow, within its budget, the same again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemm_tuner as gt
from gemm_tuner._core import (
    BlindRace,
    Exhaustive,
    LibraryAlgorithm,
    Race,
    RaceOptions,
    RandomSearch,
    Standing,
    Strategy,
    Verdict,
)

Choice = gt.GemmConfig | LibraryAlgorithm | None
CONFIGS = [
    gt.GemmConfig(block_m=m, block_n=n, block_k=k) for m in (16, 32, 64, 128) for n in (32, 64) for k in (32, 64)
]
KINDS: list[Callable[[Sequence[gt.GemmConfig], RaceOptions], Strategy]] = [Race, BlindRace, Exhaustive, RandomSearch]

latencies = st.floats(5, 500)
tables = st.lists(latencies, max_size=len(CONFIGS)).map(lambda found: dict(zip(CONFIGS, found, strict=False)))


def with_library(table: dict[gt.GemmConfig, float], library_us: float) -> dict[Choice, float]:
    truth: dict[Choice, float] = {None: library_us}
    truth.update(table.items())
    return truth


def run(
    strategy: Strategy,
    truth: dict[Choice, float],
    noise: float = 0.0,
    seed: int = 0,
    broken: frozenset[Choice] = frozenset(),
) -> Verdict:
    """Plays the dialogue. Repeats depend on the choice and their number alone, not on who asks when."""
    told: dict[Choice, int] = {}
    while batch := strategy.ask():
        for choice, repeats in batch:
            if choice in broken:
                strategy.fail(choice)
                continue
            start = told.get(choice, 0)
            told[choice] = start + repeats
            draws = [random.Random(f"{seed} {choice} {i}").gauss(0, noise) for i in range(start, start + repeats)]
            strategy.tell(choice, [truth[choice] * math.exp(max(-0.5, min(0.5, draw))) for draw in draws])
    return strategy.verdict()


@given(tables, latencies, st.integers(0, 99))
def test_without_noise_nothing_better_by_more_than_margin_and_tolerance_is_missed(
    table: dict[gt.GemmConfig, float], library_us: float, seed: int
) -> None:
    truth = with_library(table, library_us)
    options = RaceOptions(seed=seed, budget_repeats=2000)
    verdict = run(Race(list(table), options), truth)
    best_us = min(truth.values())
    allowed = 1.0051 if verdict.winner is not None else 1.028  # tolerance; margin, tolerance and the least noise
    assert truth[verdict.winner] <= best_us * allowed
    assert verdict.latency_us == pytest.approx(truth[verdict.winner]) or not table
    if verdict.winner is not None:
        assert truth[verdict.winner] <= library_us * 0.98


@settings(max_examples=60)
@given(tables, latencies, st.floats(0, 0.2), st.integers(0, 99), st.integers(2, 120), st.sampled_from(KINDS))
def test_every_strategy_ends_within_its_budget_and_tells_of_everyone(
    table: dict[gt.GemmConfig, float],
    library_us: float,
    noise: float,
    seed: int,
    budget: int,
    kind: Callable[[Sequence[gt.GemmConfig], RaceOptions], Strategy],
) -> None:
    truth = with_library(table, library_us)
    strategy = kind(list(table), RaceOptions(seed=seed, budget_repeats=budget))
    verdict = run(strategy, truth, noise, seed)
    assert verdict.repeats == sum(line.repeats for line in verdict.standings) <= budget
    assert verdict.winner in {line.choice for line in verdict.standings}
    assert verdict.decided_by != "undecided"
    timed = [line.latency_us for line in verdict.standings if line.latency_us is not None]
    assert timed == sorted(timed)
    assert strategy.ask() == []  # it stays decided
    assert strategy.verdict() == verdict


@settings(max_examples=60)
@given(tables, latencies, st.floats(0, 0.1), st.randoms(use_true_random=False))
def test_neither_the_order_given_nor_the_seed_changes_the_answer(
    table: dict[gt.GemmConfig, float], library_us: float, noise: float, order: random.Random
) -> None:
    table = {config: us + 1e-6 * i for i, (config, us) in enumerate(table.items())}  # equals go to the first given
    truth = with_library(table, library_us)
    configs = list(table)
    first = run(Race(configs, RaceOptions()), truth, noise)
    order.shuffle(configs)
    again = run(Race(configs, RaceOptions(seed=order.getrandbits(60))), truth, noise)
    assert again.replace(standings=[]) == first.replace(standings=[])
    assert {line.choice: line for line in again.standings} == {line.choice: line for line in first.standings}


@settings(max_examples=60)
@given(tables, latencies, st.floats(0, 0.1), st.sets(st.sampled_from([None, *CONFIGS])), st.sampled_from(KINDS))
def test_what_fails_never_wins_unless_all_else_is_worse_off(
    table: dict[gt.GemmConfig, float],
    library_us: float,
    noise: float,
    broken: set[Choice],
    kind: Callable[[Sequence[gt.GemmConfig], RaceOptions], Strategy],
) -> None:
    truth = with_library(table, library_us)
    verdict = run(kind(list(table), RaceOptions(budget_repeats=2000)), truth, noise, broken=frozenset(broken))
    assert verdict.winner is None or verdict.winner not in broken
    assert {line.choice for line in verdict.standings if line.state == "failed"} <= broken
    if not set(table) - broken:
        assert (verdict.winner, verdict.decided_by) == (None, "failure")
    elif None in broken:
        assert verdict.winner is not None and verdict.library_us is None


def test_noise_seldom_costs_more_than_the_margin() -> None:
    """Eight candidates within 10 % of each other, 2 % noise: the answer is near the best, and never a slow one."""
    regrets = []
    for seed in range(100):
        order = random.Random(seed)
        truth: dict[Choice, float] = {config: 80 * order.uniform(1, 1.1) for config in CONFIGS[:8]}
        truth[None] = 100.0
        verdict = run(Race(CONFIGS[:8], RaceOptions(seed=seed)), truth, 0.02, seed)
        assert verdict.repeats <= 250
        regrets.append(truth[verdict.winner] / min(truth.values()) - 1)
    assert sum(regrets) / len(regrets) < 0.003
    assert max(regrets) < 0.03


def test_the_library_is_safe_from_candidates_that_are_slower() -> None:
    replaced = 0
    for seed in range(300):
        truth: dict[Choice, float] = {None: 100.0, **dict.fromkeys(CONFIGS[:4], 101.0)}
        replaced += run(Race(CONFIGS[:4], RaceOptions(seed=seed)), truth, 0.03, seed).winner is not None
    assert replaced == 0


def test_variants_are_asked_for_in_the_second_stage_only() -> None:
    leader = CONFIGS[5]
    variants = [leader.replace(group_m=4), leader.replace(split_k=2, family="split_k")]
    others = [leader.replace(num_stages=5), CONFIGS[0].replace(group_m=4)]
    truth: dict[Choice, float] = {None: 100.0, **dict.fromkeys(CONFIGS[:8], 95.0), leader: 80.0}
    truth |= {variants[0]: 75.0, variants[1]: 70.0, others[0]: 1.0, others[1]: 1.0}
    race = Race(CONFIGS[:8], RaceOptions(leaders=1), [*others, *variants])
    first = race.ask()
    assert {choice for choice, _ in first} == {None, *CONFIGS[:8]}
    for choice, repeats in first:
        race.tell(choice, [truth[choice]] * repeats)
    assert {choice for choice, _ in race.ask()} == {leader, *variants}
    for choice in (leader, *variants):
        race.tell(choice, [truth[choice]])
    assert race.ask() == []
    assert race.verdict().winner == variants[1]


def test_errors_are_sentences() -> None:
    with pytest.raises(ValueError, match=r"budget_repeats must be at least 2, got 0"):
        RaceOptions(budget_repeats=0)
    with pytest.raises(TypeError, match="unknown argument 'top_k'"):
        RaceOptions(top_k=8)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="among the candidates twice"):
        Race([CONFIGS[0], CONFIGS[0]])
    race = Race(CONFIGS[:2])
    race.ask()
    with pytest.raises(ValueError, match="was asked for and not answered"):
        race.ask()
    with pytest.raises(ValueError, match="the library was told no time; fail it instead"):
        race.tell(None, [])
    with pytest.raises(ValueError, match=r"above 0 and finite, got nan"):
        race.tell(None, [math.nan])
    with pytest.raises(ValueError, match="is none of the contestants"):
        race.fail(CONFIGS[3])


@pytest.mark.parametrize(
    "value",
    [
        RaceOptions(margin=0.05, budget_s=3.0, seed=-1),
        Standing(choice=CONFIGS[0], state="beaten", latency_us=12.5, repeats=3),
        Verdict(winner=CONFIGS[1], library_us=9.0, decided_by="budget", standings=[Standing()]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back(value: RaceOptions | Standing | Verdict) -> None:
    import pickle

    for again in (type(value).from_dict(value.to_dict()), pickle.loads(pickle.dumps(value)), value.replace()):
        assert again == value
        assert hash(again) == hash(value)


def test_the_librarys_algorithms_race_beside_the_configs_and_have_no_variants() -> None:
    algorithms = [LibraryAlgorithm(words=f"{number:0128x}", id=number, split_k=number) for number in (1, 2, 3)]
    variant = CONFIGS[0].replace(group_m=4)
    truth: dict[Choice, float] = {None: 100.0, CONFIGS[0]: 90.0, variant: 88.0}
    truth |= {algorithms[0]: 100.0, algorithms[1]: 80.0, algorithms[2]: 120.0}
    race = Race(CONFIGS[:1], RaceOptions(leaders=2), [variant], algorithms)
    verdict = run(race, truth, noise=0.005)
    assert verdict.winner == algorithms[1] and verdict.library_us == pytest.approx(100, rel=0.02)
    assert {each.choice for each in verdict.standings} >= {None, CONFIGS[0], *algorithms}
    alone = run(Race([], RaceOptions(), [], algorithms), truth)
    assert alone.winner == algorithms[1]
    assert run(Race([], RaceOptions(), [], algorithms[::2]), truth).winner is None
    with pytest.raises(ValueError, match="cublaslt 1 tile 0 stages 0 is among the candidates twice"):
        Race([], RaceOptions(), [], [algorithms[0], algorithms[0]])
