"""On and off: three switches that do the same, nest, are undone, and reach every thread and process."""

from __future__ import annotations

import functools
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import compile_fx, config, select_algorithm, utils
from torch._inductor.choices import InductorChoices
from torch._inductor.fx_passes import pad_mm
from torch._inductor.virtualized import V

import gemm_tuner as gt
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.errors import RecordsError
from gemm_tuner.inductor import switch
from gemm_tuner.records import append
from inductor_samples import MLP, MLP_PROBLEM, best, config_of, fresh_process, mlp, record

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """A records file that has the graph's one product."""
    device = gt.device("rtx-3060")
    path = tmp_path / "known.jsonl"
    append(path, [record(MLP_PROBLEM, device, best(MLP_PROBLEM, device))])
    return path


def seen() -> dict[str, Any]:
    """Everything of torch's that a switch may touch."""
    cache = select_algorithm.get_algorithm_selector_cache()
    return {
        "door": compile_fx.compile_fx,
        "gate": utils.is_big_gpu,
        "padding": pad_mm._should_pad,
        "preprocessing": list(cache.preprocessing_fns),
        "feedback": list(cache.feedback_saver_fns),
        "choices": V.choices,
        "autotune": (config.max_autotune_gemm, config.max_autotune_gemm_backends, config.autotune_local_cache),
        "tag": torch.compiler.config.cache_key_tag,
        "finders": list(sys.meta_path),
    }


def test_everything_is_as_it_was_when_a_session_ends(known: Path) -> None:
    with virtual_gpu() as gpu:
        before = seen()
        with gt.enabled(known):
            (graph,) = gpu.compile(mlp, *MLP, dynamic=False)
            assert graph.gemms
            during = seen()
            # what is held while nothing compiles is the door alone
            assert {name for name in before if before[name] != during[name]} == {"door"}
        assert seen() == before


