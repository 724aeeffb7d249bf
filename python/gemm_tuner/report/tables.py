"""The tables, as rich renders them. Each takes values and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from .._core import DeviceSpec, GemmProblem, KernelResources, LibraryAlgorithm, Prediction
from ..cublaslt import Candidate
from ..records import Fingerprint, Line, Versions
from ..tuning import TuneResult
from .totals import Totals, totals_of

if TYPE_CHECKING:
    from ..calibration import Calibration
    from ..doctor import Finding

NOTHING = "–"


def tuned_table(result: TuneResult) -> Table:
    """Per problem: the best candidate and the library kernel, and which of the two was chosen."""
    totals = totals_of(result.outcomes)
    basis = "measured on" if result.basis == "measured" else "predicted, not measured, for"
    table = _table(f"{basis} {result.device}\n{_versions(result.versions)}", totals=True)
    table.add_column("runs", str(totals.runs), justify="right")
    table.add_column("problem", f"{totals.problems} problems")
    table.add_column("dtype")
    table.add_column("layout")
    table.add_column("best candidate", no_wrap=True)
    table.add_column("its_us", justify="right")
    table.add_column("ATen_us", f"{totals.library_us:.0f}", justify="right")
    table.add_column("basis")
    table.add_column("chosen", _wins(totals))
    table.add_column("latency_us", f"{totals.latency_us:.0f}", justify="right")
    table.add_column("waves", justify="right")
    table.add_column("smem", justify="right")
    table.add_column("registers", justify="right")
    for outcome in sorted(result.outcomes, key=lambda each: -(each.winner.latency_us or 0.0) * each.winner.count):
        winner, best = outcome.winner, outcome.best
        table.add_row(
            str(winner.count),
            shape(winner.problem),
            dtypes(winner.problem),
            winner.problem.layout,
            NOTHING if best is None else chosen(best.choice),
            _us(None if best is None else best.latency_us),
            _us(outcome.library_us),
            winner.basis,
            _maker(winner.choice),
            _us(winner.latency_us),
            NOTHING if outcome.waves is None else f"{outcome.waves:.2f}",
            *_resources(None if best is None else best.resources),
        )
    return table


def records_table(lines: Sequence[Line]) -> Table:
    """One row a line of a records file; each says itself whether it was measured or predicted."""
    table = _table(None)
    for name in ("line", "kind", "basis", "device", "problem", "dtype", "layout", "chosen"):
        table.add_column(name, justify="right" if name == "line" else "left")
    table.add_column("latency_us", justify="right")
    table.add_column("reason", max_width=60)
    for line in lines:
        one = line.record
        table.add_row(
            str(line.number),
            one.kind,
            one.basis,
            Text(_device(one.device)),
            shape(one.problem),
            dtypes(one.problem),
            one.problem.layout,
            chosen(one.choice),
            _us(one.latency_us),
            Text(one.reason),
        )
    return table


def explain_table(
    problem: GemmProblem, device: DeviceSpec, predictions: Sequence[Prediction], library_us: float
) -> Table:
    """One row a candidate, one column a term of its prediction."""
    table = _table(f"{problem}, for {device}\ntimes in us, predicted, not measured; ATen {library_us:.1f}")
    table.add_column("config", no_wrap=True)
    terms = [name for name in (predictions[0].to_dict() if predictions else {}) if name not in ("config", "resources")]
    for term in terms:
        table.add_column(_heading(term), justify="right")
    table.add_column("smem", justify="right")
    table.add_column("registers", justify="right")
    for each in predictions:
        values = each.to_dict()
        table.add_row(
            chosen(each.config), *(_number(term, values[term]) for term in terms), *_resources(each.resources)
        )
    return table


def devices_table(here: Iterable[DeviceSpec], catalogue: Mapping[str, DeviceSpec]) -> Table:
    """The GPUs of this machine, then the catalogue."""
    table = _table("* marks an estimated field's device: gemm-tuner devices --json names the fields")
    for name in ("device", "name", "sm", "SMs", "clock_mhz", "bandwidth_gbs", "smem/block", "source"):
        table.add_column(name, justify="left" if name in ("device", "name", "source") else "right")
    for slug, spec in [*((f"here:{i}", spec) for i, spec in enumerate(here)), *catalogue.items()]:
        sms = str(spec.sm_count)
        if spec.available_sms != spec.sm_count:
            sms = f"{spec.available_sms} of {sms}"
        table.add_row(
            Text(slug),
            Text(spec.name + ("*" if spec.estimated else "")),
            str(spec.compute_capability),
            sms,
            str(spec.clock_mhz),
            f"{spec.bandwidth_gbs:g}",
            _kib(spec.smem_per_block_optin_bytes),
            spec.source,
        )
    return table


def calibration_table(calibration: Calibration) -> Table:
    """What was measured of one GPU."""
    made = ", ".join(f"{name} {version}" for name, version in calibration.versions.items() if version)
    table = _table(f"{calibration.spec}\nmeasured {calibration.time}, {made}")
    for name in ("figure", "measured", "spread"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for name, figure in calibration.figures.items():
        table.add_row(Text(name), f"{figure.value:.4g}", f"{figure.spread:.1%}")
    return table


def doctor_table(findings: Iterable[Finding]) -> Table:
    """What is well, what is not, and what to do about it."""
    table = _table(None)
    for name in ("", "subject", "what was found", "what to do"):
        table.add_column(name, overflow="fold")
    for each in findings:
        table.add_row(each.status, each.subject, Text(each.sentence), Text(each.remedy or ""))
    return table


def shape(problem: GemmProblem) -> str:
    """op, batch and sizes: "mm 512x4096x1024", with the epilogue where there is one."""
    batch = f"{problem.batch}x" if problem.batch > 1 else ""
    epilogue = "" if problem.epilogue == "none" else f" +{problem.epilogue}"
    return f"{problem.op} {batch}{problem.m}x{problem.n}x{problem.k}{epilogue}"


def dtypes(problem: GemmProblem) -> str:
    """Operands, and the result where it differs; tf32 where float32 products use it."""
    name: str = problem.a_dtype if problem.b_dtype == problem.a_dtype else f"{problem.a_dtype}/{problem.b_dtype}"
    if problem.out_dtype != problem.a_dtype:
        name += f"->{problem.out_dtype}"
    return f"{name} tf32" if problem.precision == "tf32" else name


def chosen(choice: Candidate | None) -> str:
    """The config in a few words (block, warps, stages, group, split), or the library's algorithm in its own numbers;
    "ATen" where there is neither."""
    if choice is None:
        return "ATen"
    if isinstance(choice, LibraryAlgorithm):
        return str(choice)
    config = choice
    split = f" split{config.split_k}" if config.split_k > 1 else ""
    block = f"{config.block_m}x{config.block_n}x{config.block_k}"
    return f"{block} w{config.num_warps} s{config.num_stages} g{config.group_m}{split}"


def _maker(choice: Candidate | None) -> str:
    if choice is None:
        return "ATen"
    return "cuBLASLt" if isinstance(choice, LibraryAlgorithm) else "Triton"


def _wins(totals: Totals) -> str:
    library = f", {totals.library_wins} cuBLASLt" if totals.library_wins else ""
    return f"{totals.triton_wins} Triton{library}, {totals.problems - totals.triton_wins - totals.library_wins} ATen"


def _table(title: str | None, *, totals: bool = False) -> Table:
    return Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_footer=totals,
        pad_edge=False,
    )


def _versions(versions: Versions) -> str:
    named = (
        ("gemm_tuner", versions.gemm_tuner),
        ("triton", versions.triton),
        ("torch", versions.torch),
        ("driver", versions.driver),
    )
    return ", ".join(f"{name} {version}" for name, version in named if version)


def _resources(resources: KernelResources | None) -> tuple[str, str]:
    if resources is None:
        return NOTHING, NOTHING
    return _kib(resources.smem_bytes), str(resources.registers_per_thread)


def _device(device: Fingerprint) -> str:
    budget = f"{device.available_sms}/" if device.available_sms != device.sm_count else ""
    return f"{device.name} ({budget}{device.sm_count} SMs)"


def _us(latency_us: float | None) -> str:
    return NOTHING if latency_us is None else f"{latency_us:.1f}"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.0f} KiB"


def _number(term: str, value: float) -> str:
    if term.endswith("_bytes"):
        return f"{value / 1e6:.1f} MB"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _heading(term: str) -> str:
    return term.removesuffix("_us").replace("_bytes", "").replace("_", "\n")
