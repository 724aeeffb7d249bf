"""The native core: values that describe GEMMs and devices, the config space, the performance model, the driver.

Everything here is immutable and takes keyword arguments only; words ("float16", "nt", "split_k") cross as plain
strings. A wrong type raises TypeError, a value or word that makes no sense ValueError, naming the argument and what was
given.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, overload

from typing_extensions import Unpack

_DType: TypeAlias = Literal["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e5m2", "int8", "int32"]
_Layout: TypeAlias = Literal["nn", "nt", "tn", "tt"]
_Op: TypeAlias = Literal["mm", "addmm", "bmm", "baddbmm", "int_mm", "scaled_mm", "mm_plus_mm"]
_Precision: TypeAlias = Literal["tf32", "ieee"]
_Scaling: TypeAlias = Literal["tensor", "row"]
_Family: TypeAlias = Literal["tiled", "split_k", "stream_k", "persistent", "persistent_tma"]
_Epilogue: TypeAlias = Literal[
    "none",
    "bias",
    "relu",
    "gelu",
    "gelu_tanh",
    "silu",
    "bias+relu",
    "bias+gelu",
    "bias+gelu_tanh",
    "bias+silu",
]

# What the classes below have in common; at run time each has it for itself. Their `from_dict` takes what `to_dict`
# gave: fields left out have their defaults, and none follows from another.
class _Value:
    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as plain Python values except for nested values of this module."""

    def __getstate__(self) -> dict[str, Any]: ...
    def __setstate__(self, state: dict[str, Any], /) -> None: ...

class _ProblemOptions(TypedDict, total=False):
    op: str
    batch: int
    a_dtype: str
    b_dtype: str
    out_dtype: str
    precision: str
    scaling: str
    layout: str
    alignment: int
    epilogue: str

class _ProblemFields(_ProblemOptions, total=False):
    m: int
    n: int
    k: int