def test_a_compile_that_fails_leaves_everything_as_it_was(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more graphs today")

    with virtual_gpu() as gpu:
        before = seen()
        with gt.enabled(known), monkeypatch.context() as patch:
            patch.setattr("torch._inductor.graph.GraphLowering.codegen", broken)
            with pytest.raises(Exception, match="no more graphs today"):
                gpu.compile(mlp, *MLP)
        assert seen() == before


def test_sessions_nest_and_the_latest_counts(known: Path) -> None:
    device = gt.device("rtx-3060")
    other = best(MLP_PROBLEM, device).replace(group_m=1)
    with virtual_gpu() as gpu:
        outer = gt.enable(known)
        with gt.enabled(record(MLP_PROBLEM, device, other)) as inner:
            (graph,) = gpu.compile(mlp, *MLP)
            assert [config_of(kernel) for kernel in graph.gemms] == [other]
        assert (len(inner.hits), len(outer.hits)) == (1, 0)
        (graph,) = gpu.compile(mlp, *MLP)
        assert [config_of(kernel) for kernel in graph.gemms] == [best(MLP_PROBLEM, device)]
        assert len(outer.hits) == 1
        gt.disable()
        (graph,) = gpu.compile(mlp, *MLP)
        assert graph.extern == ("mm",)
        gt.disable()  # nothing is on: nothing happens


def test_an_enabled_block_ends_itself_whatever_is_switched_inside() -> None:
    with gt.enabled() as outer:
        later = gt.enable()
    assert [session.report for session in switch._sessions] == [later]
    gt.disable()
    assert switch._sessions == [] and outer is not later


def test_bad_options_are_refused_before_anything_is_switched_on(tmp_path: Path) -> None:
    door = compile_fx.compile_fx
    with pytest.raises(ValueError, match="policy must be one of"):
        gt.enable(policy="guess")  # type: ignore[arg-type]
    with pytest.raises(RecordsError, match="there is no records file"):
        gt.enable(tmp_path / "none.jsonl")
    assert compile_fx.compile_fx is door and switch._sessions == []


def test_somebody_elses_wrapper_over_ours_stays_and_ours_lets_all_pass(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_fx, "compile_fx", compile_fx.compile_fx)  # put back at the end
    calls: list[int] = []
    with virtual_gpu() as gpu:
        gt.enable(known)
        ours = compile_fx.compile_fx

        @functools.wraps(ours)  # which copies what ours carries
        def theirs(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return ours(*args, **kwargs)

        compile_fx.compile_fx = theirs
        (graph,) = gpu.compile(mlp, *MLP)
        assert graph.gemms
        gt.disable()
        assert compile_fx.compile_fx is theirs
        (graph,) = gpu.compile(mlp, *MLP)
    assert graph.extern == ("mm",)
    assert calls


class Theirs(InductorChoices):
    """Somebody else's handler, which changes something that is none of our business."""

    asked = 0

    def triton_kernel_kwargs(self, *args: Any, **kwargs: Any) -> Any:
        Theirs.asked += 1
        return super().triton_kernel_kwargs(*args, **kwargs)


def test_somebody_elses_choices_go_on_answering_beside_ours(known: Path) -> None:
    with virtual_gpu() as gpu, V.set_choices_handler(Theirs()), gt.enabled(known):
        (graph,) = gpu.compile(mlp, *MLP)
        gpu.compile(lambda x: x * 2 + 1, (64, 64))
        assert isinstance(V.choices, Theirs)
    assert graph.gemms
    assert Theirs.asked


def test_a_fresh_thread_is_covered_and_the_calling_one_keeps_its_settings(known: Path) -> None:
    graphs: list[Any] = []
    with virtual_gpu() as gpu, gt.enabled(known) as report:
        thread = threading.Thread(target=lambda: graphs.extend(gpu.compile(mlp, *MLP)))
        thread.start()
        thread.join()
        assert not config.max_autotune_gemm
    assert len(report.hits) == 1
    assert [config_of(kernel) for kernel in graphs[0].gemms] == [best(MLP_PROBLEM, gpu.spec)]


def test_a_forward_compiled_while_enabled_has_its_backward_tuned_after_disable() -> None:
    from torch._subclasses import FakeTensorMode

    from doubles.graphs import DEVICE

    torch._dynamo.reset()
    with virtual_gpu() as gpu, FakeTensorMode():
        inputs = [torch.empty(shape, dtype=torch.float16, device=DEVICE).requires_grad_() for shape in MLP]
        with gt.enabled(policy="lookup") as report:
            result = torch.compile(mlp)(*inputs)
        asked = len(report.decisions)
        torch.autograd.backward([result.sum()])  # compiled now, in autograd's own thread
    assert asked == 1
    assert len(report.decisions) == 3
    assert [graph.is_backward for graph in gpu.graphs] == [False, True]


def test_the_backend_covers_its_own_model_alone_and_takes_inductors_options_too(known: Path) -> None:
    with virtual_gpu() as gpu:
        (graph,) = gpu.compile(
            mlp,
            *MLP,
            backend="gemm_tuner",
            options={"records": str(known), "policy": "lookup", "triton.cudagraphs": False},
        )
        assert [config_of(kernel) for kernel in graph.gemms] == [best(MLP_PROBLEM, gpu.spec)]
        (graph,) = gpu.compile(mlp, *MLP)
        assert graph.extern == ("mm",)
        with gt.enabled(known), pytest.raises(Exception, match="policy must be one of"):
            gpu.compile(mlp, *MLP, backend="gemm_tuner", options={"policy": "guess"})
        with gt.enabled(known) as report:  # the backend's own session goes first
            (graph,) = gpu.compile(mlp, *MLP, backend="gemm_tuner", options={"policy": "lookup"}, mode=None)
        assert graph.extern == ("mm",)
        assert report.decisions == []


COMPILED = """
    import json, sys
    {before}
    import torch
    from doubles.virtual_gpu import virtual_gpu
    from inductor_samples import MLP, config_of, mlp
    {between}
    with virtual_gpu("rtx-3060") as gpu:
        (graph,) = gpu.compile(mlp, *MLP, **{options})
    print(json.dumps([str(config_of(kernel)) for kernel in graph.gemms]))
"""


@pytest.mark.parametrize("way", ["enable before torch", "enable after torch", "backend", "environment"])
def test_each_switch_does_the_same_in_a_fresh_process(way: str, known: Path) -> None:
    enable = f"import gemm_tuner; gemm_tuner.enable({str(known)!r})"
    options = {"backend": "gemm_tuner", "options": {"records": str(known)}} if way == "backend" else {}
    script = COMPILED.format(
        before=f"{enable}; assert 'torch' not in sys.modules" if way == "enable before torch" else "",
        between=enable if way == "enable after torch" else "",
        options=repr(options),
    )
    environment = {"GEMM_TUNER_ENABLE": "1", "GEMM_TUNER_RECORDS": str(known)} if way == "environment" else {}
    assert fresh_process(script, **environment) == [str(best(MLP_PROBLEM, gt.device("rtx-3060")))]


def test_a_handler_that_was_pickled_tunes_in_another_process(known: Path, tmp_path: Path) -> None:
    """As Inductor sends V.choices to the process that compiles for it: the hooks come along, and what is measured there
    is kept."""
    import pickle

    from gemm_tuner.inductor.choices import tuned
    from gemm_tuner.inductor.session import Session, Target, options

    handler = tuned(
        Session(options()), Target(gt.device("rtx-3060"), True), user_wants_autotuning=False, base=InductorChoices()
    )
    sent = tmp_path / "handler"
    sent.write_bytes(pickle.dumps(handler))
    learned = fresh_process(f"""
        import gc, json, pickle
        import torch
        from torch._inductor import config
        from torch._inductor.virtualized import V
        from doubles.virtual_gpu import virtual_gpu
        from inductor_samples import MLP, mlp
        with virtual_gpu("rtx-3060", timings=lambda choice: 1.0) as gpu:
            with config.patch(max_autotune_gemm=True), V.set_choices_handler(pickle.load(open({str(sent)!r}, "rb"))):
                gpu.compile_traced(mlp, *MLP)
        gc.collect()
        from gemm_tuner.inductor.session import LEARNED
        from gemm_tuner.records import read
        from gemm_tuner.settings import settings
        print(json.dumps([each.kind for each in read(settings().cache_dir / LEARNED).records]))
    """)
    assert sorted(learned) == ["trial"] * 5 + ["winner"]
