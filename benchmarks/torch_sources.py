"""The Python files of a torch release, and what a name in them is, without importing torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_ASSIGNMENT = (ast.Assign, ast.AnnAssign)
_Found = tuple[str, ast.AST]  # the module that holds it, and the node


class TorchSources:
    """One release; `root` is the folder that holds torch/. A file is parsed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trees: dict[str, ast.Module | None] = {}
        if self.tree("torch.version") is None:
            raise ValueError(f"{root} holds no torch/version.py: give the folder that holds torch/")

    def version(self) -> str:
        """`2.13.0`: without what stands behind a +."""
        return str(literal(self.tree("torch.version"), "__version__")).partition("+")[0]

    def tree(self, module: str) -> ast.Module | None:
        """The module's syntax tree; None where the release has no such module."""
        if module not in self._trees:
            stem = self.root.joinpath(*module.split("."))
            paths = [path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()]
            self._trees[module] = ast.parse(paths[0].read_bytes()) if paths else None
        return self._trees[module]

    def describe(self, name: str) -> str | None:
        """What `module:qualified.name` is; None where the release lacks it.

        A function's or class's parameters (`name=` is optional), `property`, `value`.
        """
        if (found := self.find(name)) is None:
            return None
        module, node = found
        if isinstance(node, ast.ClassDef):
            _, made = self._attribute(module, node, "__init__") or (module, None)
            return f"class({_parameters(made.args, skipped=1)})" if isinstance(made, FUNCTION) else "class"
        if isinstance(node, FUNCTION):
            decorators = [ast.unparse(each).rpartition(".")[2] for each in node.decorator_list]
            if any("property" in each for each in decorators):
                return "property"
            return f"{'staticmethod' if 'staticmethod' in decorators else ''}({_parameters(node.args)})"
        return "value"

    def find(self, name: str) -> _Found | None:
        """The module and node behind `module:qualified.name`, through imports, base classes and instances."""
        module, _, path = name.partition(":")
        first, *rest = path.split(".")
        found = self._global(module, first)
        for attribute in rest:
            found = found and self._attribute(*found, attribute)
        return found

    def _global(self, module: str, name: str) -> _Found | None:
        if (tree := self.tree(module)) is None:
            return None
        for statement in _statements(tree.body):
            if name in _defined(statement):
                return module, statement
            if isinstance(statement, ast.ImportFrom):
                source = self._source(statement, module)
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return self._global(source, alias.name) or self._module(f"{source}.{alias.name}")
        if any("install_config_module(sys.modules" in ast.unparse(each) for each in tree.body[-5:]):
            return self.find(f"torch.utils._config_module:ConfigModule.{name}")
        return None

    def _attribute(self, module: str, node: ast.AST, name: str) -> _Found | None:
        if isinstance(node, ast.Module):
            return self._global(module, name)
        if isinstance(node, _ASSIGNMENT) and isinstance(node.value, ast.Call):  # V = _V()
            owner = self._class(module, node.value.func)
            return owner and self._attribute(*owner, name)
        if not isinstance(node, ast.ClassDef):
            return None
        inside = [each for each in ast.walk(node) if isinstance(each, _ASSIGNMENT)]
        assigned = [each for each in inside if any(_is_own(target, name) for target in _targets(each))]
        for statement in (*_statements(node.body), *assigned):
            if name in _defined(statement) or statement in assigned:
                return module, statement
        bases = (self._class(module, base) for base in node.bases)
        return next(filter(None, (self._attribute(*base, name) for base in bases if base)), None)

    def _class(self, module: str, expression: ast.expr) -> _Found | None:
        while isinstance(expression, ast.Subscript):  # a generic class
            expression = expression.value
        return self.find(f"{module}:{ast.unparse(expression)}")

    def _module(self, module: str) -> _Found | None:
        return (module, tree) if (tree := self.tree(module)) else None

    def _source(self, statement: ast.ImportFrom, module: str) -> str:
        if not statement.level:
            return statement.module or ""
        is_package = self.root.joinpath(*module.split("."), "__init__.py").is_file()
        parts = [*module.split("."), *(["__init__"] if is_package else [])][: -statement.level]
        return ".".join([*parts, *filter(None, [statement.module])])


def literal(tree: ast.Module | None, name: str, *, default: Any = None) -> Any:
    """The value of `name = ...`, a literal at the top level of a file; ValueError without it and a default."""
    for statement in _statements(tree.body if tree else ()):
        if name in _defined(statement) and isinstance(statement, _ASSIGNMENT) and statement.value:
            return ast.literal_eval(statement.value)
    if default is not None:
        return default
    raise ValueError(f"no {name} = ... at the top level")


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Of a module or class, those in `if`, `try` and `with` too; the last one first, as the last definition holds."""
    for statement in reversed([*body]):
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for inner in ("finalbody", "orelse", "body"):
                yield from _statements(getattr(statement, inner, ()))
        yield statement


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


def _is_own(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == name and ast.unparse(target.value) == "self"


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (*FUNCTION, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, _ASSIGNMENT):
        return {target.id for target in _targets(statement) if isinstance(target, ast.Name)}
    return set()


def _parameters(arguments: ast.arguments, *, skipped: int = 0) -> str:
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    words = [each.arg + "=" * (index >= required) for index, each in enumerate(positional)][skipped:]
    if arguments.vararg or arguments.kwonlyargs:
        words.append("*" + (arguments.vararg.arg if arguments.vararg else ""))
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    words += [each.arg + "=" * (default is not None) for each, default in keywords]
    return ", ".join([*words, *(["**" + arguments.kwarg.arg] if arguments.kwarg else [])])


def fetch(version: str, cache: Path) -> Path:
    """The Python files of a release, from PyPI: the folder that holds torch/. A wheel for macOS is the smallest."""
    root = cache / version
    if not (root / "torch" / "version.py").is_file():
        platforms = ["--platform", "macosx_14_0_arm64", "--platform", "macosx_11_0_arm64", "--python-version", "3.11"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *platforms]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*command, "-d", folder, f"torch=={version}"], check=True, stdout=sys.stderr)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                wheel.extractall(root, [name for name in wheel.namelist() if name.endswith(".py")])
    return root
