"""What the package stands on in Inductor: the committed report on five releases, and the installed torch against it."""

from __future__ import annotations

import ast
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

import inductor_api
from torch_sources import TorchSources

REPORT = Path(__file__).parents[2] / "benchmarks" / "results" / "inductor_api.json"
RELEASES = ["2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0"]
REWRITE = f"python benchmarks/inductor_api.py --fetch {' '.join(RELEASES)} -o benchmarks/results/inductor_api.json"
REACH_EVERYWHERE = {"aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm", "aten._int_mm", "aten._scaled_mm"}
PACKAGE = Path(__file__).parents[2] / "python" / "gemm_tuner"


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return dict(json.loads(REPORT.read_text()))


@pytest.fixture(scope="module")
def installed() -> TorchSources:
    return TorchSources(inductor_api.installed())


# The committed report


def test_report_covers_the_releases_and_the_table(report: dict[str, Any]) -> None:
    assert list(report) == RELEASES
    for release, row in report.items():
        assert list(row["private_names"]) == inductor_api.private_names(), REWRITE
        missing = [name for name, kind in row["private_names"].items() if kind is None]
        assert not missing, f"torch {release} lacks {missing}"


def test_everything_the_package_tunes_reaches_the_hook(report: dict[str, Any]) -> None:
    for release, row in report.items():
        assert {*row["reach_hook"]} >= REACH_EVERYWHERE | {"pattern mm_plus_mm"}
        assert ("aten._scaled_mm_v2" in row["reach_hook"]) == (release >= "2.13")
        for op, lowering in row["reach_hook"].items():
            name = op.removeprefix("aten.").removeprefix("pattern ").removeprefix("_").removesuffix("_v2")
            # autoheuristic asks for mm's choices once more, under a name of its own
            expected = {"mm": 1, "mm-ah": 1} if name == "mm" else {name: 1}
            if name != "addmm":
                assert lowering["calls"] == expected, (release, op)


def test_addmm_reaches_the_hook_as_often_as_it_has_groups_of_choices(report: dict[str, Any]) -> None:
    calls = [row["reach_hook"]["aten.addmm"]["calls"]["addmm"] for row in report.values()]
    assert calls == [1, 2, 3, 3, 3]


def test_what_passes_by_the_hook(report: dict[str, Any]) -> None:
    for row in report.values():
        passing = {"aten._grouped_mm", "aten._scaled_grouped_mm", "aten.convolution", "aten._sparse_semi_structured_mm"}
        assert {*row["miss_hook"]} >= passing
        assert not {*row["miss_hook"]} & {*row["reach_hook"]}
    backward = [release for release, row in report.items() if "aten.convolution_backward" in row["miss_hook"]]
    assert backward == ["2.13.0", "2.14.1", "2.15.0"]


def test_shared_a_of_bmm_is_offered_beside_the_hook_in_2_15(report: dict[str, Any]) -> None:
    beside = {release: row["reach_hook"]["aten.bmm"]["offered_beside"] for release, row in report.items()}
    assert [release for release, given in beside.items() if "bmm_shared_a_template.maybe_append_choice" in given] == [
        "2.15.0"
    ]


def test_the_gate_stands_before_all_of_them_and_before_convolutions(report: dict[str, Any]) -> None:
    for row in report.values():
        for op in {*row["reach_hook"]} | {"aten.convolution", "aten._grouped_mm"}:
            assert "use_triton_template" in row["behind_gate"][op]


def test_facts_to_rely_on(report: dict[str, Any]) -> None:
    for row in report.values():
        assert row["cache_key_tag_is_in_graph_key"]
        assert row["preprocessing_precedes_single_choice"]


# The installed torch


def test_installed_torch_is_as_reported(report: dict[str, Any], installed: TorchSources) -> None:
    found = inductor_api.report(installed, inductor_api.private_names())
    assert not [name for name, kind in found["private_names"].items() if kind is None]
    version = installed.version()
    if version in report:
        assert json.loads(json.dumps(found)) == report[version]
    elif same := [row for release, row in report.items() if release.split(".")[:2] == version.split(".")[:2]]:
        assert {*found["reach_hook"]} == {*same[0]["reach_hook"]}  # a patch release: lines may move, lowerings not


@pytest.mark.parametrize("path", sorted((PACKAGE / "inductor").glob("*.py")), ids=lambda path: path.name)
def test_table_holds_every_name_that_is_touched(path: Path, installed: TorchSources) -> None:
    names = inductor_api.touched(ast.parse(path.read_text()), installed)
    listed = inductor_api.private_names()
    unlisted = sorted(name for name in names if not any(f"{each}.".startswith(f"{name}.") for each in listed))
    assert not unlisted, "PRIVATE_NAMES of inductor/_compat.py lacks them"


# How the sources are read


def write(root: Path, modules: dict[str, str] | None = None) -> TorchSources:
    """A torch of a few lines: `a/b` is the module torch.a.b."""
    files = {"__init__": "", "version": "__version__ = '9.9.1+cpu'", "_inductor/__init__": "", **(modules or {})}
    for name, text in files.items():
        path = (root / "torch" / name).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return TorchSources(root)


def test_sources_know_their_release(tmp_path: Path) -> None:
    assert write(tmp_path).version() == "9.9.1"


