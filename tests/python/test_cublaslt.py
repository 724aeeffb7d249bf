"""cuBLASLt's algorithms, from the race to the op, on a double of the library. In the races it launches on the stand-in
libcuda, which plays the times that it is told; called by the op it computes on the host what it was told to compute.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types its libraries of operators only in part)
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import gemm_tuner as gt
from conftest import StandIn, StandInLibrary
from doubles.hot_op import hot_on_cpu
from doubles.library import LIBRARY
from doubles.stand_in import KernelTime, write_times
from doubles.stand_in_library import algorithm_image
from gemm_tuner import cublaslt, ops, ready, trials
from gemm_tuner._core import LibraryAlgorithm, why_library_lacks
from gemm_tuner.choosing import Choices
from gemm_tuner.cli import main
from gemm_tuner.in_use import RecordsInUse, put_in_use
from gemm_tuner.inductor.plan import from_record, served_winners
from gemm_tuner.records import (
    Fingerprint,
    Index,
    Record,
    Versions,
    append,
    compact,
    read,
    to_lookup_table,
    to_serving,
    verify,
)
from gemm_tuner.settling import Outcome
from gemm_tuner.tuning import current_kernels

PROBLEM = gt.GemmProblem(m=128, n=256, k=512, layout="nt")
LIBRARY_US = 30.0
KERNEL = "cublaslt::matmul@130100"
DEVICE = gt.device("rtx-3060")
T4 = "name=Tesla T4;attribute.75=7;attribute.76=5;attribute.16=40;attribute.97=65536;"
Machine = Callable[..., gt.DeviceSpec]


def algorithm(number: int, version: int = 130100) -> LibraryAlgorithm:
    """As the double makes them up."""
    words = f"{number:016x}{0xA1:016x}{version:016x}{0:080x}"
    facts = {"id": number, "tile": 14 + number, "stages": 7, "split_k": number, "reduction": 2 if number > 1 else 0}
    return LibraryAlgorithm.from_dict({"words": words, "workspace_bytes": (number - 1) << 10, **facts})


def winner(problem: gt.GemmProblem, choice: gt.GemmConfig | LibraryAlgorithm | None, kernel: str = KERNEL) -> Record:
    return Record(
        device=Fingerprint.of(DEVICE),
        problem=problem,
        choice=choice,
        kernel=kernel,
        latency_us=20.0,
        basis="measured",
        kind="winner",
        versions=Versions("0"),
    )


@pytest.fixture
def machine(
    stand_in: StandIn,
    stand_in_library: StandInLibrary,
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Machine:
    """Tells the doubles how long algorithms take, by their numbers, and gives the device."""
    monkeypatch.setattr(trials, "ATEN_WORK", "doubles.library:library_work")
    monkeypatch.setenv("GEMM_TUNER_LIBNVML", str(stand_in.path))

    def tell(
        times: Mapping[int, float], behaviour: Mapping[int, str] | None = None, *, more: str = "", library: str = ""
    ) -> gt.DeviceSpec:
        behaviour = behaviour or {}
        table = [KernelTime(LIBRARY, LIBRARY_US)]
        for number in {*times, *behaviour}:
            word = behaviour.get(number, "")
            table.append(KernelTime(algorithm_image(number), times.get(number, 5.0), behaviour=word))
        told = f"{write_times(tmp_path / 'times.tsv', table)};default_us=100;noise=0.01;seed=3;{more}"
        monkeypatch.setenv("FAKE_LIBCUDA", told)
        stand_in.tell(told)
        monkeypatch.setenv("FAKE_LIBCUBLASLT", f"driver={stand_in.path};compute=0;algorithms=4;{library}")
        return gt.device()

    return tell


def tuned(path: Path, problem: gt.GemmProblem = PROBLEM) -> Outcome:
    (outcome,) = gt.tune([problem], kernel="gemm_tuner", top_k=1, records=path, workers=1).outcomes
    return outcome


def test_an_algorithm_that_beats_atens_wins_and_the_record_names_it(machine: Machine, tmp_path: Path) -> None:
    machine({1: 30.0, 2: 20.0, 3: 25.0, 4: 60.0})
    path = tmp_path / "records.jsonl"
    outcome = tuned(path)
    assert outcome.winner.choice == algorithm(2) and outcome.winner.kernel == KERNEL
    assert outcome.winner.basis == "measured" and outcome.winner.latency_us == pytest.approx(20.0, rel=0.02)
    assert outcome.library_us == pytest.approx(LIBRARY_US, rel=0.02)
    kept = read(path)
    assert not kept.skipped
    assert {each.choice for each in kept.records if each.kind == "trial"} >= {None, *map(algorithm, (1, 2, 3, 4))}
    again = tuned(path)
    assert again.resumed and again.winner == outcome.winner and again.best is not None
    assert again.best.choice == algorithm(2)


def test_another_version_of_the_library_makes_the_record_stale(machine: Machine, tmp_path: Path) -> None:
    device = machine({1: 30.0, 2: 20.0})
    path = tmp_path / "records.jsonl"
    first = tuned(path).winner
    assert Choices([first]).choice_for(PROBLEM, device).config == algorithm(2)
    cublaslt._kernel_of.cache_clear()
    device = machine({1: 30.0, 3: 21.0}, library="version=130200")
    StandInLibrary(Path(cublaslt.library_path() or "")).tell("version=130200")
    assert "cublaslt::matmul@130200" in current_kernels([first])
    assert Choices([first]).choice_for(PROBLEM, device).config is None
    (verdict,) = verify(
        read(path_of(tmp_path, first)),
        kernels=current_kernels([first]),
        find_device=lambda _: device,
        gemm_tuner_version="",
    )
    assert "is no longer the source that is installed" in verdict.faults[0]
    second = tuned(path)
    assert not second.resumed and second.winner.choice == algorithm(3, 130200)
    compact(path, kernels=current_kernels([first]))
    assert {each.kernel for each in read(path).records if each.kernel.startswith("cublaslt")} == {
        "cublaslt::matmul@130200"
    }


def path_of(folder: Path, record: Record) -> Path:
    append(folder / "one.jsonl", [record])
    return folder / "one.jsonl"


def test_on_a_t4_the_librarys_algorithms_are_the_whole_race(machine: Machine, tmp_path: Path) -> None:
    device = machine({1: 30.0, 3: 18.0}, more=T4)
    assert (device.name, device.compute_capability) == ("Tesla T4", 75)
    outcome = tuned(tmp_path / "records.jsonl")
    assert outcome.winner.choice == algorithm(3)
    found = [each for each in read(tmp_path / "records.jsonl").records if each.kind == "trial"]
    timed = {each.choice for each in found if each.latency_us is not None}
    assert timed == {None, *map(algorithm, (1, 2, 3, 4))}
    (triton,) = [each for each in found if isinstance(each.choice, gt.GemmConfig)]
    assert "tensor-core" in triton.reason


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("wrong", "wrong numbers: 7 elements are off"), ("fault=719", "CUDA_ERROR_LAUNCH_FAILED"), ("exit", "SIGKILL")],
)
def test_an_algorithm_that_goes_wrong_costs_its_own_trial(
    behaviour: str, reason: str, machine: Machine, tmp_path: Path
) -> None:
    machine({2: 20.0}, {1: behaviour}, more=T4)
    assert tuned(tmp_path / "records.jsonl").winner.choice == algorithm(2)
    out = next(each for each in read(tmp_path / "records.jsonl").records if each.choice == algorithm(1))
    assert out.latency_us is None and reason in out.reason


@pytest.mark.parametrize(
    "library", ["fault.cublasLtCreate=1", "fault.cublasLtMatmulAlgoGetHeuristic=14", "algorithms=0"]
)
def test_without_algorithms_the_race_goes_on(library: str, machine: Machine, tmp_path: Path) -> None:
    machine({1: 5.0}, library=library)
    outcome = tuned(tmp_path / "records.jsonl")
    assert outcome.winner.choice is None and outcome.winner.basis == "measured"


def test_problems_that_one_call_cannot_compute_race_without_it(machine: Machine, tmp_path: Path) -> None:
    machine({1: 5.0}, more=T4)
    curved = PROBLEM.replace(epilogue="silu")
    assert "it has no silu" in (why_library_lacks(curved) or "")
    assert tuned(tmp_path / "records.jsonl", curved).winner.choice is None


def test_it_plans_for_the_sms_that_there_are() -> None:
    assert cublaslt.planned_sms(DEVICE) == 0
    assert cublaslt.planned_sms(DEVICE.with_available_sms(16)) == 16


@contextmanager
def followed_on_cpu(records: Iterable[Record]) -> Iterator[RecordsInUse]:
    """The op treats CPU tensors as CUDA's, on a doubled RTX 3060, and follows the records with its own runners."""
    library = torch.library.Library("gemm_tuner", "IMPL")
    library.impl("matmul", ops._tuned, "CPU")
    used = RecordsInUse(records, device_of=lambda ordinal: DEVICE)
    put_in_use(used)
    try:
        yield used
    finally:
        used.undo()
        library._destroy()


