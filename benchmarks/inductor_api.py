"""What of torch's Inductor the package stands on, read from the sources of torch releases without importing torch.

    python benchmarks/inductor_api.py                                # the torch that is installed
    python benchmarks/inductor_api.py --sources DIR... -o FILE       # each DIR holds the folder torch/
    python benchmarks/inductor_api.py --fetch 2.11.0 2.12.1 2.13.0 2.14.1 2.15.0 -o benchmarks/results/inductor_api.json

`--fetch` downloads wheels from PyPI (about 80 MB each) and keeps their Python files in --cache. Per release it writes
`private_names`, those of torch that the package uses: parameters (`name=` is optional) or kind, null where missing;
`reach_hook`, by operator, the lowerings that call `V.choices.get_template_configs`, which calls our hook once: how
often by the name that the hook is given, and what they offer beside; `miss_hook`, the lowerings that choose between
kernels without it; `behind_gate`, those that ask `is_big_gpu`, and through what; and two facts to rely on.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch_sources import FUNCTION, TorchSources, fetch, literal

INDUCTOR = Path(__file__).parents[1] / "python" / "gemm_tuner" / "inductor"
COMPAT = tuple(INDUCTOR / f"_compat{part}.py" for part in ("", "_choices", "_lowering", "_rendering"))
CACHE = Path(tempfile.gettempdir()) / "gemm_tuner-torch-sources"
HOOK, CHOOSE, GATE = "get_template_configs", "autotune_select_algorithm", "is_big_gpu"
PREPROCESSING, SINGLE = "preprocessing_fns", "len(choices) == 1"


@dataclass(frozen=True)
class Call:
    """A call: the last word of what is called, and whether a `return` ends the branch that it stands in."""

    name: str
    node: ast.Call
    is_early: bool


@dataclass(frozen=True)
class Function:
    """A function of a file: the operators that it lowers, its calls and those of functions inside that lower none."""

    name: str
    node: Any
    ops: tuple[str, ...]
    calls: tuple[Call, ...]


def functions(tree: ast.AST, prefix: str = "", *, inside: bool = False) -> Iterator[Function]:
    """The outermost functions of a file, methods, and lowerings wherever they stand."""
    for node in ast.iter_child_nodes(tree):
        is_function, is_class = isinstance(node, FUNCTION), isinstance(node, ast.ClassDef)
        if isinstance(node, FUNCTION) and (not inside or _ops(node)):
            yield Function(prefix + node.name, node, _ops(node), tuple(_calls(node.body)))
        inner = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
        yield from functions(node, inner, inside=(inside or is_function) and not is_class)


def _ops(node: Any) -> tuple[str, ...]:
    """`aten.mm`: what the function is registered to lower; `pattern mm_plus_mm` for a pattern of operators."""
    ops: list[str] = []
    for decorator in node.decorator_list:
        word = _last_word(decorator.func) if isinstance(decorator, ast.Call) else ""
        if word == "register_lowering" and decorator.args:
            given = decorator.args[0]
            ops += map(ast.unparse, given.elts if isinstance(given, (ast.List, ast.Tuple)) else [given])
        elif word == "register_lowering_pattern":
            ops.append(f"pattern {node.name}")
    return tuple(op.removeprefix("torch.ops.").removesuffix(".default") for op in ops)


def _last_word(expression: ast.expr) -> str:
    return str(getattr(expression, "attr", getattr(expression, "id", "")))


def _calls(body: Sequence[ast.AST], *, is_early: bool = False) -> Iterator[Call]:
    for node in body:
        if isinstance(node, FUNCTION) and _ops(node):
            continue
        if isinstance(node, ast.Call):
            yield Call(_last_word(node.func), node, is_early)
        for _, value in ast.iter_fields(node):
            inner = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, ast.AST)]
            leaves = isinstance(node, ast.If) and bool(inner) and isinstance(inner[-1], ast.Return)
            yield from _calls(inner, is_early=is_early or leaves)


def reaching(present: Sequence[Function], targets: Iterable[str]) -> dict[str, set[str]]:
    """The functions of one file that call a target, themselves or through others of the file, and which."""
    wanted = set(targets)
    called = {each.name: {call.name for call in each.calls} for each in present}
    reached = {name: names & wanted for name, names in called.items()}
    while True:
        wider = {
            name: reached[name].union(*(reached.get(other, ()) for other in names)) for name, names in called.items()
        }
        if wider == reached:
            return {name: found for name, found in reached.items() if found}
        reached = wider


def report(sources: TorchSources, names: Iterable[str]) -> dict[str, Any]:
    """All that is checked of one release."""
    files = _files(sources.root)
    gates = {GATE, *reaching(files["utils.py"], [GATE])}
    lowered_elsewhere: dict[str, set[str]] = {}  # by the name of a function that a pattern's lowering calls
    for each in (each for present in files.values() for each in present if each.ops):
        for call in each.calls:
            lowered_elsewhere.setdefault(call.name, set()).update(op for op in each.ops if op.startswith("pattern"))
    reach: dict[str, Any] = {}
    miss: dict[str, Any] = {}
    behind: dict[str, Any] = {}
    for path, present in files.items():
        chooses, gated = reaching(present, [CHOOSE]), reaching(present, gates)
        for each in present:
            hooked = [call for call in each.calls if ast.unparse(call.node.func) == f"V.choices.{HOOK}"]
            ops = each.ops or sorted(lowered_elsewhere.get(each.name, ()))
            if hooked and not ops:
                ops = [each.name]  # called in a way that this script does not follow: not to be overlooked
            for op in ops:
                if hooked:
                    reach[op] = {"function": f"{path}:{each.name}", **_hook_calls(each, hooked)}
                elif each.name in chooses:
                    miss[op] = f"{path}:{each.name}"
                if each.name in gated:
                    behind[op] = sorted(gated[each.name])
    return {
        "private_names": {name: sources.describe(name) for name in sorted(names)},
        "reach_hook": reach,
        "miss_hook": miss,
        "behind_gate": behind,
        "cache_key_tag_is_in_graph_key": _is_in_graph_key(sources),
        "preprocessing_precedes_single_choice": _preprocessing_precedes_single_choice(sources),
    }


def _files(root: Path) -> dict[str, list[Function]]:
    """The functions of each file of Inductor that speaks of lowerings or choices, by the file's path in it."""
    folder = root / "torch" / "_inductor"
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    return {
        path.relative_to(folder).as_posix(): list(functions(ast.parse(text)))
        for path, text in texts.items()
        if any(word in text for word in (HOOK, CHOOSE, GATE, "register_lowering"))
    }


