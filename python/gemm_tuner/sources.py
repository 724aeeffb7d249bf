"""Which device functions compute a problem under a config, and with which types, constants and promises.

Pure functions over values; triton is not needed to ask.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from ._core import GemmConfig, GemmProblem

FAMILIES = ("tiled", "split_k", "stream_k", "persistent", "persistent_tma")
REDUCTION_BLOCK_M = 8  # of split_k's second kernel: 4 warps read 8 rows of 512 bytes, 16 bytes a thread
REDUCTION_BLOCK_N = 128
REDUCTION_WARPS = 4

TRITON_TYPE = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "float8_e4m3fn": "fp8e4nv",
    "float8_e5m2": "fp8e5",
    "int8": "i8",
    "int32": "i32",
}
ELEMENT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float8_e4m3fn": 1, "float8_e5m2": 1, "int8": 1, "int32": 4}
_INT32_LIMIT = 2**31
_ACCUMULATOR_BYTES = 4  # of float32, and of int32
_WIDEST = 16  # bytes of one load, and the largest divisor that Triton makes use of

Constant = int | bool | str

_ENDING = "bias residual scale_a scale_b"  # parameters that families share
_STRIDES = "a_pitch b_pitch c_pitch a_batch_stride b_batch_stride c_batch_stride"


@dataclass(frozen=True)
class KernelSource:
    """One device function, specialised.

    signature: the launch parameters in order, each with its Triton type ("*fp16", "i32", "i64").
    constants: what is fixed at compile time. divisible_by: what the compiler may rely on, elements for integers and
    bytes for pointers.
    """

    module: str
    function: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Constant], ...]
    divisible_by: tuple[tuple[str, int], ...]
    num_warps: int
    num_stages: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> KernelSource:
        """The inverse of to_dict, also after JSON has made lists of tuples."""
        pairs = ("signature", "constants", "divisible_by")
        return KernelSource(**{**values, **{name: tuple((k, v) for k, v in values[name]) for name in pairs}})


@dataclass(frozen=True)
class TemplateSource:
    """A kernel that Inductor renders from a template of its own for the problem and config.

    The compile worker has it rendered, since that takes torch; here it is only named, by the torch that will.
    """

    problem: GemmProblem
    config: GemmConfig
    torch_version: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "problem": self.problem.to_dict(),
            "config": self.config.to_dict(),
            "torch_version": self.torch_version,
        }


def kernel_sources(problem: GemmProblem, config: GemmConfig) -> tuple[KernelSource, ...]:
    """The kernels to launch, in order: the product and, where the family leaves parts of tiles, their sum.

    Raises ValueError where no kernel of this package computes the problem (mm_plus_mm, or an int32 result with a GELU).
    """
    if only_inductor_has_it(problem):
        raise ValueError(f"no kernel of gemm_tuner computes {problem.op}; Inductor's template does")
    require_epilogue(problem)
    product = _product_constants(problem, config)
    ending = epilogue_constants(problem)
    summed = {**{name: product[name] for name in ("INDEX64", "ACCUMULATOR")}, **ending}

    def main(parameters: str, constants: dict[str, Constant]) -> KernelSource:
        launch = config.num_warps, config.num_stages
        return _specialise(problem, config.family, config.family, parameters, constants, launch)

    def second(function: str, parameters: str, constants: dict[str, Constant]) -> KernelSource:
        return _specialise(problem, config.family, function, parameters, {**constants, **summed}, (REDUCTION_WARPS, 1))

    match config.family:
        case "tiled":
            return (main(f"a b c {_ENDING} m n k {_STRIDES}", {**product, **ending}),)
        case "split_k":
            split: dict[str, Constant] = {"SPLIT_K": config.split_k}
            blocks: dict[str, Constant] = {"BLOCK_M": REDUCTION_BLOCK_M, "BLOCK_N": REDUCTION_BLOCK_N}
            return (
                main("a b parts m n k a_pitch b_pitch a_batch_stride b_batch_stride", {**product, **split}),
                second("add_parts", f"parts c {_ENDING} m n c_pitch c_batch_stride", {**blocks, **split}),
            )
        case "persistent" | "persistent_tma":
            if config.family == "persistent_tma":  # the copy engine needs no masks
                product = {name: value for name, value in product.items() if not name.startswith("EVEN")}
            return (main(f"a b c {_ENDING} m n k batch {_STRIDES}", {**product, **ending}),)
        case "stream_k":
            tile = {name: product[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M")}
            return (
                main(f"a b c parts {_ENDING} m n k batch {_STRIDES}", {**product, **ending}),
                second(
                    "end_tiles",
                    f"parts c {_ENDING} m n k batch c_pitch c_batch_stride",
                    {**tile, "ROWS": _rows_of_a_sum(config)},
                ),
            )


def grids(problem: GemmProblem, config: GemmConfig) -> tuple[tuple[int, int, int], ...]:
    """The launch grid of each kernel of `kernel_sources`, in CTAs."""
    tiles = -(-problem.m // config.block_m) * -(-problem.n // config.block_n)
    match config.family:
        case "tiled":
            return ((tiles, problem.batch, 1),)
        case "split_k":
            sums = -(-problem.m // REDUCTION_BLOCK_M) * -(-problem.n // REDUCTION_BLOCK_N)
            return ((tiles, problem.batch, config.split_k), (sums, problem.batch, 1))
        case "persistent" | "persistent_tma":
            return ((config.ctas, 1, 1),)
        case "stream_k":
            return ((config.ctas, 1, 1), (config.ctas, config.block_m // _rows_of_a_sum(config), 1))


def workspace_bytes(problem: GemmProblem, config: GemmConfig) -> int:
    """Of the operand `parts`, which the first kernel writes and the second reads; 0 where the family has none."""
    match config.family:
        case "split_k":
            return config.split_k * problem.batch * problem.m * problem.n * _ACCUMULATOR_BYTES
        case "stream_k":
            return config.ctas * 2 * config.block_m * config.block_n * _ACCUMULATOR_BYTES
        case _:
            return 0


def _rows_of_a_sum(config: GemmConfig) -> int:
    """Of a tile that stream_k cut, added up by one CTA: as many elements as a CTA of split_k's sum has."""
    return min(config.block_m, max(1, REDUCTION_BLOCK_M * REDUCTION_BLOCK_N // config.block_n))


def _index64(problem: GemmProblem) -> bool:
    return max(problem.m * problem.k, problem.k * problem.n, problem.m * problem.n) >= _INT32_LIMIT


def only_inductor_has_it(problem: GemmProblem) -> bool:
    """Is the problem one that a template of Inductor computes and no kernel of this package?"""
    return problem.op == "mm_plus_mm"


def kernel_id(family: str) -> str:
    """`gemm_tuner::tiled@0123456789ab`: the family and a hash of every source file that it is made of.

    The same on every machine (line ends do not count). Raises ValueError for a family that has no kernel.
    """
    return f"gemm_tuner::{family}@{source_hash(family)}"


@cache
def source_hash(family: str) -> str:
    """12 hexadecimal digits over the text of the family's kernel file and of every kernel file that it imports."""
    folder = resources.files(__package__) / "kernels"
    if not (folder / f"{family}.py").is_file():
        raise ValueError(f"no kernel family is called '{family}'; known are {', '.join(FAMILIES)}")
    texts: dict[str, str] = {}
    pending = [family]
    while pending:
        name = pending.pop()
        if name not in texts:
            texts[name] = (folder / f"{name}.py").read_text(encoding="utf-8")
            pending += _kernel_imports(texts[name])
    whole = "\0".join(f"{name}\0{texts[name]}" for name in sorted(texts))
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def _kernel_imports(text: str) -> list[str]:
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level == 1)
    return [node.module for node in nodes if node.module]


def _specialise(
    problem: GemmProblem,
    module: str,
    function: str,
    parameters: str,
    constants: dict[str, Constant],
    launch: tuple[int, int],
) -> KernelSource:
    types, divisors = _parameter_types(problem), _parameter_divisors(problem)
    names = parameters.split()
    return KernelSource(
        module=module,
        function=function,
        signature=tuple((name, types[name]) for name in names),
        constants=tuple(constants.items()),
        divisible_by=tuple((name, divisors[name]) for name in names if divisors[name] > 1),
        num_warps=launch[0],
        num_stages=launch[1],
    )


def accumulator_of(problem: GemmProblem) -> str:
    """The dtype that products are added up in."""
    return "int32" if problem.a_dtype == "int8" else "float32"


def finished_in(problem: GemmProblem) -> str:
    """The dtype that the epilogue computes in, before results are rounded to their own."""
    return "float32" if is_scaled(problem) else accumulator_of(problem)


def _parameter_types(problem: GemmProblem) -> dict[str, str]:
    accumulator = TRITON_TYPE[accumulator_of(problem)]
    pointers = {
        "a": TRITON_TYPE[problem.a_dtype],
        "b": TRITON_TYPE[problem.b_dtype],
        "c": TRITON_TYPE[problem.out_dtype],
        "bias": TRITON_TYPE[problem.out_dtype],
        "residual": TRITON_TYPE[problem.out_dtype],
        "parts": accumulator,
        "scale_a": "fp32",
        "scale_b": "fp32",
    }
    return {
        **{name: "*" + dtype for name, dtype in pointers.items()},
        **dict.fromkeys(("m", "n", "k", "batch", "a_pitch", "b_pitch", "c_pitch"), "i32"),
        **dict.fromkeys(("a_batch_stride", "b_batch_stride", "c_batch_stride"), "i64"),
    }


def _parameter_divisors(problem: GemmProblem) -> dict[str, int]:
    """Operands keep the problem's alignment at their start, from row to row and from matrix to matrix."""
    aligned = problem.alignment
    n = _power_of_two_in(problem.n)
    return {
        "a": min(_WIDEST, aligned * ELEMENT_BYTES[problem.a_dtype]),
        "b": min(_WIDEST, aligned * ELEMENT_BYTES[problem.b_dtype]),
        "c": min(_WIDEST, n * ELEMENT_BYTES[problem.out_dtype]),
        "bias": min(_WIDEST, n * ELEMENT_BYTES[problem.out_dtype]),
        "residual": min(_WIDEST, n * ELEMENT_BYTES[problem.out_dtype]),
        "parts": _WIDEST,
        "scale_a": 4,
        "scale_b": 4,
        "m": _power_of_two_in(problem.m),
        "n": n,
        "k": _power_of_two_in(problem.k),
        "batch": 1,
        **dict.fromkeys(("a_pitch", "b_pitch", "a_batch_stride", "b_batch_stride"), aligned),
        **dict.fromkeys(("c_pitch", "c_batch_stride"), n),
    }


def _power_of_two_in(size: int) -> int:
    return min(_WIDEST, size & -size)


def _product_constants(problem: GemmProblem, config: GemmConfig) -> dict[str, Constant]:
    a_transposed, b_transposed = (side == "t" for side in problem.layout)
    return {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "GROUP_M": config.group_m,
        "A_TRANSPOSED": a_transposed,
        "B_TRANSPOSED": b_transposed,
        "EVEN_M": problem.m % config.block_m == 0,
        "EVEN_N": problem.n % config.block_n == 0,
        "EVEN_K": problem.k % config.block_k == 0,
        "INDEX64": _index64(problem),
        "PRECISION": problem.precision if problem.a_dtype == "float32" else "ieee",
        "ACCUMULATOR": accumulator_of(problem),
    }


def epilogue_constants(problem: GemmProblem) -> dict[str, Constant]:
    """What `kernels/epilogue.py` is compiled for."""
    return {
        "SCALING": problem.scaling if is_scaled(problem) else "none",
        "BIAS": adds_bias(problem),
        "ACTIVATION": activation_of(problem),
        "RESIDUAL": adds_residual(problem),
    }


def activation_of(problem: GemmProblem) -> str:
    """relu, gelu, gelu_tanh, silu or none."""
    return next((word for word in problem.epilogue.split("+") if word not in ("bias", "residual")), "none")


def is_scaled(problem: GemmProblem) -> bool:
    """Do the operands come with a scale each?"""
    return problem.op == "scaled_mm"


def adds_bias(problem: GemmProblem) -> bool:
    """Is a row of n added to the product, as the op's addend or as its epilogue?"""
    return problem.op in ("addmm", "baddbmm") or "bias" in problem.epilogue


def adds_residual(problem: GemmProblem) -> bool:
    """Is something that lies as C does added to it last, behind the activation?"""
    return "residual" in problem.epilogue


def product_count(problem: GemmProblem) -> int:
    """Products that are added up before the epilogue."""
    return 2 if problem.op == "mm_plus_mm" else 1


def require_epilogue(problem: GemmProblem) -> None:
    """Raises ValueError where no kernel of this package ends a product as the problem asks."""
    activation = activation_of(problem)
    if finished_in(problem) == "int32" and activation not in ("none", "relu"):
        raise ValueError(f"an int8 product has an int32 result, which takes no {activation}; use none or relu")
