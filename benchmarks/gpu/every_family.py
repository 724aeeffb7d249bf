"""Launches each kernel family on operands of odd sizes, in float16, float32, int8 and scaled float8, with a residual
and without one, and compares with float64.

    python benchmarks/gpu/every_family.py [--planted]

For memcheck.py, which runs it under compute-sanitizer. Every tensor has memory of its own there
(PYTORCH_NO_CUDA_MEMORY_CACHING=1), so that an access beyond one is beyond what was allocated. --planted instead has one
kernel read an A at an address that is nobody's: a checker that finds nothing then checks nothing. Exit codes: 0 done, 1
a result is wrong, 2 no GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, this sees its own folder only
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import gemm_tuner as gt
from gemm_tuner.errors import GemmTunerError
from gemm_tuner.in_use import in_use
from gpu.native import loaded
from gpu.op_calls import Call, assert_close, operands, problem_of
from gpu.op_cases import CONFIGS, Case, Variety, compile_ahead, each_family, naming

# odd sizes; rows that a copy engine can fetch, but no multiple of a tile; batches of both
VARIETIES = (
    Variety(77, 91, 131, has_bias=True, activation="silu"),
    Variety(72, 40, 136, has_bias=True, activation="gelu", has_residual=True),
    Variety(67, 45, 101, batch=2, has_residual=True),
    Variety(40, 56, 72, batch=3, lies="b_shared"),
)
INTEGERS = Variety(80, 48, 144, out="int32")
SCALED = Variety(80, 48, 144, has_bias=True, scaling="row", out="bfloat16")
PLANTED = Case("tiled", "float16", "nn", Variety(64, 64, 64))
NOBODYS = 16  # an address in the first page, which is never allocated


def cases() -> Iterator[Case]:
    """Each family with what it can have."""
    for variety in VARIETIES:
        yield from each_family("float16", "tn", variety)
        yield from each_family("float32", "nt", variety)
    yield from each_family("int8", "nn", INTEGERS)
    yield from each_family("float8_e4m3fn", "nt", SCALED)


def plant(spec: gt.DeviceSpec, device: str) -> None:
    """Has a kernel read A where there is none."""
    a, b, _ = operands(PLANTED, device)
    kernel = loaded(problem_of(a, b), CONFIGS["tiled"], a, b, spec).kernel
    c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype, device=device)
    addresses = {"a": NOBODYS, "b": b.data_ptr(), "c": c.data_ptr()}
    kernel(0, *(addresses[name] for name in kernel.operands))


def launch(spec: gt.DeviceSpec, device: str) -> list[str]:
    """What each case came to, in a sentence where it is not right."""
    calls = [Call.of(case, device) for case in cases()]
    compile_ahead([(call.problem, call.case.config) for call in calls], spec)
    wrong: list[str] = []
    for call in calls:
        case, problem, config = call.case, call.problem, call.case.config
        if gt.why_illegal(problem, config, spec) is not None:
            continue
        with gt.use_records(naming([problem], config, spec)):
            result = call.result()
            chosen = in_use().choices.get(problem)
        if chosen is None or chosen.config != config:
            wrong.append(f"{case}: {chosen.why if chosen else 'the op never met it'}")
            continue
        try:
            assert_close(result.cpu(), call.wanted(), problem, case)
        except AssertionError as error:
            wrong.append(str(error))
    return wrong


def main(arguments: Sequence[str] | None = None, *, device: str = "cuda") -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", action="store_true")
    given = parser.parse_args(arguments)
    try:
        spec = gt.device()
    except GemmTunerError as error:
        print(f"every_family.py: {error}", file=sys.stderr)
        return 2
    if given.planted:
        plant(spec, device)
        torch.cuda.synchronize()
        return 0
    wrong = launch(spec, device)
    print("\n".join(wrong) or f"{sum(1 for _ in cases())} products, each right or not for this GPU")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