def _hook_calls(function: Function, hooked: Sequence[Call]) -> dict[str, Any]:
    counts = {early: Counter(_op_name(function, call) for call in hooked if call.is_early == early) for early in (0, 1)}
    beside = {
        ast.unparse(call.node.func)
        for call in function.calls
        if call.name in ("maybe_append_choice", "bind") or (call.name.startswith("add_") and "choices" in call.name)
    }
    return {"calls": counts[False], "calls_before_an_early_return": counts[True], "offered_beside": sorted(beside)}


def _op_name(function: Function, call: Call) -> str:
    """The operator's name that a call of the hook gives: its third argument, maybe through a variable."""
    keywords = [each.value for each in call.node.keywords if each.arg == "op_name"]
    given = [*call.node.args[2:3], *keywords, ast.Constant("not given")][0]
    for each in ast.walk(function.node) if isinstance(given, ast.Name) else ():
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == ast.unparse(given):
            return _text(each.value)
    return _text(given)


def _text(expression: ast.expr) -> str:
    return str(expression.value) if isinstance(expression, ast.Constant) else ast.unparse(expression)


def _is_in_graph_key(sources: TorchSources) -> bool:
    """Whether `torch.compiler.config.cache_key_tag` enters the key of a compiled graph."""
    made = sources.find("torch._inductor.codecache:FxGraphHashDetails.__init__")
    return made is not None and any(
        isinstance(node, ast.Assign) and _last_word(node.value) == "cache_key_tag" for node in ast.walk(made[1])
    )


def _preprocessing_precedes_single_choice(sources: TorchSources) -> bool:
    """Whether the functions of `add_preprocessing_fn` see the choices before a single one is taken unbenchmarked."""
    called = sources.find("torch._inductor.select_algorithm:AlgorithmSelectorCache.__call__")
    nodes = [*ast.walk(called[1])] if called else []
    loops = [node.lineno for node in nodes if isinstance(node, ast.For) and _last_word(node.iter) == PREPROCESSING]
    shortcuts = [node.lineno for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == SINGLE]
    return bool(loops and shortcuts) and loops[0] < shortcuts[0]


def private_names(compat: Sequence[Path] = COMPAT) -> list[str]:
    """The tables of `_compat.py` and its like, read without importing them, which would import torch.

    PRIVATE_ATTRIBUTES, which may be missing, are those that only instances have.
    """
    trees = [ast.parse(path.read_bytes()) for path in compat]
    return sorted(
        {
            name
            for tree in trees
            for name in (*literal(tree, "PRIVATE_NAMES"), *literal(tree, "PRIVATE_ATTRIBUTES", default=()))
        }
    )


def touched(tree: ast.Module, sources: TorchSources) -> set[str]:
    """`module:name` of what a file of ours takes from torch behind an underscore, types alone left out."""
    words, unseen = {"torch": "torch"}, set[int]()  # what a word of the file stands for; nodes where it does not
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            unseen |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, FUNCTION):
            own = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
            unseen |= {id(inner) for inner in ast.walk(node) if isinstance(inner, ast.Name) and inner.id in own}
        if isinstance(node, ast.ImportFrom) and id(node) not in unseen and f"{node.module}.".startswith("torch."):
            words |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return (before := dotted(node.value)) and f"{before}.{node.attr}"
        return words.get(node.id, "") if isinstance(node, ast.Name) and id(node) not in unseen else ""

    found = {*words.values(), *(dotted(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))}
    return {name for each in found if "._" in each.replace(".__", ".") and (name := _first_name(each, sources))}


def _first_name(dotted: str, sources: TorchSources) -> str:
    """`torch._inductor.config.x.y` is the module's x; nothing for the module itself."""
    parts = dotted.split(".")
    length = max(size for size in range(1, len(parts) + 1) if sources.tree(".".join(parts[:size])))
    return "" if length == len(parts) else f"{'.'.join(parts[:length])}:{parts[length]}"


def installed() -> Path:
    """The folder that holds the installed torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torch is not installed here: give --sources or --fetch")
    return Path(spec.origin).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", type=Path, default=[], help="folders that hold torch/")
    parser.add_argument("--fetch", nargs="+", default=[], metavar="VERSION", help="releases to download")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where --fetch keeps them (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="default: standard output")
    options = parser.parse_args()
    roots = [*options.sources, *(fetch(version, options.cache) for version in options.fetch)] or [installed()]
    releases = [TorchSources(root) for root in roots]
    text = json.dumps({each.version(): report(each, private_names()) for each in releases}, indent=1) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
