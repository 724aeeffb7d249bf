"""What is kept between compiles and processes stays honest, on a virtual GPU (a double)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from doubles.graphs import Graph
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.records import append
from inductor_samples import MLP, MLP_PROBLEM, best, config_of, fresh_process, mlp, race, record, wins

pytestmark = pytest.mark.usefixtures("own_cache")

DEVICE = gt.device("rtx-3060")

# compiles one graph, its code kept in a folder that processes share; says whether Inductor's caches had it
COMPILE = """
    import json
    import torch
    from torch._dynamo.utils import counters
    from doubles.virtual_gpu import virtual_gpu
    from inductor_samples import MLP, config_of, mlp
    import gemm_tuner as gt
    with virtual_gpu("rtx-3060", keep_cache=True, timings=lambda choice: 1.0) as gpu:
        with gt.enabled(**{enabled}):
            graphs = gpu.compile(mlp, *MLP, backward={backward})
    print(json.dumps({{
        "configs": [str(config_of(kernel)) for graph in graphs for kernel in graph.gemms],
        "fx": [counters["inductor"]["fxgraph_cache_" + name] for name in ("hit", "miss", "bypass")],
        "aot": [counters["aot_autograd"][name] for name in ("autograd_cache_hit", "autograd_cache_miss")],
        "timed": len(gpu.clock.gemms),
    }}))
