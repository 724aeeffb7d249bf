"""What the records in use say about a problem of the op: a config for a kernel of this package, one of the library's
algorithms, or the library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ._core import DeviceSpec, GemmProblem, LibraryAlgorithm, why_illegal
from .cublaslt import Candidate
from .records import Index, Record
from .tuning import current_kernels, usable_kernels


@dataclass(frozen=True)
class Choice:
    """config: None for what the library itself chooses. why: in a few words. record: what settled it, where one did."""

    config: Candidate | None
    why: str
    record: Record | None = None

    def __str__(self) -> str:
        return f"{self.config or 'ATen'}; {self.why}"


class Choices:
    """Records, ready to be asked. Those of another device or of a kernel that has changed since are never followed."""

    def __init__(self, records: Iterable[Record]) -> None:
        known = tuple(records)
        self._own = Index(known, kernels=current_kernels(known))
        self._all = Index(known, kernels=usable_kernels(known))

    def choice_for(self, problem: GemmProblem, device: DeviceSpec) -> Choice:
        """What to launch for this very problem; the library where no record speaks, or a config is not legal here.

        A record of the product alone also speaks for the product with an activation: fused, that costs next to nothing.
        """
        record = self._record(problem, device) or self._record(problem.replace(epilogue="none"), device)
        if record is None:
            return Choice(None, "no record")
        why = f"{record.basis} record of {record.time}"
        if record.choice is None:
            return Choice(None, f"{why}{': ' + record.reason if record.reason else ''}", record)
        if isinstance(record.choice, LibraryAlgorithm):
            if record.problem != problem:
                return Choice(None, f"{why}: cuBLASLt's algorithm is for the product without an activation", record)
            return Choice(record.choice, why, record)
        if not record.kernel.startswith("gemm_tuner::"):
            why = f"a prediction for our kernel from the {record.kernel.partition('@')[0]} of a {why}"
        illegal = why_illegal(problem, record.choice, device)
        if illegal is not None:
            return Choice(None, f"{why}, which our kernel cannot follow: {illegal}", record)
        return Choice(record.choice, why, record)

    def _record(self, problem: GemmProblem, device: DeviceSpec) -> Record | None:
        """Our kernels' measurements first: a template's timing is only a prediction for them, if a better one than the
        model's."""
        own = self._own.exact(problem, device)
        return own if own is not None and own.basis == "measured" else self._all.exact(problem, device)
