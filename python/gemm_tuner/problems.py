"""Problems files: which GEMMs a model runs, and how often.

One JSON object a line: ``schema``, the fields of a :class:`GemmProblem` and ``count``. A problems file says what is to
be tuned, so it must be wholly good: unlike a records file, one bad line refuses it. Format: docs/problems.md.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ._core import GemmProblem
from .errors import ProblemsError

SCHEMA = "gemm_tuner.problem/1"
MAX_COUNT = 2**53  # the largest count up to which every integer survives a JSON reader that keeps numbers as doubles


@dataclass(frozen=True)
class CountedProblem:
    """A GEMM and how many times it runs: in one call of a model, or over whatever was captured.

    Raises TypeError where ``count`` is no integer and ValueError where it is not between 1 and 2**53.
    """

    problem: GemmProblem
    count: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int):
            raise TypeError(f"count must be an integer, got {self.count!r}")
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count must be between 1 and {MAX_COUNT}, got {self.count}")


def merge(problems: Iterable[CountedProblem]) -> list[CountedProblem]:
    """Equal problems become one with the sum of their counts, in order of first appearance.

    Raises ValueError where a sum exceeds 2**53.
    """
    counts: dict[GemmProblem, int] = {}
    for counted in problems:
        counts[counted.problem] = counts.get(counted.problem, 0) + counted.count
    return [CountedProblem(problem, count) for problem, count in counts.items()]


def read_problems(path: str | os.PathLike[str]) -> list[CountedProblem]:
    """The merged problems of a file, or of standard input where ``path`` is ``-``. Blank lines are allowed.

    Raises ProblemsError, which names the file and the first bad line, where the file cannot be read, holds no
    problem, or holds anything that is not one.
    """
    name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
    problems = []
    try:
        with _opened(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    problems.append(_parse(line, where=f"{name}, line {number}"))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ProblemsError(f"cannot read the problems file {name}: {_reason(error)}") from error
    if not problems:
        raise ProblemsError(f"{name} holds no problems; gemm-tuner capture makes such files")
    try:
        return merge(problems)
    except ValueError as error:
        raise ProblemsError(f"{name}: the counts of one problem add up to too much: {error}") from error


def write_problems(path: str | os.PathLike[str], problems: Iterable[CountedProblem]) -> None:
    """Writes the merged problems so that ``path`` holds either all of them or what it held before.

    Raises ProblemsError where there are none or the file cannot be written.
    """
    lines = [_line(counted) for counted in merge(problems)]
    if not lines:
        raise ProblemsError(f"nothing was written to {os.fspath(path)}: there are no problems to write")
    try:
        _replace(Path(path), "".join(lines).encode())
    except (OSError, ValueError) as error:
        raise ProblemsError(f"cannot write the problems file {os.fspath(path)}: {_reason(error)}") from error


def _line(counted: CountedProblem) -> str:
    return json.dumps({"schema": SCHEMA, **counted.problem.to_dict(), "count": counted.count}) + "\n"


def _parse(line: bytes, *, where: str) -> CountedProblem:
    try:
        fields = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ProblemsError(f"{where}: not a problems file: this is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ProblemsError(f"{where}: not a whole JSON object ({error.msg}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of nested brackets
        raise ProblemsError(f"{where}: not a problem: {_short(str(error))}") from None
    if not isinstance(fields, dict):
        raise ProblemsError(f"{where}: expected a JSON object, found {type(fields).__name__}")
    schema = fields.pop("schema", None)
    if schema != SCHEMA:
        raise ProblemsError(f"{where}: expected the schema {SCHEMA!r}, found {_short(repr(schema))}")
    return _counted(fields, where=where)


def _counted(fields: dict[str, Any], *, where: str) -> CountedProblem:
    try:
        count = fields.pop("count", 1)
        return CountedProblem(GemmProblem(**fields), count)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: text that has no UTF-8 form ("\ud800")
        raise ProblemsError(f"{where}: {_short(str(error))}") from error


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    if os.fspath(path) == "-":
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file


def _replace(path: Path, content: bytes) -> None:
    """Writes beside the file and renames; a device or pipe, which cannot be half-replaced, is written to as it is."""
    path = path.resolve()
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        path.write_bytes(content)
        return
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