"""


def compiled(folder: Path, *, backward: bool = False, **enabled: Any) -> dict[str, Any]:
    script = COMPILE.format(enabled=repr(enabled), backward=backward)
    found: dict[str, Any] = fresh_process(script, TORCHINDUCTOR_CACHE_DIR=str(folder))
    return found


def known(path: Path, config: gt.GemmConfig | None) -> str:
    append(path, [record(MLP_PROBLEM, DEVICE, config)])
    return str(path)


def test_changed_records_never_meet_a_stale_graph_in_a_fresh_process(tmp_path: Path) -> None:
    config = best(MLP_PROBLEM, DEVICE)
    other = config.replace(group_m=1)
    folder = tmp_path / "inductor"
    path = known(tmp_path / "records.jsonl", config)
    cold = compiled(folder, records=path, policy="lookup")
    assert (cold["configs"], cold["fx"]) == ([str(config)], [0, 1, 0])
    again = compiled(folder, records=path, policy="lookup")
    assert (again["configs"], again["fx"][0] + again["aot"][0]) == ([str(config)], 1 + again["aot"][0])
    assert again["fx"][1] == 0
    changed = compiled(folder, records=known(tmp_path / "changed.jsonl", other), policy="lookup")
    assert (changed["configs"], changed["fx"]) == ([str(other)], [0, 1, 0])
    for different in ({"policy": "predict"}, {"policy": "lookup", "sm_budget": 14}, {"policy": "lookup", "top_k": 2}):
        assert compiled(folder, records=path, **different)["fx"] == [0, 1, 0], different


def test_what_compiling_learns_does_not_invalidate_its_own_graphs(tmp_path: Path) -> None:
    folder = tmp_path / "inductor"
    cold = compiled(folder, backward=True)
    assert cold["timed"] > 0 and cold["fx"][1] == 2
    warm = compiled(folder, backward=True)
    assert warm["configs"] == cold["configs"]
    assert warm["timed"] == 0 and warm["fx"][1] == 0 and warm["aot"][1] == 0
    # without Inductor's caches the records alone are enough
    fresh = compiled(tmp_path / "another", backward=True)
    assert fresh["configs"] == cold["configs"]
    assert fresh["timed"] == 0 and fresh["fx"][1] == 2


def test_timings_that_another_sm_budget_left_in_inductors_cache_are_not_taken(own_cache: Path) -> None:
    candidates = race(MLP_PROBLEM, DEVICE)
    half = DEVICE.with_available_sms(14)
    # the same device by name, of which this process may use half: Inductor's own cache cannot tell them apart
    with virtual_gpu("rtx-3060", timings=wins(candidates[0])) as gpu:
        with gt.enabled():
            gpu.compile(mlp, *MLP)
        timed = len(gpu.clock.gemms)
        assert timed == 5
        import gemm_tuner.inductor.coverage as coverage

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coverage, "_device_here", lambda ordinal: half)
            with gt.enabled() as report:
                gpu.compile(mlp, *MLP)
    assert len(gpu.clock.gemms) > timed
    assert report.misses
    assert {each.device.available_sms for each in report.learned} == {14}


def test_a_budget_below_what_is_there_is_never_measured() -> None:
    with virtual_gpu("rtx-3060") as gpu, gt.enabled(sm_budget=14) as report:  # a double without timings
        gpu.compile(mlp, *MLP)
    assert gpu.clock.gemms == []
    assert report.learned == []
    assert all(decision.plan.is_settled for decision in report.decisions)


@pytest.mark.parametrize("pays", [False, True])
def test_padding_is_benchmarked_once_at_most_and_its_outcome_remembered(pays: bool) -> None:
    shapes = ((4095, 4095), (4095, 4095))
    problem = gt.GemmProblem(m=4095, n=4095, k=4095)
    with virtual_gpu("rtx-3060", timings=lambda choice: 1.0, padding_pays=pays) as gpu, gt.enabled() as report:
        (cold,) = gpu.compile(torch.mm, *shapes)
    assert gpu.clock.paddings > 0
    (winner,) = [each for each in report.learned if each.kind == "winner"]
    assert (winner.problem.m, winner.padded_from) == ((4096, (4095, 4095, 4095)) if pays else (4095, None))
    with virtual_gpu("rtx-3060", padding_pays=not pays) as gpu, gt.enabled() as report:
        (warm,) = gpu.compile(torch.mm, *shapes)
    assert (gpu.clock.paddings, gpu.clock.gemms) == (0, [])
    assert report.misses == []
    assert [config_of(kernel) for kernel in warm.gemms] == [config_of(kernel) for kernel in cold.gemms]
    # a record of the product as it stands settles it: it is not padded, whatever a benchmark might say
    with (
        virtual_gpu("rtx-3060", padding_pays=True) as gpu,
        gt.enabled(record(problem, DEVICE, None), policy="lookup") as report,
    ):
        (graph,) = gpu.compile(torch.mm, *shapes)
    assert gpu.clock.paddings == 0
    assert [each.problem for each in report.hits] == [problem]
    assert graph.extern == ("mm",)


@pytest.mark.parametrize("policy", ["lookup", "predict"])
def test_policies_that_do_not_measure_do_not_benchmark_padding_either(policy: str) -> None:
    with virtual_gpu("rtx-3060") as gpu, gt.enabled(policy=policy) as report:  # type: ignore[arg-type]
        gpu.compile(torch.mm, (4095, 4095), (4095, 4095))
    assert (gpu.clock.paddings, gpu.clock.gemms) == (0, [])
    assert [each.problem.m for each in report.decisions] == [4096]  # predicted to pay for ATen


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.export's own
def test_aot_inductors_source_has_the_recorded_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.codegen.wrapper import PythonWrapperCodegen
    from torch._subclasses import FakeTensorMode

    from doubles.graphs import DEVICE as CUDA

    config = best(MLP_PROBLEM, DEVICE)

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return mlp(x, w)

    sources: list[str] = []

    def keep_source(wrapper: Any) -> None:
        sources.append(wrapper.kernel_autotune_defs.getvalue())
        raise InterruptedError("next, AOTInductor would run its kernels")

    monkeypatch.setattr(PythonWrapperCodegen, "generate_and_run_autotune_block", keep_source)
    with virtual_gpu("rtx-3060"), gt.enabled(record(MLP_PROBLEM, DEVICE, config)) as report:
        with FakeTensorMode():
            inputs = tuple(torch.empty(shape, dtype=torch.float16, device=CUDA) for shape in MLP)
            exported = torch.export.export(Model(), inputs)
        with pytest.raises(Exception, match="next, AOTInductor would run its kernels"):
            torch._inductor.aot_compile(exported.module(), inputs)
    assert len(report.hits) == 1
    (source,) = sources
    (kernel,) = Graph(source, is_backward=False).gemms
    assert config_of(kernel) == config
    assert "gelu" in kernel.name