def test_a_folder_without_torch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no torch/version"):
        TorchSources(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("torch.a:f", "(x, *, y=, z)"),
        ("torch.a:missing", None),
        ("torch.missing:f", None),
        ("torch.a:C", "class(n)"),
        ("torch.a:C.given", "(self, *more, **rest)"),
        ("torch.a:C.still", "staticmethod(x=)"),
        ("torch.a:C.shown", "property"),
        ("torch.a:C.made", "value"),
        ("torch.a:C.local", None),
        ("torch.a:D.shown", "property"),
        ("torch.a:D.absent", None),
        ("torch.a:D", "class(n)"),
        ("torch.a:V.shown", "property"),
        ("torch.b:g", "(x, *, y=, z)"),
        ("torch.b:a.C.given", "(self, *more, **rest)"),
        ("torch.b:E.given", "(self, *more, **rest)"),
        ("torch.b:limit", "value"),
        ("torch.b:patch", "(self, arg1)"),
        ("torch.a:patch", None),
    ],
)
def test_what_a_name_is(tmp_path: Path, name: str, kind: str | None) -> None:
    sources = write(
        tmp_path,
        {
            "a": """
            if True:
                def f(x, *, y=1, z): ...
            class C(Generic[T]):
                def __init__(self, n):
                    self.made: int = n
                    local = n
                def given(self, *more, **rest): ...
                @staticmethod
                def still(x=1): ...
                @property
                def shown(self): ...
            class D(C[int]): ...
            V = D(3)
            """,
            "b": """
            from . import a
            from .a import f as g
            class E(a.C): ...
            limit: int = 3
            install_config_module(sys.modules[__name__])
            """,
            "utils/_config_module": "class ConfigModule:\n    def patch(self, arg1): ...\n",
        },
    )
    assert sources.describe(name) == kind


LOWERINGS = """
    @register_lowering(aten.addmm)
    def tuned(inp, mat1, mat2):
        name = "addmm"
        if not max_autotune:
            choices.extend(V.choices.get_template_configs(inputs, [aten], name))
            return autotune_select_algorithm(name, choices)
        if cublas:
            choices.extend(V.choices.get_template_configs(inputs, [aten], name))
        choices.extend(V.choices.get_template_configs(inputs, [template], op_name="mm-ah"))
        template.maybe_append_choice(choices)
        return helper(choices)

    def helper(choices):
        if use_triton_template(layout):
            return autotune_select_algorithm("x", choices)

    @L.register_lowering([torch.ops.aten._grouped_mm.default, aten.other])
    def grouped(a):
        return helper([])

    @register_lowering(aten.add)
    def add(a, b):
        return heuristic.get_template_configs(a)

    def register():
        @register_lowering(mkldnn.linear)
        def linear(x):
            return autotune_select_algorithm("linear", [])
    """


ELSEWHERE = {
    "_inductor/post": """
    @register_lowering_pattern(CallFunction(aten.add))
    def plus(match):
        return kernel.tuned_plus()
    """,
    "_inductor/plus": """
    def tuned_plus():
        V.choices.get_template_configs(inputs, [], "plus")
    """,
    "_inductor/utils": """
    def is_big_gpu(): ...
    def _use_template_for_gpu(): return is_big_gpu()
    def use_triton_template(layout): return _use_template_for_gpu()
    """,
    "_inductor/codecache": """
    class FxGraphHashDetails:
        def __init__(self):
            self.cache_key_tag = config.cache_key_tag
    """,
    "_inductor/select_algorithm": """
    class AlgorithmSelectorCache:
        def __call__(self, choices):
            if len(choices) == 1:
                return choices[0]
            for function in self.preprocessing_fns:
                choices = function(choices)
    """,
}


def test_which_lowerings_reach_the_hook(tmp_path: Path) -> None:
    sources = write(tmp_path, {"_inductor/kernel": LOWERINGS, **ELSEWHERE})
    found = inductor_api.report(sources, ["torch._inductor.utils:is_big_gpu", "torch._inductor.utils:gone"])
    assert found["private_names"] == {"torch._inductor.utils:gone": None, "torch._inductor.utils:is_big_gpu": "()"}
    assert found["reach_hook"]["aten.addmm"] == {
        "function": "kernel.py:tuned",
        "calls": {"addmm": 1, "mm-ah": 1},
        "calls_before_an_early_return": {"addmm": 1},
        "offered_beside": ["template.maybe_append_choice"],
    }
    assert found["reach_hook"]["pattern plus"]["calls"] == {"plus": 1}
    assert {*found["reach_hook"]} == {"aten.addmm", "pattern plus"}
    assert found["miss_hook"] == {
        "aten._grouped_mm": "kernel.py:grouped",
        "aten.other": "kernel.py:grouped",
        "mkldnn.linear": "kernel.py:linear",
    }
    assert {*found["behind_gate"]} == {"aten.addmm", "aten._grouped_mm", "aten.other"}
    assert found["behind_gate"]["aten.addmm"] == ["use_triton_template"]
    assert found["cache_key_tag_is_in_graph_key"]
    assert not found["preprocessing_precedes_single_choice"]


def test_names_that_a_file_touches(tmp_path: Path) -> None:
    sources = write(tmp_path, {"_inductor/config": "", "_inductor/ir": "", "nn": ""})
    text = """
        import torch
        from torch._inductor import config
        from torch._inductor.ir import Buffer
        from torch.nn import Linear
        if TYPE_CHECKING:
            from torch._inductor.ir import Layout
        config.max_autotune_gemm.upper(torch.__version__)
        def tile(config): return config.block_m
        torch._inductor.options(torch.float16)
        """
    assert inductor_api.touched(ast.parse(textwrap.dedent(text)), sources) == {
        "torch._inductor.config:max_autotune_gemm",
        "torch._inductor.ir:Buffer",
        "torch._inductor:options",
    }