class GemmProblem(_Value):
    """What is to be computed: C[batch, m, n] = epilogue(A[batch, m, k] @ B[batch, k, n]).

    m, n, k: sizes, 1 to 2**31 - 1. batch: 1 by default; more for bmm and baddbmm only.
    op: mm (default), addmm, bmm, baddbmm, int_mm, scaled_mm, or mm_plus_mm: A1 @ B1 + A2 @ B2, both products of these
        sizes, dtypes, layout and alignment, so k is that of one of them.
    dtype: of both operands, float16 by default; or a_dtype and b_dtype. out_dtype: theirs by default, but int32 for
        int8 and bfloat16 for the float8 types.
    precision: ieee (default) or tf32, of float32 products only.
    scaling: of scaled_mm: tensor (default), one scale for each operand, or row, one for each row of A and column of B.
    layout: nn (default), nt, tn or tt: is A, then B, stored row-major as is (n) or transposed (t)?
    alignment: elements; the largest power of two up to 16 that divides the row pitch of both operands. What contiguous
        operands of these sizes have, by default.
    epilogue: none (default), bias, an activation, or both ("bias+relu").

    Raises TypeError, ValueError.
    """

    def __init__(
        self, *, m: int, n: int, k: int, dtype: str = "float16", **options: Unpack[_ProblemOptions]
    ) -> None: ...
    @property
    def op(self) -> _Op: ...
    @property
    def m(self) -> int: ...
    @property
    def n(self) -> int: ...
    @property
    def k(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def dtype(self) -> _DType:
        """That of A."""

    @property
    def a_dtype(self) -> _DType: ...
    @property
    def b_dtype(self) -> _DType: ...
    @property
    def out_dtype(self) -> _DType: ...
    @property
    def precision(self) -> _Precision: ...
    @property
    def scaling(self) -> _Scaling: ...
    @property
    def layout(self) -> _Layout: ...
    @property
    def alignment(self) -> int: ...
    @property
    def epilogue(self) -> _Epilogue: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> GemmProblem: ...
    def replace(self, **fields: Unpack[_ProblemFields]) -> GemmProblem:
        """The same problem with other values in those fields; no other field follows them."""

class _ConfigFields(TypedDict, total=False):
    family: str
    block_m: int
    block_n: int
    block_k: int
    num_warps: int
    num_stages: int
    group_m: int
    split_k: int
    ctas: int

class GemmConfig(_Value):
    """How it is computed: one point of the kernel config space.

    family: tiled, or split_k where split_k is more than 1 (default); stream_k, persistent, persistent_tma.
    block_m, block_n, block_k: elements of the tile that one CTA computes at a time; 64, 64, 32 by default.
    num_warps: of one CTA, 4 by default. num_stages: of the software pipeline, 3 by default.
    group_m: tiles along m that share a column of B before the next column is taken, 8 by default.
    split_k: CTAs that share one output tile, each with a part of k, 1 by default.
    ctas: of the whole grid, where the family deals tiles to a fixed number of CTAs (all other families), else 0.

    Raises TypeError, ValueError. Whether a device can run it is for `why_illegal` to say.
    """

    def __init__(self, **fields: Unpack[_ConfigFields]) -> None: ...
    @property
    def family(self) -> _Family: ...
    @property
    def block_m(self) -> int: ...
    @property
    def block_n(self) -> int: ...
    @property
    def block_k(self) -> int: ...
    @property
    def num_warps(self) -> int: ...
    @property
    def num_stages(self) -> int: ...
    @property
    def group_m(self) -> int: ...
    @property
    def split_k(self) -> int: ...
    @property
    def ctas(self) -> int: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> GemmConfig: ...
    def replace(self, **fields: Unpack[_ConfigFields]) -> GemmConfig:
        """The same config with other values in those fields; the family does not follow split_k."""

class _AlgorithmFields(TypedDict, total=False):
    words: str
    id: int
    tile: int
    stages: int
    split_k: int
    reduction: int
    swizzle: int
    custom_option: int
    workspace_bytes: int

class LibraryAlgorithm(_Value):
    """How the library computes it: one algorithm of cuBLASLt's, as that version of it describes it and no other.

    words: cublasLtMatmulAlgo_t, 64 bytes as hexadecimal digits, which alone say what runs. id, tile, stages, split_k,
    reduction, swizzle, custom_option: what the library says of it, as numbers of its own (cublasLt.h names them).
    workspace_bytes: that it needs for the problem that it was found for.

    Raises TypeError, ValueError.
    """

    def __init__(self, **fields: Unpack[_AlgorithmFields]) -> None: ...
    @property
    def words(self) -> str: ...
    @property
    def id(self) -> int: ...
    @property
    def tile(self) -> int: ...
    @property
    def stages(self) -> int: ...
    @property
    def split_k(self) -> int: ...
    @property
    def reduction(self) -> int: ...
    @property
    def swizzle(self) -> int: ...
    @property
    def custom_option(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> LibraryAlgorithm: ...
    def replace(self, **fields: Unpack[_AlgorithmFields]) -> LibraryAlgorithm:
        """The same algorithm with other values in those fields."""

_Candidate: TypeAlias = GemmConfig | LibraryAlgorithm

class _FmaFields(TypedDict, total=False):
    fp16: float
    bf16: float
    tf32: float
    fp8: float
    int8: float
    fp32: float

class FmaRates(_Value):
    """Fused multiply-adds per clock per SM, dense, accumulated in float32 (int32 for int8).

    fp16, bf16, tf32, fp8, int8: of the tensor cores, 0 (default) where they do not take the type.
    fp32: of the CUDA cores, IEEE.
    """

    def __init__(self, **fields: Unpack[_FmaFields]) -> None: ...
    @property
    def fp16(self) -> float: ...
    @property
    def bf16(self) -> float: ...
    @property
    def tf32(self) -> float: ...
    @property
    def fp8(self) -> float: ...
    @property
    def int8(self) -> float: ...
    @property
    def fp32(self) -> float: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> FmaRates: ...
    def replace(self, **fields: Unpack[_FmaFields]) -> FmaRates:
        """The same rates with others for those types."""

class _DeviceFields(TypedDict, total=False):
    name: str
    compute_capability: int
    sm_count: int
    available_sms: int
    clock_mhz: int
    sustained_fraction: float
    bandwidth_gbs: float
    l2_bytes: int
    smem_per_sm_bytes: int
    smem_per_block_optin_bytes: int
    registers_per_sm: int
    max_threads_per_sm: int
    max_ctas_per_sm: int
    fma: FmaRates
    driver_version: str
    uuid: str
    source: str
    estimated: Sequence[str]

class DeviceSpec(_Value):
    """What a GPU is, as far as a GEMM can tell.

    name: as the driver and torch report it. compute_capability: 86 for 8.6, 120 for 12.0.
    sm_count: SMs of the device or MIG slice. available_sms: those that a kernel launched now could use; all by default.
    clock_mhz: boost clock of the SMs. sustained_fraction: of the tensor-core peak at that clock, under the power limit.
    bandwidth_gbs: of DRAM, peak, in 1e9 bytes per second. l2_bytes: L2 that one kernel can use.
    smem_per_sm_bytes, smem_per_block_optin_bytes: shared memory of an SM, and what one CTA may ask for.
    registers_per_sm (32-bit), max_threads_per_sm, max_ctas_per_sm. fma: rates of one SM.
    driver_version, uuid: empty where no driver was asked. source: driver, catalogue or calibrated.
    estimated: names of the fields that follow a rule and no source.

    Raises TypeError, ValueError, the latter also where a field that a device must have is missing.
    """

    def __init__(self, **fields: Unpack[_DeviceFields]) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def compute_capability(self) -> int: ...
    @property
    def sm_count(self) -> int: ...
    @property
    def available_sms(self) -> int: ...
    @property
    def clock_mhz(self) -> int: ...
    @property
    def sustained_fraction(self) -> float: ...
    @property
    def bandwidth_gbs(self) -> float: ...
    @property
    def l2_bytes(self) -> int: ...
    @property
    def smem_per_sm_bytes(self) -> int: ...
    @property
    def smem_per_block_optin_bytes(self) -> int: ...
    @property
    def registers_per_sm(self) -> int: ...
    @property
    def max_threads_per_sm(self) -> int: ...
    @property
    def max_ctas_per_sm(self) -> int: ...
    @property
    def fma(self) -> FmaRates: ...
    @property
    def driver_version(self) -> str: ...
    @property
    def uuid(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def estimated(self) -> list[str]: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> DeviceSpec: ...
    def replace(self, **fields: Unpack[_DeviceFields]) -> DeviceSpec:
        """The same device with other values in those fields; available_sms does not follow sm_count."""

    def with_available_sms(self, sms: int) -> DeviceSpec:
        """The same device with at most `sms` SMs available to a kernel. Raises ValueError where sms < 1."""

class _ResourceFields(TypedDict, total=False):
    registers_per_thread: int
    spill_bytes: int
    smem_bytes: int
    tensor_core_instructions: int

class KernelResources(_Value):
    """What a compiled kernel needs, from the compiler, or estimated before it has run. All 0 by default.

    registers_per_thread (32-bit); spill_bytes: local memory of one thread; smem_bytes: shared memory of one CTA.
    tensor_core_instructions: in the machine code; 0 where the products run on the CUDA cores.
    """

    def __init__(self, **fields: Unpack[_ResourceFields]) -> None: ...
    @property
    def registers_per_thread(self) -> int: ...
    @property
    def spill_bytes(self) -> int: ...
    @property
    def smem_bytes(self) -> int: ...
    @property
    def tensor_core_instructions(self) -> int: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> KernelResources: ...
    def replace(self, **fields: Unpack[_ResourceFields]) -> KernelResources:
        """The same resources with other values in those fields."""

class _PredictionFields(TypedDict, total=False):
    config: GemmConfig
    resources: KernelResources
    latency_us: float
    launch_us: float
    prologue_epilogue_us: float
    main_loop_us: float
    reduction_us: float
    tensor_bound_us: float
    smem_bound_us: float
    l2_bound_us: float
    dram_bound_us: float
    latency_bound_us: float
    dram_bytes: float
    ctas: int
    waves: float
    ctas_per_sm: int
    sm_utilization: float

class Prediction(_Value):
    """A predicted latency in microseconds, and what it is made of. Nothing here was measured.

    latency_us = launch_us + prologue_epilogue_us + main_loop_us + reduction_us (split-K only: adding up the parts).
    tensor_bound_us, smem_bound_us, l2_bound_us, dram_bound_us, latency_bound_us: what the main loop would take if only
        that resource limited it. dram_bytes: moved to and from DRAM.
    ctas; ctas_per_sm: resident together; waves: CTAs over what the available SMs hold at once.
    sm_utilization: CTAs over what the SMs could have run in that time, 1 where all get an equal share.
    config, resources: what was predicted, and for which resources.
    """

    def __init__(self, **fields: Unpack[_PredictionFields]) -> None: ...
    @property
    def config(self) -> GemmConfig: ...
    @property
    def resources(self) -> KernelResources: ...
    @property
    def latency_us(self) -> float: ...
    @property
    def launch_us(self) -> float: ...
    @property
    def prologue_epilogue_us(self) -> float: ...
    @property
    def main_loop_us(self) -> float: ...
    @property
    def reduction_us(self) -> float: ...
    @property
    def tensor_bound_us(self) -> float: ...
    @property
    def smem_bound_us(self) -> float: ...
    @property
    def l2_bound_us(self) -> float: ...
    @property
    def dram_bound_us(self) -> float: ...
    @property
    def latency_bound_us(self) -> float: ...
    @property
    def dram_bytes(self) -> float: ...
    @property
    def ctas(self) -> int: ...
    @property
    def waves(self) -> float: ...
    @property
    def ctas_per_sm(self) -> int: ...
    @property
    def sm_utilization(self) -> float: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> Prediction: ...
    def replace(self, **fields: Unpack[_PredictionFields]) -> Prediction:
        """The same prediction with other values in those fields; no term follows another."""

class _ConstantFields(TypedDict, total=False):
    launch_us: float
    memory_latency_clk: float
    l2_bytes_per_clk_per_sm: float
    l2_hit_fraction: float
    dram_efficiency: float
    smem_bytes_per_clk: float
    tensor_efficiency: float
    warpgroup_gain: float
    mma_per_sm_in_flight: float
    iteration_clk: float
    load_issue_clk: float
    cta_clk: float
    store_bytes_per_clk_per_sm: float
    overlap: float
    short_row_bytes: float
    narrow_load_clk: float
    exposed: float
    contention: float
    library_contention: float
    library_overhead: float
    library_edge: float
    library_narrow: float

class ModelConstants(_Value):
    """The numbers of the performance model that no device reports; csrc/model/constants.hpp gives each one's source.

    The defaults are what every prediction uses; others are for fitting and for experiments.
    """

    def __init__(self, **fields: Unpack[_ConstantFields]) -> None: ...
    @property
    def launch_us(self) -> float: ...
    @property
    def memory_latency_clk(self) -> float: ...
    @property
    def l2_bytes_per_clk_per_sm(self) -> float: ...
    @property
    def l2_hit_fraction(self) -> float: ...
    @property
    def dram_efficiency(self) -> float: ...
    @property
    def smem_bytes_per_clk(self) -> float: ...
    @property
    def tensor_efficiency(self) -> float: ...
    @property
    def warpgroup_gain(self) -> float: ...
    @property
    def mma_per_sm_in_flight(self) -> float: ...
    @property
    def iteration_clk(self) -> float: ...
    @property
    def load_issue_clk(self) -> float: ...
    @property
    def cta_clk(self) -> float: ...
    @property
    def store_bytes_per_clk_per_sm(self) -> float: ...
    @property
    def overlap(self) -> float: ...
    @property
    def short_row_bytes(self) -> float: ...
    @property
    def narrow_load_clk(self) -> float: ...
    @property
    def exposed(self) -> float: ...
    @property
    def contention(self) -> float: ...
    @property
    def library_contention(self) -> float: ...
    @property
    def library_overhead(self) -> float: ...
    @property
    def library_edge(self) -> float: ...
    @property
    def library_narrow(self) -> float: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> ModelConstants: ...
    def replace(self, **fields: Unpack[_ConstantFields]) -> ModelConstants:
        """The same constants with other values in those fields."""

def space(problem: GemmProblem, device: DeviceSpec) -> list[GemmConfig]:
    """Legal candidates that the problem's size and the available SMs leave standing, in a fixed order.

    Empty only for a dtype that the device does not support, and for mm_plus_mm with a k that no block_k is below.
    """

def why_illegal(problem: GemmProblem, config: GemmConfig, device: DeviceSpec) -> str | None:
    """A sentence with the numbers that keep the config from running; None where it is legal."""

def predict(
    problem: GemmProblem,
    config: GemmConfig,
    device: DeviceSpec,
    resources: KernelResources | None = None,
    constants: ModelConstants = ...,
) -> Prediction:
    """How long the config would take on that device, and why. Pure arithmetic; docs/model.md explains it.

    resources: what the compiler said, where it has run; estimated otherwise. Raises ValueError where not even one CTA
    fits on an SM.
    """

def family_variants(problem: GemmProblem, config: GemmConfig, device: DeviceSpec) -> list[GemmConfig]:
    """The tiled config's variants of other families that run a fixed grid, of as many CTAs as are resident at once.

    Legal ones, where there is something to gain: stream_k where the tiles leave a good part of the last round idle,
    persistent and persistent_tma where there is more than one round.
    """

def rank(
    problem: GemmProblem, device: DeviceSpec, top_k: int = 8, configs: Sequence[GemmConfig] | None = None
) -> list[Prediction]:
    """The `top_k` best predictions, best first; the same input gives the same order.

    configs: the candidates, the illegal among them left out; `space(problem, device)` by default. Raises ValueError
    where top_k < 1.
    """

def predict_library(problem: GemmProblem, device: DeviceSpec, constants: ModelConstants = ...) -> float:
    """A rough prediction of ATen's (cuBLAS's) latency in microseconds: the best of a fixed menu of its tiles.

    For mm_plus_mm two products, the second adding to the C that it reads: ATen has no kernel of its own for it.
    """

def estimate_resources(problem: GemmProblem, config: GemmConfig, compute_capability: int) -> KernelResources:
    """Resources as far as they can be told without compiling; tensor_core_instructions is 0 or 1, none or some."""

def predicted_smem_bytes(problem: GemmProblem, config: GemmConfig, compute_capability: int) -> int:
    """Shared memory of one CTA as Triton would lay it out, in bytes."""

def tensor_core_rate(problem: GemmProblem, device: DeviceSpec) -> float:
    """Multiply-adds per clock of one SM's tensor cores for this problem; 0 where they do not take its dtype."""

def has_tensor_core_path(problem: GemmProblem, device: DeviceSpec) -> bool:
    """True where the device has tensor cores for the problem's dtype and Triton emits code for them."""

def latencies_us(
    problems: Sequence[GemmProblem],
    configs: Sequence[GemmConfig],
    device: DeviceSpec,
    constants: ModelConstants = ...,
) -> list[float]:
    """One predicted latency per (problem, config) pair, in microseconds; infinite where the config does not fit.

    For fitting and scoring. Raises ValueError where the two lengths differ.
    """

class _ArchitectureFacts(TypedDict):
    smem_per_sm_bytes: int
    smem_per_block_optin_bytes: int
    max_threads_per_sm: int
    max_ctas_per_sm: int
    fma: FmaRates

def architecture(compute_capability: int, halved: bool = False) -> _ArchitectureFacts:
    """What NVIDIA's documents say of every device of that compute capability (86 for 8.6).

    halved: the rates of parts, GeForce and a few more, whose float32 accumulation runs at half the rate. Raises
    ValueError, which names the known ones, where this is none of them.
    """

def device_count(library: str | None = None) -> int:
    """GPUs that the driver shows this process; 0 without a driver. Raises DriverError where it does not start.

    library, here and below: the driver library to open instead of libcuda.so.1.
    """

def query_device(
    ordinal: int | None = None,
    *,
    sm_carveout: int | None = None,
    sm_budget: int | None = None,
    mps_percentage: float | None = None,
    library: str | None = None,
) -> DeviceSpec:
    """The device of that number; without one, that of the current CUDA context, else the first. Creates no context.

    sm_carveout: SMs left to other kernels. sm_budget: SMs that the caller allows. mps_percentage: of the SMs, above 0
    and up to 100. Raises NoDeviceError, DriverError, ValueError for a limit that makes no sense.
    """

def available_sms(
    ordinal: int | None = None,
    *,
    sm_carveout: int | None = None,
    sm_budget: int | None = None,
    mps_percentage: float | None = None,
    library: str | None = None,
) -> tuple[int, str]:
    """SMs that a kernel launched now could use, and which limit decided. Takes and raises what `query_device` does."""

def count_reachable_sms(ordinal: int | None = None, *, library: str | None = None) -> int:
    """Launches a kernel that fills the GPU and counts the distinct SMs that it ran on.

    Raises NoDeviceError, DriverError, and NotBuiltError where this build has no CUDA probes, or none for that GPU.
    """

def calibrate(
    asked: DeviceSpec, ordinal: int | None = None, *, library: str | None = None
) -> tuple[DeviceSpec, dict[str, tuple[float, float]]]:
    """The device as our own kernels measure it, and the figures behind it, with their units in their names.

    asked: what is known of it so far; its available SMs are what is measured. A figure is the median of the runs and
    their spread: their robust standard deviation, relative to it. docs/devices.md says what each is. Takes about two
    seconds. Raises NoDeviceError, DriverError, NotBuiltError where this build has no CUDA probes or none for that GPU,
    CalibrationError where figures cannot be, or vary too much.
    """

class _BuildFacts(TypedDict):
    compiler: str
    type: str
    nvcc: str
    has_cuda_probes: bool
    missing: str

def build() -> _BuildFacts:
    """How this extension was built; `missing` says what a build without CUDA probes lacked, and is empty otherwise."""

_Decision: TypeAlias = Literal["undecided", "confidence", "margin", "budget", "failure"]
_State: TypeAlias = Literal["racing", "beaten", "failed"]

class _RaceOptionFields(TypedDict, total=False):
    margin: float
    tolerance: float
    deviations: float
    repeats: int
    max_rounds: int
    leaders: int
    max_variants: int
    budget_repeats: int
    budget_s: float
    seed: int

class RaceOptions(_Value):
    """How a race decides and what it may cost.

    margin: share by which a candidate must beat the library to replace it, beyond the noise; 0.02 by default.
    tolerance: who is surely not quicker than the leader by more than this share is dropped; 0.005.
    deviations: standard errors that a difference must exceed to count; 2.
    repeats: of each choice in a round; 3. max_rounds: of each stage; 24.
    leaders: candidates whose group_m and split_k variants are raced in the second stage; 2, of each at most
        max_variants; 3.
    budget_repeats: of all choices together; 250. budget_s: by the seconds told to `ask`; none by default.
    seed: of the order within a round, and of what is drawn at random; 0.

    Raises TypeError, ValueError.
    """

    def __init__(self, **fields: Unpack[_RaceOptionFields]) -> None: ...
    @property
    def margin(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def deviations(self) -> float: ...
    @property
    def repeats(self) -> int: ...
    @property
    def max_rounds(self) -> int: ...
    @property
    def leaders(self) -> int: ...
    @property
    def max_variants(self) -> int: ...
    @property
    def budget_repeats(self) -> int: ...
    @property
    def budget_s(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> RaceOptions: ...
    def replace(self, **fields: Unpack[_RaceOptionFields]) -> RaceOptions:
        """The same options with other values in those fields."""

class _StandingFields(TypedDict, total=False):
    choice: _Candidate | None
    state: str
    latency_us: float | None
    spread: float
    repeats: int

class Standing(_Value):
    """What became of one choice in a race; `choice` is None for the library.

    state: racing (to the end), beaten or failed. latency_us: median of its repeats; None where it has none. spread:
    their relative standard deviation, as the median absolute deviation tells it.
    """

    def __init__(self, **fields: Unpack[_StandingFields]) -> None: ...
    @property
    def choice(self) -> _Candidate | None: ...
    @property
    def state(self) -> _State: ...
    @property
    def latency_us(self) -> float | None: ...
    @property
    def spread(self) -> float: ...
    @property
    def repeats(self) -> int: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> Standing: ...
    def replace(self, **fields: Unpack[_StandingFields]) -> Standing:
        """The same standing with other values in those fields."""

class _VerdictFields(TypedDict, total=False):
    winner: _Candidate | None
    latency_us: float | None
    spread: float
    library_us: float | None
    rounds: int
    repeats: int
    decided_by: str
    standings: list[Standing]

class Verdict(_Value):
    """Who won and how sure that is; `winner` is None for the library.

    latency_us, spread: the winner's, as in Standing. library_us: the library's median; None where it has no time.
    rounds: of all stages. repeats: told, of all choices together.
    decided_by: confidence (all others are slower, or quicker by less than the tolerance), margin (no candidate beats
        the library by the margin), budget (rounds, repeats or seconds ran out), failure (no candidate ran), undecided.
    standings: quickest first, then those without a time.
    """

    def __init__(self, **fields: Unpack[_VerdictFields]) -> None: ...
    @property
    def winner(self) -> _Candidate | None: ...
    @property
    def latency_us(self) -> float | None: ...
    @property
    def spread(self) -> float: ...
    @property
    def library_us(self) -> float | None: ...
    @property
    def rounds(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def decided_by(self) -> _Decision: ...
    @property
    def standings(self) -> list[Standing]: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> Verdict: ...
    def replace(self, **fields: Unpack[_VerdictFields]) -> Verdict:
        """The same verdict with other values in those fields."""

class Strategy:
    """How repeats are spent on candidates: it asks, the caller has kernels timed and tells. No clock, no I/O, no GPU.

    Every subclass takes the candidates best first, each once; of more than `options.budget_repeats` has room for, the
    first are taken. The library, written None, is always a contestant too. The same times give the same answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Raises TypeError: a subclass says what to ask for."""

    def ask(self, elapsed_s: float = 0.0) -> list[tuple[_Candidate | None, int]]:
        """The next round, in random order: what to time, and how many repeats of each; empty once all is decided.

        elapsed_s: seconds since the start by the caller's clock, held against `options.budget_s`. Raises ValueError
        where a choice of the round before was neither told nor failed.
        """

    def tell(self, choice: _Candidate | None, latencies_us: Sequence[float]) -> None:
        """The times of one choice of this round, in microseconds, at least one; fewer repeats than asked are fine.

        Raises ValueError for a choice that was not asked for, and for a time that is not above 0 and finite.
        """

    def fail(self, choice: _Candidate | None) -> None:
        """Takes the choice out: it does not run, or gives wrong numbers. At any time; after the race, ask again.

        Raises ValueError where it is none of the contestants.
        """

    def verdict(self) -> Verdict:
        """The answer as things stand, at any time."""

class Race(Strategy):
    """The racing tuner: rounds in which all who are left are timed, the slower dropped between them.

    space: where the second stage takes variants of the leaders from (group_m and split_k), best first; no second stage
    without it. They come up in `ask` like the candidates. docs/tuning.md tells how it decides.
    algorithms: of the library's, which race beside the candidates and have no variants.
    """

    def __init__(
        self,
        candidates: Sequence[GemmConfig],
        options: RaceOptions = ...,
        space: Sequence[GemmConfig] = ...,
        algorithms: Sequence[LibraryAlgorithm] = ...,
    ) -> None: ...

class BlindRace(Strategy):
    """For comparison: a race of candidates drawn at random, as many as half of the budget of repeats can time once."""

    def __init__(self, candidates: Sequence[GemmConfig], options: RaceOptions = ...) -> None: ...

class Exhaustive(Strategy):
    """For comparison: each candidate gets `options.repeats` repeats, once; the margin is plain, without the noise."""

    def __init__(self, candidates: Sequence[GemmConfig], options: RaceOptions = ...) -> None: ...

class RandomSearch(Strategy):
    """For comparison: one candidate after the other in random order, `options.repeats` each, as the budget lasts."""

    def __init__(self, candidates: Sequence[GemmConfig], options: RaceOptions = ...) -> None: ...

class _OperandFields(TypedDict, total=False):
    name: str
    bytes: int
    fill: str
    shared: bool

class Operand(_Value):
    """What a timed kernel reads or writes.

    bytes: its size. fill: a dtype, for random numbers of it (the same for the same seed and name: in [-1, 1] with a
    bell curve's shape, integers in [-8, 8]), zeros (default), ones_f32, or poison: all bits set, NaN in every float
    type.
    shared: there is one for all operand sets; so for what only a check reads, or a kernel writes before it reads it.
    """

    def __init__(self, **fields: Unpack[_OperandFields]) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def fill(self) -> str: ...
    @property
    def shared(self) -> bool: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> Operand: ...
    def replace(self, **fields: Unpack[_OperandFields]) -> Operand:
        """The same operand with other values in those fields."""

class _ClockFields(TypedDict, total=False):
    sm_mhz: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None

class Clocks(_Value):
    """What the GPU did at one moment, as NVML says; a field is None where that GPU does not tell."""

    def __init__(self, **fields: Unpack[_ClockFields]) -> None: ...
    @property
    def sm_mhz(self) -> int | None: ...
    @property
    def memory_mhz(self) -> int | None: ...
    @property
    def temperature_c(self) -> int | None: ...
    @property
    def power_w(self) -> float | None: ...
    @staticmethod
    def from_dict(fields: dict[str, Any], /) -> Clocks: ...
    def replace(self, **fields: Unpack[_ClockFields]) -> Clocks:
        """The same with other values in those fields."""

_Argument: TypeAlias = str | tuple[str, int] | None  # "i32" or "i64", and the value

class Launch:
    """A compiled kernel, and how it is to be launched.

    cubin: what the compiler wrote. entry: the kernel in it. grid: CTAs along x, y, z. smem_bytes: dynamic, of a CTA.
    arguments: all that the kernel takes, in order: the name of an operand for its address, ("i32", value),
        ("i64", value), or None for a null pointer. Triton's kernels take two more pointers than their source says, for
        scratch memory, at the end: None, None.
    global_scratch_bytes: of each CTA, as the compiler says; the last argument but one becomes the address of
        that much.
    """

    def __init__(
        self,
        *,
        cubin: bytes,
        entry: str,
        grid: tuple[int, int, int],
        arguments: Sequence[_Argument],
        num_warps: int = 4,
        smem_bytes: int = 0,
        global_scratch_bytes: int = 0,
    ) -> None: ...
    @property
    def entry(self) -> str: ...
    @property
    def grid(self) -> list[int]: ...
    @property
    def num_warps(self) -> int: ...
    @property
    def smem_bytes(self) -> int: ...

class LoadedKernel:
    """Launches that a GPU is ready for, made by `Launcher.load`; any thread may launch them, on any stream.

    operands: names of the operands whose addresses it takes, in order. One called "global_scratch" is memory that the
        compiler asked for, of `scratch_bytes`; nothing needs to be in it.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Raises TypeError: `Launcher.load` makes it."""

    @property
    def operands(self) -> tuple[str, ...]: ...
    @property
    def scratch_bytes(self) -> int: ...
    def __call__(self, stream: int, *operands: int) -> None:
        """Puts the launches on the stream, in order, on the operands at these addresses, and does not wait.

        Needs no current context: where none of this GPU is, its primary one is for the call. Raises ValueError for
        another number of addresses than operands, DriverError where the driver refuses a launch.
        """

class Launcher:
    """Loads kernels on a GPU, in its primary context: each cubin once, until the Launcher and its kernels are gone.

    A CUDA graph that captured a launch needs its kernel to stay: keep the Launcher while such a graph may run. Its
    length is the number of functions loaded.

    library: the library to open instead of libcuda.so.1. ordinal: which GPU. Raises NoDeviceError, DriverError.
    """

    def __init__(self, library: str | None = None, ordinal: int = 0) -> None: ...
    def __len__(self) -> int: ...
    def load(self, launches: Sequence[Launch]) -> LoadedKernel:
        """Loads launches as one piece of work, in order. Thread-safe.

        Raises ValueError where a launch makes no sense, or gives other parameters than its kernel takes, as far as the
        driver can tell (CUDA 12.4); DriverError where the driver refuses it.
        """

class LibraryKernel:
    """An algorithm of cuBLASLt's that a GPU is ready for, made by `LibraryProduct.load`; any thread may launch it.

    operands: names of the operands whose addresses it takes, in order; "parts" is memory of `workspace_bytes`, and
        nothing needs to be in it.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Raises TypeError: `LibraryProduct.load` makes it."""

    @property
    def operands(self) -> tuple[str, ...]: ...
    @property
    def workspace_bytes(self) -> int: ...
    def __call__(self, stream: int, *operands: int) -> None:
        """Puts the product on the stream, on the operands at these addresses, in the order of `operands`.

        Raises ValueError for another number of addresses, LibraryError where the library fails.
        """

class LibraryProduct:
    """A problem as cuBLASLt is told of it, made by `CublasLt.product`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Raises TypeError: `CublasLt.product` makes it."""

    def algorithms(self, *, workspace_bytes: int, count: int) -> list[LibraryAlgorithm]:
        """What the library's heuristic has, best predicted first, at most so many; none where it has nothing.

        workspace_bytes: that an algorithm may need at most. Raises LibraryError where the library fails.
        """

    def load(self, algorithm: LibraryAlgorithm) -> LibraryKernel:
        """Makes the GPU ready for it. Raises ValueError where this library does not run it for the problem."""

class CublasLt:
    """cuBLASLt on one GPU, in its primary context. Any thread may use it.

    path: of libcublasLt, as dlopen takes it. ordinal: which GPU. library: to open instead of libcuda.so.1.
    version: 130100 for cuBLAS 13.1.0.

    Raises LibraryError where it cannot be opened or started, NoDeviceError, DriverError.
    """

    def __init__(self, path: str, *, ordinal: int = 0, library: str | None = None) -> None: ...
    @property
    def version(self) -> int: ...
    def product(self, problem: GemmProblem, strides: tuple[int, int, int, int], *, sm_count: int = 0) -> LibraryProduct:
        """The problem, described for operands that lie so far apart, in elements: from row to row as stored in A and
        in B, then from matrix to matrix in A and in B. C is contiguous. sm_count: SMs to plan for, 0 for all.

        Raises ValueError as `why_library_lacks` says, LibraryError where the library fails.
        """

def cublaslt_version(path: str) -> int:
    """The version of that libcublasLt, 130100 for cuBLAS 13.1.0. Needs no GPU. Raises LibraryError."""

def why_library_lacks(problem: GemmProblem) -> str | None:
    """Why one call of cuBLASLt cannot compute the problem, in a sentence; None where it may."""

_MadeOperand: TypeAlias = tuple[Sequence[int], str]  # sizes, and torch's name of the dtype: "float16", "uint8"

class NativeOp:
    """Implements an operator of torch that launches kernels without touching Python.

    The operator must be defined before, and give back an optional tensor: None where no answer to such a call is known.
    A call is known by its arguments' sizes, strides, dtypes, devices, alignment up to 16 bytes, integers and texts.
    Launches go to torch's current stream of the arguments' GPU. Any thread may call, and give answers, at any time.

    namespace, name: of the operator. key: torch's dispatch key to implement it for, "CUDA". arguments: a letter for
    each: T a tensor, t an optional one, i an int or bool, s a str; up to 8. libtorch_cpu, libtorch_cuda: the paths of
    torch's own libraries, which must be loaded; no second one where torch has no CUDA.

    Raises ValueError for other letters, RuntimeError where torch is not loaded, is older than 2.11 or refuses, and for
    the ninth NativeOp at a time. Its length is the number of answers known.
    """

    def __init__(
        self,
        *,
        namespace: str,
        name: str,
        key: str,
        arguments: str,
        libtorch_cpu: str,
        libtorch_cuda: str | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...
    def missed(self) -> list[int] | None:
        """The key of this thread's last call, where it got None for want of an answer; else None."""

    def launch(
        self,
        key: Sequence[int],
        kernel: LoadedKernel | LibraryKernel,
        *,
        operands: dict[str, int | _MadeOperand],
        result: str,
    ) -> None:
        """From now on calls of that key launch the kernel, and give back the operand called `result`.

        operands: for each operand of the kernel the place of a tensor argument, or (sizes, dtype) of a row-major tensor
        that torch makes for every call, as the result is. Raises ValueError where one is missing or is no tensor.
        """

    def hand_on(self, key: Sequence[int], to: str, arguments: Sequence[int]) -> None:
        """From now on calls of that key call the operator `to` ("aten::mm") with the tensors at these places instead.

        Raises ValueError where one is no tensor or is there twice.
        """

    def leave(self, key: Sequence[int]) -> None:
        """From now on calls of that key get None, and `missed` says nothing of them: there is nothing to launch."""

    def clear(self) -> None:
        """Forgets every answer. Kernels stay loaded for as long as their Launcher is there."""

class Timer:
    """Runs compiled kernels on a GPU and times them with events.

    It works in the GPU's primary context, as torch does, on a stream of its own, and on the thread that made it
    (RuntimeError on another). Every method that reaches the driver raises DriverError, whose `code` names what it
    refused or what a kernel broke; after an illegal address or the like the GPU answers this process no more.

    ordinal: which GPU. sm_count: how many of its SMs the kernels may use, through a CUDA green context; 0 for all.
    library, nvml: the libraries to open instead of libcuda.so.1 and libnvidia-ml.so.1.

    Raises NoDeviceError, DriverError (also where a part of the SMs is asked for of a driver older than CUDA 12.5), and
    ValueError for more SMs than there are.
    """

    def __init__(
        self, ordinal: int = 0, *, sm_count: int = 0, library: str | None = None, nvml: str | None = None
    ) -> None: ...
    @property
    def sm_count(self) -> int:
        """SMs that the kernels may use: what the driver could partition, so perhaps more than asked for."""

    @property
    def l2_bytes(self) -> int:
        """L2 of the GPU; 0 where the driver does not say."""

    @property
    def stream(self) -> int:
        """The handle of the stream, for torch.cuda.ExternalStream."""

    def allocate(self, operands: Sequence[Operand], *, seed: int = 0) -> int:
        """Allocates and fills whole sets of the operands, the same numbers in each, and gives the number of sets.

        So many that all together are more than twice the L2, at least two: launches take them in turn, and find nothing
        of the next one in L2. Fewer where the memory ends. Earlier operands, and what was loaded or added, are gone.
        Raises ValueError.
        """

    def address(self, name: str, operand_set: int = 0) -> int:
        """Where the operand lies, a multiple of 256 bytes. Raises ValueError."""

    def fill(self, name: str, fill: str, operand_set: int = 0) -> None:
        """Fills one operand anew: with the same random numbers as before, where it is the same fill."""

    def read(self, name: str, operand_set: int = 0) -> bytes:
        """What the operand holds."""

    def load(self, launches: Sequence[Launch]) -> int:
        """Loads launches, in order, as one piece of work, and gives its handle.

        Raises ValueError where a launch makes no sense, names an operand that is not there, or gives other parameters
        than the kernel takes, as far as the driver can tell (CUDA 12.4).
        """

    def add(self, enqueue: Callable[[int], object]) -> int:
        """The same for work that a function puts on `stream`, given the number of the operand set."""

    def unload(self, handle: int) -> None:
        """Forgets it."""

    def run(self, handle: int, operand_set: int = 0) -> None:
        """Does it once, and waits until it is done."""

    @overload
    def time(self, handle: int, repeats: int = 1, launches: int | None = None) -> list[float]:
        """Microseconds that it takes, one number per repeat, after a warm-up the first time.

        launches: how often it is done between two events, each time on the next operand set; the number is that of one.
        By default so often that 20 microseconds lie between the events, which is found the first time and kept.
        """

    @overload
    def time(self, enqueue: Callable[[int], object], repeats: int = 1, launches: int | None = None) -> list[float]:
        """The same for a function that is timed once; one that is timed again is better added."""

    def clocks(self) -> Clocks | None:
        """Clocks, temperature and power now; None where there is no NVML or it does not answer."""
