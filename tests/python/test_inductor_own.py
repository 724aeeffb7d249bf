"""Kernels of ours that Inductor has no template for, as its choices, on a virtual GPU (a double)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gemm_tuner as gt
from doubles.fused import run_interpreted
from doubles.graphs import Graph
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner import config_op
from gemm_tuner.inductor import choices
from gemm_tuner.records import Record, append
from gemm_tuner.sources import kernel_id
from inductor_samples import best, config_of, fresh_process, gemms, offered, race, record, wins

pytestmark = pytest.mark.usefixtures("own_cache")

DEVICE = gt.device("rtx-3060")
TILED = gt.GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=2, num_stages=3, group_m=4)
SPLIT = TILED.replace(family="split_k", split_k=2)
STREAM, PERSISTENT, TMA = (
    TILED.replace(family=family, ctas=5) for family in ("stream_k", "persistent", "persistent_tma")
)
ODD = ((37, 75), (75, 45))
DEEP = gt.GemmProblem(m=16, n=512, k=4096)  # few tiles of long sums: what split_k is for
DEEP_SHAPES = ((16, 4096), (4096, 512))


def odd(op: str) -> gt.GemmProblem:
    return gt.GemmProblem(op=op, m=37, n=45, k=75, batch=3 if op.startswith("b") else 1)


def activated(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return nn.functional.gelu(x @ w)


def biased(bias: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return nn.functional.relu(torch.addmm(bias, x, w))


def configs(graph: Graph) -> list[gt.GemmConfig]:
    return [gt.GemmConfig.from_dict(each) for each in graph.own]


# A record that names such a kernel


@pytest.mark.parametrize("config", [SPLIT, STREAM, PERSISTENT], ids=lambda config: config.family)
@pytest.mark.parametrize(
    ("function", "shapes", "op"),
    [
        (activated, ODD, "mm"),
        (biased, ((45,), *ODD), "addmm"),
        (torch.bmm, ((3, 37, 75), (3, 75, 45)), "bmm"),
        (torch.baddbmm, ((45,), (3, 37, 75), (3, 75, 45)), "baddbmm"),
    ],
    ids=["mm", "addmm", "bmm", "baddbmm"],
)
def test_a_record_of_another_family_stands_in_the_code_and_computes_what_eager_does(
    config: gt.GemmConfig, function: Callable[..., torch.Tensor], shapes: tuple[tuple[int, ...], ...], op: str
) -> None:
    known = record(odd(op), DEVICE, config)
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(known, policy="lookup") as report:
        (graph,) = gpu.compile(function, *shapes)
    assert report.misses == [] and report.left == []
    assert configs(graph) == [config]
    assert not graph.gemms and not graph.extern
    assert "import gemm_tuner.config_op\n" in graph.source  # the code brings its op along
    torch.manual_seed(0)
    inputs = [torch.randn(shape).to(torch.float16) for shape in shapes]
    (found,) = run_interpreted(graph, inputs)  # by our kernels, or not at all
    expected = function(*(each.float() for each in inputs))
    torch.testing.assert_close(found.float(), expected, rtol=2e-2, atol=2e-2)


def test_the_copy_engines_kernel_is_for_devices_that_have_one() -> None:
    problem = gt.GemmProblem(m=512, n=512, k=512)
    shapes = ((512, 512), (512, 512))
    config = TMA.replace(block_m=64, block_n=64, num_warps=4)
    for device, follows in (("h100-sxm", True), ("rtx-3060", False)):
        known = record(problem, gt.device(device), config)
        with virtual_gpu(device, gemms_alone=True) as gpu, gt.enabled(known, policy="lookup") as report:
            (graph,) = gpu.compile(torch.mm, *shapes)
        (decision,) = report.decisions
        assert configs(graph) == ([config] if follows else [])
        assert ("cannot follow" in decision.plan.why) != follows


def test_many_products_with_their_backward_take_their_own_records() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(64, 96, device="meta"), nn.Linear(96, 64, device="meta")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.down(nn.functional.silu(self.up(x)))
            return result

    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu:
        with gt.enabled(policy="lookup") as seen:
            gpu.compile(Model(), (48, 64), backward=True)
        problems = {each.problem for each in seen.decisions}
        assert len(problems) >= 5
        records = [record(each, gpu.spec, SPLIT) for each in problems]
        with gt.enabled(records, policy="lookup") as report:
            forward, backward = gpu.compile(Model(), (48, 64), backward=True)
    assert report.misses == []
    assert len(forward.own) == 2 and len(backward.own) >= 3
    assert gemms([forward, backward]) == [] and not forward.extern and not backward.extern


# What is not followed, and why


def trials_of(problem: gt.GemmProblem, tiled_us: float = 2.0) -> list[Record]:
    """As tuning leaves them: split_k won before the template, and ATen was last."""
    timed = ((SPLIT, 1.0), (best(problem, DEVICE), tiled_us), (None, 99.0))
    trials = [replace(record(problem, DEVICE, config), kind="trial", latency_us=time) for config, time in timed]
    return [*trials, record(problem, DEVICE, SPLIT)]


def full(a: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.addmm(a, x, w)


def scaled(a: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.addmm(a, x, w, alpha=0.5)


@pytest.mark.parametrize(
    ("function", "shapes", "problem", "options", "why"),
    [
        (torch.mm, ODD, odd("mm"), {"dynamic": True}, "sizes that are hints"),
        (full, ((37, 45), *ODD), odd("addmm"), {}, "addend is no row"),
        (scaled, ((45,), *ODD), odd("addmm"), {}, "alpha or beta"),
    ],
    ids=["dynamic", "matrix added", "alpha"],
)
def test_what_the_kernels_cannot_do_is_left_to_the_best_template(
    function: Callable[..., torch.Tensor],
    shapes: tuple[tuple[int, ...], ...],
    problem: gt.GemmProblem,
    options: dict[str, Any],
    why: str,
) -> None:
    for records, is_template in ((trials_of(problem), True), ([record(problem, DEVICE, SPLIT)], False)):
        with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(records, policy="lookup") as report:
            (graph,) = gpu.compile(function, *shapes, **options)
        (decision,) = report.hits
        assert graph.own == ()
        if is_template:
            assert [config_of(kernel) for kernel in graph.gemms] == [best(problem, DEVICE)]
        else:
            assert graph.extern and not graph.gemms
            assert why in str(decision) and "split_k won" in str(decision)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.export's own
def test_code_that_calls_from_cpp_keeps_the_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.codegen.wrapper import PythonWrapperCodegen
    from torch._subclasses import FakeTensorMode

    class Model(nn.Module):
        def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return x @ w

    def stop(wrapper: object) -> None:
        raise InterruptedError("next, AOTInductor would run its kernels")

    monkeypatch.setattr(PythonWrapperCodegen, "generate_and_run_autotune_block", stop)
    problem = odd("mm")
    with virtual_gpu("rtx-3060", gemms_alone=True), gt.enabled(trials_of(problem), policy="lookup") as report:
        with FakeTensorMode():
            inputs = tuple(torch.empty(shape, dtype=torch.float16, device="cuda:0") for shape in ODD)
            exported = torch.export.export(Model(), inputs)
        with pytest.raises(Exception, match="next, AOTInductor would run its kernels"):
            torch._inductor.aot_compile(exported.module(), inputs)
    (decision,) = report.hits
    assert decision.plan.configs == (best(problem, DEVICE),)


def test_a_stale_record_is_not_followed() -> None:
    problem = odd("mm")
    stale = replace(record(problem, DEVICE, SPLIT), kernel="gemm_tuner::split_k@0123456789ab")
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(stale, policy="lookup") as report:
        (graph,) = gpu.compile(torch.mm, *ODD)
    assert report.hits == [] and graph.own == () and graph.extern == ("mm",)


def test_a_kernel_that_cannot_be_built_leaves_aten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gemm_tuner")
    monkeypatch.setattr(choices, "why_unbuilt", lambda *_: "it spills 512 bytes a thread")
    known = record(odd("mm"), DEVICE, SPLIT)
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(known, policy="lookup") as report:
        (graph,) = gpu.compile(torch.mm, *ODD)
    assert graph.own == () and graph.extern == ("mm",)
    assert "is not offered: it spills 512 bytes a thread" in caplog.text
    assert any("ATen is kept" in sentence for sentence in report.left)


def test_what_a_template_would_fuse_is_weighed() -> None:
    problem = gt.GemmProblem(m=512, n=2048, k=256)
    pass_us = 2 * 512 * 2048 * 2 / (DEVICE.bandwidth_gbs * 1e3)
    shapes = ((512, 256), (256, 2048))
    for function, tiled_us, is_own in (
        (torch.mm, 1.0 + 0.9 * pass_us, True),  # nothing follows: the fastest alone it is
        (activated, 1.0 + 0.9 * pass_us, False),
        (activated, 1.0 + 1.1 * pass_us, True),
    ):
        records = trials_of(problem, tiled_us)
        with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(records, policy="lookup") as report:
            (graph,) = gpu.compile(function, *shapes)
        assert len(report.hits) == 1
        assert configs(graph) == ([SPLIT] if is_own else [])
        assert [config_of(kernel) for kernel in graph.gemms] == ([] if is_own else [best(problem, DEVICE)])


def test_disable_leaves_stock_inductor() -> None:
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu:
        with gt.enabled(record(odd("mm"), gpu.spec, SPLIT), policy="lookup"):
            (tuned,) = gpu.compile(torch.mm, *ODD)
        (stock,) = gpu.compile(torch.mm, *ODD)
    assert configs(tuned) == [SPLIT]
    assert stock.own == () and stock.extern == ("mm",)


# The race


@pytest.mark.parametrize("place", [0, 1, None])
def test_it_races_beside_the_templates_and_what_won_is_remembered(place: int | None) -> None:
    candidates = race(DEEP, DEVICE)
    assert [config.family for config in candidates] == ["split_k", "tiled", "tiled", "tiled"]
    winner = None if place is None else candidates[place]
    timed: dict[gt.GemmConfig | None, Any] = {}

    def timings(choice: Any) -> float:
        timed[offered(choice)] = choice.to_callable() if choice.name == "gemm_tuner_run_config" else None
        return wins(winner)(choice)

    with virtual_gpu("rtx-3060", timings=timings, gemms_alone=True) as gpu, gt.enabled() as report:
        (cold,) = gpu.compile(torch.mm, *DEEP_SHAPES)
    called = timed[candidates[0]]  # what Inductor would time on a GPU: our kernels, or an error
    assert called.func is config_op.measurable
    assert called.keywords == {"config": config_op.to_text(candidates[0])}
    assert len(gpu.clock.gemms) == 5 and "gemm_tuner_run_config" in gpu.clock.gemms
    assert {config_of(kernel) for kernel in gpu.clock.compiled} == set(candidates[1:])
    assert configs(cold) == ([winner] if place == 0 else [])
    trials = [each for each in report.learned if each.kind == "trial"]
    assert {each.choice for each in trials} == {*candidates, None}
    (ours,) = [each for each in trials if each.choice == candidates[0]]
    assert (ours.kernel, ours.basis) == (kernel_id("split_k"), "measured")
    (learned,) = [each for each in report.learned if each.kind == "winner"]
    assert learned.choice == winner
    if place == 0:
        assert (learned.kernel, learned.fused) == (kernel_id("split_k"), False)
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled() as report:  # a double without timings
        (warm,) = gpu.compile(torch.mm, *DEEP_SHAPES)
    assert gpu.clock.gemms == [] and report.misses == []
    assert (configs(warm), warm.extern) == (configs(cold), cold.extern)


@pytest.mark.parametrize(("fused_ms", "is_own"), [(0.5, False), (3.0, True)])
def test_inductor_weighs_in_its_race_what_it_would_fuse(fused_ms: float, is_own: bool) -> None:
    ours, template, *_ = race(DEEP, DEVICE)
    times = {ours: 1.0, template: 1.0005}  # by less than what follows takes alone: fusing it may pay

    def timings(choice: object) -> float:
        config = offered(choice)
        return 2.0 if config is None else times.get(config, 2.0)

    with virtual_gpu("rtx-3060", timings=timings, fused_ms=fused_ms) as gpu, gt.enabled() as report:
        (graph,) = gpu.compile(activated, *DEEP_SHAPES)
    assert gpu.clock.fusions > 0
    assert configs(graph) == ([ours] if is_own else [])
    assert [config_of(kernel) for kernel in graph.gemms] == ([] if is_own else [template])
    (learned,) = [each for each in report.learned if each.kind == "winner"]
    assert (learned.choice, learned.fused) == ((ours, False) if is_own else (template, True))


def test_predict_may_choose_it() -> None:
    problem = gt.GemmProblem(m=128, n=128, k=2048)
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(policy="predict") as report:
        (graph,) = gpu.compile(torch.mm, (128, 2048), (2048, 128))
    (decision,) = report.decisions
    assert decision.problem == problem and decision.plan.is_settled
    assert tuple(configs(graph)) == decision.plan.configs
    assert [config.family for config in configs(graph)] == ["split_k"]


# Caches

COMPILE = """
    import json
    import torch
    from torch._dynamo.utils import counters
    from doubles.virtual_gpu import virtual_gpu
    import gemm_tuner as gt
    with virtual_gpu("rtx-3060", keep_cache=True, gemms_alone=True) as gpu:
        with gt.enabled(records={records!r}, policy="lookup"):
            (graph,) = gpu.compile(torch.mm, (37, 75), (75, 45))
    hits = counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]
    print(json.dumps({{"own": graph.own, "hits": hits, "misses": counters["inductor"]["fxgraph_cache_miss"]}}))
