"""Records files: JSON Lines, appended to under a lock, read line by line."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordsError
from .record import SCHEMA, Record

log = logging.getLogger("gemm_tuner")

LOCK_TIMEOUT_S = 60.0  # far beyond any append or compaction; only a hung owner gets there


RecordsSource = str | os.PathLike[str] | Record


@dataclass(frozen=True)
class Line:
    """A good line: `text` is what the file holds, without its end."""

    number: int
    text: str
    record: Record


@dataclass(frozen=True)
class Skipped:
    """A line that is no record of ours. A foreign one is whole JSON of another schema: it is somebody's."""

    number: int
    text: str
    reason: str
    foreign: bool


@dataclass(frozen=True)
class Contents:
    """All that a file holds, in its order."""

    path: Path
    lines: tuple[Line, ...]
    skipped: tuple[Skipped, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """The lines' records, in the file's order."""
        return tuple(line.record for line in self.lines)


def read_all(sources: RecordsSource | Iterable[RecordsSource] | None) -> list[Record]:
    """The records of files, and those given as such, in order. Raises RecordsError as `read` does."""
    if sources is None:
        return []
    known: list[Record] = []
    for source in [sources] if isinstance(sources, (str, os.PathLike, Record)) else sources:
        known.extend([source] if isinstance(source, Record) else read(Path(source)).records)
    return known


def read(path: str | Path) -> Contents:
    """The records of a file; torn and foreign lines are warned about, with their number, and skipped.

    Raises RecordsError where the file is missing or unreadable, or has no record and does not begin like one:
    then it is some other file, and appending to it would spoil it. An empty file has no records.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordsError(f"there is no records file {path}") from None
    except OSError as error:
        raise RecordsError(f"cannot read the records file {path}: {error.strerror}") from None
    lines: list[Line] = []
    skipped: list[Skipped] = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if raw.strip():
            parsed = _parse(number, raw)
            if isinstance(parsed, Line):
                lines.append(parsed)
            else:
                skipped.append(parsed)
    if skipped and not lines and not _begins_like_a_record(content):
        raise RecordsError(f"{path} is not a records file: line {skipped[0].number} is {skipped[0].reason}")
    for skip in skipped:
        log.warning("%s, line %d skipped: %s", path, skip.number, skip.reason)
    return Contents(path, tuple(lines), tuple(skipped))


def append(path: str | Path, records: Iterable[Record]) -> None:
    """Adds the records, one write a line, under the file's lock; the file is made where there is none.

    Whatever ends this process in the middle, at most the line being written is lost: the next append starts on a
    fresh line. Raises RecordsError where the file cannot be written; the record that did not fit leaves no trace.
    """
    path = Path(path)
    with locked(path), _opened_for_append(path) as descriptor:
        try:
            for record in records:
                _append_line(descriptor, record.to_json())
            os.fsync(descriptor)
        except OSError as error:
            raise RecordsError(f"cannot write to {path}: {error.strerror}; what it held before is kept") from None


def open_for_append(path: str | Path) -> Contents:
    """What the file holds now (nothing, where there is none), made sure that `append` can add to it; leaves no trace.

    Raises RecordsError before any work is done where the records of that work could not be kept.
    """
    path = Path(path)
    require_writable(path)
    return read(path) if path.exists() else Contents(path, (), ())


def require_writable(path: str | Path) -> None:
    """Raises RecordsError where a regular file cannot be made, or written, there; leaves no trace."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise RecordsError(f"cannot write to {path}: it is not a regular file")
    if not path.parent.is_dir():
        raise RecordsError(f"cannot write to {path}: there is no folder {path.parent}")
    # the folder too: lock files and files on their way to being replaced lie beside the file itself
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise RecordsError(f"cannot write to {path}: no permission to write in {place}")


def write_atomically(path: str | Path, text: str) -> None:
    """Puts the text there whole or not at all; RecordsError where that fails."""
    try:
        replace_file(Path(path), text)
    except OSError as error:
        raise RecordsError(f"cannot write {path}: {error.strerror}; nothing was changed") from None


def replace_file(path: Path, text: str) -> None:
    """Puts the text there whole, or raises OSError and leaves what was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other writers of this file out; the lock file stays beside it, empty."""
    from filelock import FileLock, Timeout  # here: who only reads records need not load it

    lock = FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise RecordsError(
            f"{path} has been locked by another writer for {LOCK_TIMEOUT_S:.0f} s; end it and try again"
        ) from None
    except OSError as error:
        raise RecordsError(f"cannot lock {path}: {error.strerror} at {lock.lock_file}") from None
    try:
        yield
    finally:
        lock.release()


def _parse(number: int, raw: bytes) -> Line | Skipped:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return Skipped(number, raw.decode("utf-8", "replace"), "not text (UTF-8)", foreign=False)
    text = text.strip()
    try:
        return Line(number, text, Record.from_json(text))
    except RecordsError as error:
        return Skipped(number, text, str(error), foreign=_is_foreign(text))


def _is_foreign(text: str) -> bool:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("schema", SCHEMA) != SCHEMA


def _begins_like_a_record(content: bytes) -> bool:
    """Is this what an interrupted first append, or another version of this package, leaves behind?"""
    beginning = b'{"schema":"gemm_tuner.record/'
    squeezed = content.lstrip()[: 2 * len(beginning)].replace(b" ", b"")[: len(beginning)]
    return beginning.startswith(squeezed)


@contextlib.contextmanager
def _opened_for_append(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise RecordsError(f"cannot write to {path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RecordsError(f"cannot write to {path}: it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _append_line(descriptor: int, text: str) -> None:
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    line = (b"\n" if torn else b"") + text.encode() + b"\n"
    written = 0
    try:
        written = os.write(descriptor, line)
        if written < len(line):  # a full disk takes a part; that part must not stay
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(descriptor, size)
        raise