@pytest.fixture
def on_host(stand_in_library: StandInLibrary, monkeypatch: pytest.MonkeyPatch) -> StandInLibrary:
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    return stand_in_library


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("batch", "biased", "activation"), [(0, False, None), (0, True, "gelu_tanh"), (3, True, "relu")]
)
def test_the_op_runs_the_algorithm_that_the_record_names(
    layout: str, dtype: torch.dtype, batch: int, biased: bool, activation: str | None, on_host: StandInLibrary
) -> None:
    m, n, k = 8, 24, 16
    sizes = (batch,) if batch else ()
    torch.manual_seed(5)
    a = torch.randn(*sizes, k, m).mT if layout[0] == "t" else torch.randn(*sizes, m, k)
    b = torch.randn(*sizes, n, k).mT if layout[1] == "t" else torch.randn(*sizes, k, n)
    a, b, bias = a.to(dtype), b.to(dtype), torch.randn(n).to(dtype) if biased else None
    op = ("baddbmm" if biased else "bmm") if batch else ("addmm" if biased else "mm")
    with followed_on_cpu([]) as asked:
        gt.matmul(a, b, bias, activation)
    (problem,) = asked.choices  # with the alignment that the operands have
    assert problem.layout == layout and problem.op == op
    with followed_on_cpu([winner(problem, algorithm(2))]) as used:
        out = gt.matmul(a, b, bias, activation)
    assert on_host.calls("cublasLtMatmul") == 1, used.choices
    # the double rounds once, at the end
    expected = ops._composite(a.float(), b.float(), None if bias is None else bias.float(), activation or "none")
    torch.testing.assert_close(out, expected.to(dtype))


