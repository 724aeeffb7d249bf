"""Keeping records files in order: merge, compact, verify."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._core import DeviceSpec, GemmProblem, LibraryAlgorithm, why_illegal, why_library_lacks
from ..cublaslt import Candidate
from .file import Contents, Line, Skipped, locked, read, write_atomically
from .lookup import better, kernel_state
from .record import Fingerprint, Record


@dataclass(frozen=True)
class Tally:
    """What became of the lines of a merge or a compaction."""

    kept: int
    dropped: int
    skipped: tuple[Skipped, ...]


def merge(sources: Sequence[str | Path], target: str | Path) -> Tally:
    """Writes every distinct line of the sources, in their order, to `target`, whole or not at all.

    Lines of foreign schemas are kept as they are; torn ones are dropped and told. Where the target is one of the
    sources, its lock is held from the reading to the writing.
    """
    target = Path(target)
    with locked(target):
        contents = [read(source) for source in sources]
        texts = [text for each in contents for text in _texts(each)]
        distinct = list(dict.fromkeys(texts))
        write_atomically(target, _joined(distinct))
    skipped = tuple(skip for each in contents for skip in each.skipped)
    return Tally(len(distinct), len(texts) - len(distinct), skipped)


def compact(path: str | Path, target: str | Path | None = None, *, kernels: Collection[str]) -> Tally:
    """Keeps the best line for each thing known, and drops what it supersedes; in place unless a target is named.

    Of the winners of one problem on one device the best stays (measured beats predicted, then the newest), for each set
    of ops that follow it and each size that it was padded from; of the trials of one kernel with one choice, likewise.
    Lines whose kernel is known to have changed go too: no look-up would ever use them. Foreign lines stay; torn ones
    go. The file is replaced atomically, under its lock.
    """
    path = Path(path)
    target = Path(target or path)
    with locked(path):
        contents = read(path)
        best: dict[tuple[object, ...], Record] = {}
        for record in contents.records:
            if kernel_state(record.kernel, kernels) != "stale":
                best[_subject(record)] = better(best.get(_subject(record)), record)
        chosen = {id(record) for record in best.values()}
        texts = _texts(contents, lambda line: id(line.record) in chosen)
        write_atomically(target, _joined(texts))
    return Tally(len(texts), len(_texts(contents)) - len(texts), contents.skipped)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a line (`faults`), and what merely should be known (`notes`)."""

    number: int
    record: Record | None
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()


def verify(
    contents: Contents,
    *,
    kernels: Collection[str],
    find_device: Callable[[Fingerprint], DeviceSpec | None],
    gemm_tuner_version: str,
) -> list[Verdict]:
    """One verdict a line, in the order of the file: schema, kernel hash, legality on its device, versions.

    `find_device` gives the device of a fingerprint, or None where nobody knows it; legality is then not judged.
    """
    devices = {print_: find_device(print_) for print_ in {line.record.device for line in contents.lines}}
    verdicts = [_verdict(line, kernels, devices[line.record.device], gemm_tuner_version) for line in contents.lines]
    verdicts += [Verdict(skip.number, None, (skip.reason,)) for skip in contents.skipped]
    return sorted(verdicts, key=lambda verdict: verdict.number)


def _verdict(line: Line, kernels: Collection[str], device: DeviceSpec | None, version: str) -> Verdict:
    record, faults, notes = line.record, [], []
    state = kernel_state(record.kernel, kernels)
    if state == "stale":
        faults.append(f"{record.kernel} is no longer the source that is installed: tune again")
    if state == "unknown":
        notes.append(f"{record.kernel} is not installed here: its hash was not checked")
    if device is None:
        notes.append(f"{record.device} is not in the catalogue and not here: legality was not checked")
    elif Fingerprint.of(device) != record.device:
        faults.append(f"its device says {record.device}, but that is {Fingerprint.of(device)}")
    elif record.kind == "winner" and record.choice is not None:
        illegal = _why_illegal(record.problem, record.choice, device)
        faults += [f"not legal on its device: {illegal}"] if illegal else []
    if record.basis == "predicted" and record.versions.gemm_tuner != version:
        notes.append(f"predicted by gemm_tuner {record.versions.gemm_tuner}, this is {version}")
    return Verdict(line.number, record, tuple(faults), tuple(notes))


def _why_illegal(problem: GemmProblem, choice: Candidate, device: DeviceSpec) -> str | None:
    if isinstance(choice, LibraryAlgorithm):
        return why_library_lacks(problem)
    return why_illegal(problem, choice, device)


def _subject(record: Record) -> tuple[object, ...]:
    """What a record speaks of: two of the same subject cannot both be needed."""
    if record.kind == "winner":
        return (record.device, record.problem, record.followed_by, record.padded_from)
    return (record.device, record.problem, record.choice, record.kernel)


def _texts(contents: Contents, wanted: Callable[[Line], bool] = lambda line: True) -> list[str]:
    """The lines to carry over, foreign ones included, in the order of the file."""
    numbered = [(line.number, line.text) for line in contents.lines if wanted(line)]
    numbered += [(skip.number, skip.text) for skip in contents.skipped if skip.foreign]
    return [text for _, text in sorted(numbered)]


def _joined(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