"""


def test_a_warm_cache_serves_a_fresh_process_and_changed_records_do_not_meet_it(tmp_path: Path) -> None:
    def compiled(name: str, config: gt.GemmConfig) -> dict[str, Any]:
        path = tmp_path / name
        if not path.exists():
            append(path, [record(odd("mm"), DEVICE, config)])
        script = COMPILE.format(records=str(path))
        found: dict[str, Any] = fresh_process(script, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "inductor"))
        return found

    cold, warm = (compiled("records.jsonl", SPLIT) for _ in range(2))
    assert cold == {"own": [SPLIT.to_dict()], "hits": 0, "misses": 1}
    assert warm["own"] == cold["own"] and warm["misses"] == 0 and warm["hits"] > 0
    assert compiled("changed.jsonl", STREAM) == {"own": [STREAM.to_dict()], "hits": 0, "misses": 1}


def test_the_code_registers_its_op_where_nobody_else_has() -> None:
    known = record(odd("mm"), DEVICE, SPLIT)
    with virtual_gpu("rtx-3060", gemms_alone=True) as gpu, gt.enabled(known, policy="lookup"):
        (graph,) = gpu.compile(torch.mm, *ODD)
    imports = [line for line in graph.source.splitlines() if line.startswith("import gemm_tuner")]
    script = "\n".join(
        (
            "import json, torch",
            "before = hasattr(torch.ops.gemm_tuner, 'run_config')",
            *imports,
            "a, b, out = torch.ones(4, 8), torch.ones(8, 4), torch.zeros(4, 4)",
            "torch.ops.gemm_tuner.run_config.out(a, b, config='', out=out)",
            "print(json.dumps([before, out.sum().item()]))",
        )
    )
    assert fresh_process(script) == [False, 128.0]