def test_the_second_call_is_run_without_python(
    stand_in_library: StandInLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, bias = torch.randn(8, 16), torch.randn(16, 24), torch.randn(24)
    problem = gt.GemmProblem(op="addmm", m=8, n=24, k=16, dtype="float32", epilogue="relu").replace(alignment=8)
    used = RecordsInUse([winner(problem, algorithm(3))], device_of=lambda ordinal: DEVICE)
    with hot_on_cpu() as hot:
        put_in_use(used)
        with used:
            first = gt.matmul(a, b, bias, "relu")
            assert hot.size == 1, used.choices
            monkeypatch.delattr(ready.Ready, "__call__")
            second = gt.matmul(a, b, bias, "relu")
    assert stand_in_library.calls("cublasLtMatmul") == 2
    torch.testing.assert_close(first, torch.relu(torch.addmm(bias, a, b)))
    assert torch.equal(first, second) and first.data_ptr() != second.data_ptr()


def test_an_algorithm_that_does_not_run_leaves_the_problem_with_aten(
    on_host: StandInLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = torch.randn(8, 16), torch.randn(16, 24)
    on_host.tell("algorithms=1")
    problem = gt.GemmProblem(m=8, n=24, k=16, dtype="float32", alignment=8)
    with followed_on_cpu([winner(problem, algorithm(2))]) as used:
        torch.testing.assert_close(gt.matmul(a, b), a @ b)
    assert on_host.calls("cublasLtMatmul") == 0 and used.choices[problem].config is None
    assert "stays with ATen: cuBLASLt 130100 does not run this algorithm" in caplog.text


def test_an_algorithm_says_nothing_of_other_problems(stand_in_library: StandInLibrary) -> None:
    known = [winner(PROBLEM, algorithm(1))]
    fused = Choices(known).choice_for(PROBLEM.replace(epilogue="relu"), DEVICE)
    assert fused.config is None and "for the product without an activation" in fused.why
    index = Index(known, kernels=current_kernels(known))
    near = PROBLEM.replace(m=200)
    assert index.look_up(PROBLEM, DEVICE) is not None and index.look_up(near, DEVICE) is None


def test_inductor_keeps_aten_or_its_own_best(stand_in_library: StandInLibrary) -> None:
    best = winner(PROBLEM, algorithm(1))
    plan = from_record(best, PROBLEM, DEVICE)
    assert plan.library and not plan.configs and "an algorithm of cuBLASLt's won" in plan.why
    for why_not_own in (None, "not offered"):
        (served,) = served_winners([best], why_not_own)
        assert served.choice is None and "an algorithm of cuBLASLt's won" in served.reason


def test_records_of_algorithms_are_kept_shown_and_exported(
    stand_in_library: StandInLibrary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = winner(PROBLEM, algorithm(3))
    assert Record.from_json(best.to_json()) == best
    assert best.to_dict()["choice"]["family"] == "cublaslt"
    with pytest.raises(gt.errors.RecordsError, match="does not go with choice"):
        winner(PROBLEM, algorithm(3), "aten::mm")
    with pytest.raises(gt.errors.RecordsError, match="does not go with choice"):
        winner(PROBLEM, None)
    path = path_of(tmp_path, best)
    assert main(["records", "show", str(path)]) == 0
    assert "cublaslt 3 tile 17 stages 7 split_k 3" in " ".join(capsys.readouterr().out.split())
    assert main(["records", "verify", str(path)]) == 0
    assert "library kernel won" in to_serving([best]).left[0].reason
    assert [[each["template_id"] for each in row] for row in to_lookup_table([best]).table.values()] == [["aten::mm"]]


def test_torchs_own_copy_is_found_without_importing_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMM_TUNER_LIBCUBLASLT", raising=False)
    (tmp_path / "torch").mkdir()
    monkeypatch.setattr(cublaslt, "_folder_of", lambda package: tmp_path / package)
    version = tmp_path / "torch" / "version.py"
    assert cublaslt.library_path() is None
    version.write_text("cuda: Optional[str] = None\n")
    assert cublaslt.library_path() is None and cublaslt.library_kernel() is None
    version.write_text("cuda: Optional[str] = '13.2'\n")
    assert cublaslt.library_path() == "libcublasLt.so.13"  # where the loader finds it
    shipped = tmp_path / "nvidia" / "cu13" / "lib" / "libcublasLt.so.13"
    shipped.parent.mkdir(parents=True)
    shipped.touch()
    assert cublaslt.library_path() == str(shipped)
    version.write_text("cuda = '12.8'\n")
    (tmp_path / "nvidia" / "cublas" / "lib").mkdir(parents=True)
    (tmp_path / "nvidia" / "cublas" / "lib" / "libcublasLt.so.12").touch()
    assert cublaslt.library_path() == str(tmp_path / "nvidia" / "cublas" / "lib" / "libcublasLt.so.12")
    monkeypatch.setenv("GEMM_TUNER_LIBCUBLASLT", "off")
    assert cublaslt.library_path() is None and not cublaslt.may_race(PROBLEM)


def test_a_library_that_is_not_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMM_TUNER_LIBCUBLASLT", "/nowhere/libcublasLt.so.13")
    assert cublaslt.library_kernel() is None
    with pytest.raises(gt.errors.LibraryError, match=r"/nowhere/libcublasLt\.so\.13 could not be opened"):
        gt._core.cublaslt_version("/nowhere/libcublasLt.so.13")
