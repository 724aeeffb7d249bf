"""Everything of torch that is not public, for torch 2.11 to 2.15. No other file touches it.

`benchmarks/inductor_api.py` checks `PRIVATE_NAMES` against the sources of each release.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types Inductor only in part)
from __future__ import annotations

import functools
import importlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy
import torch
from torch._inductor import compile_fx as _compile_fx
from torch._inductor import config, ir, list_mode_options, select_algorithm, utils
from torch._inductor.choices import InductorChoices
from torch._inductor.fx_passes import pad_mm
from torch._inductor.kernel.bmm import bmm_template
from torch._inductor.kernel.mm import mm_template
from torch._inductor.kernel.mm_plus_mm import mm_plus_mm_template
from torch._inductor.kernel_inputs import MMKernelInputs
from torch._inductor.kernel_template_choice import KernelTemplateChoice
from torch._inductor.virtualized import V
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy.functions import Mod

from .._core import GemmConfig, GemmProblem
from ..operand import Operand, product_of
from ..recorder import dtype_word, precision_of

if TYPE_CHECKING:
    from torch._inductor.ir import ChoiceCaller

PRIVATE_NAMES = (
    "torch._inductor:list_mode_options",
    "torch._inductor.choices:InductorChoices._finalize_template_configs",
    "torch._inductor.choices:InductorChoices.can_fuse",
    "torch._inductor.compile_fx:compile_fx",
    "torch._inductor.config:force_shape_pad",
    "torch._inductor.config:max_autotune",
    "torch._inductor.config:max_autotune_gemm",
    "torch._inductor.config:max_autotune_gemm_backends",
    "torch._inductor.config:patch",
    "torch._inductor.fx_passes.pad_mm:_should_pad",
    "torch._inductor.fx_passes.pad_mm:get_alignment_size",
    "torch._inductor.fx_passes.pad_mm:get_padded_length",
    "torch._inductor.ir:TritonTemplateCallerBase",
    "torch._inductor.kernel.bmm:bmm_template",
    "torch._inductor.kernel.mm:mm_template",
    "torch._inductor.kernel.mm_plus_mm:mm_plus_mm_template",
    "torch._inductor.kernel_inputs:MMKernelInputs.device",
    "torch._inductor.kernel_inputs:MMKernelInputs.dtypes",
    "torch._inductor.kernel_inputs:MMKernelInputs.mat1mat2",
    "torch._inductor.kernel_inputs:MMKernelInputs.mnk_symbolic",
    "torch._inductor.kernel_inputs:MMKernelInputs.nodes",
    "torch._inductor.kernel_inputs:MMKernelInputs.out_dtype",
    "torch._inductor.kernel_inputs:MMKernelInputs.shapes_hinted",
    "torch._inductor.kernel_inputs:MMKernelInputs.strides_hinted",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice",
    "torch._inductor.select_algorithm:AlgorithmSelectorCache.add_feedback_saver",
    "torch._inductor.select_algorithm:AlgorithmSelectorCache.add_preprocessing_fn",
    "torch._inductor.select_algorithm:ExternKernelCaller.output_node",
    "torch._inductor.select_algorithm:ExternKernelCaller.hash_key",
    "torch._inductor.select_algorithm:TritonTemplateCaller.hash_key",
    "torch._inductor.select_algorithm:TritonTemplateCaller.get_make_kernel_render",
    "torch._inductor.select_algorithm:get_algorithm_selector_cache",
    "torch._inductor.utils:is_big_gpu",
    "torch._inductor.virtualized:V",
    "torch.compiler.config:cache_key_tag",
    "torch.fx.experimental.symbolic_shapes:free_unbacked_symbols",
    "torch.utils._sympy.functions:Mod",
)
# Those that only an instance has, or that cannot be asked for outside a compile: checked in the sources alone.
PRIVATE_ATTRIBUTES = (
    "torch._inductor.codegen.common:KernelTemplate.src_hash",
    "torch._inductor.graph:GraphLowering.current_node",
    "torch._inductor.graph:GraphLowering.scheduler",
    "torch._inductor.graph:GraphLowering.sizevars",
    "torch._inductor.kernel_template_choice:DictKernelTemplateParams.to_kwargs",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.extra_kwargs",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.inputs",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.layout",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.params",
    "torch._inductor.kernel_template_choice:KernelTemplateChoice.template",
    "torch._inductor.scheduler:BaseSchedulerNode.get_template_node",
    "torch._inductor.scheduler:BaseSchedulerNode.is_template",
    "torch._inductor.scheduler:Scheduler.name_to_fused_node",
    "torch._inductor.select_algorithm:AlgorithmSelectorCache.feedback_saver_fns",
    "torch._inductor.select_algorithm:AlgorithmSelectorCache.preprocessing_fns",
    "torch._inductor.select_algorithm:TritonTemplateCaller.annotations",
    "torch._inductor.select_algorithm:TritonTemplateCaller.make_kernel_render",
    "torch._inductor.sizevars:SizeVarAllocator.optimization_hint",
    "torch._inductor.sizevars:SizeVarAllocator.statically_known_true",
    "torch._inductor.virtualized:V.choices",
    "torch._inductor.virtualized:V.graph",
    "torch._inductor.virtualized:V.set_choices_handler",
)

TEMPLATES = {"triton::mm": mm_template, "triton::bmm": bmm_template, "triton::mm_plus_mm": mm_plus_mm_template}
STOCK_GATE_SMS = 68  # is_big_gpu's, which it holds in its body
OPS = ("mm", "addmm", "bmm", "baddbmm", "mm_plus_mm", "int_mm", "scaled_mm")
_HASH_DIGITS = 12
_TILE = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "num_warps", "num_stages")
# What a template is instantiated with. One that we have never seen may depend on the tile: then it is left alone.
_KNOWN_PARAMETERS = frozenset(
    {*_TILE, "GROUP_M", "EVEN_K", "ALLOW_TF32", "ACC_TYPE", "USE_FAST_ACCUM", "hint_override"}
)


@functools.cache
def missing_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` (PRIVATE_NAMES) that the installed torch does not have."""
    return tuple(name for name in names if not _exists(name))


def _exists(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return True


# What Inductor asks


class Asked(NamedTuple):
    """A product that Inductor lowers. is_hint: some size is symbolic, and the problem holds its hint.

    widest_alignment: of the two operands, in elements. The problem has the least, which both keep; Inductor specialises
    on each operand's own.
    """

    problem: GemmProblem
    is_hint: bool
    widest_alignment: int


def _scale_counts(inputs: Any) -> tuple[int, int]:
    of_a, of_b = (math.prod(shape) for shape in inputs.shapes_hinted()[2:4])
    return of_a, of_b


def asked(inputs: Any, op: str) -> Asked | str:
    """The problem of `MMKernelInputs`, or why none of ours describes it."""
    if op not in OPS or not isinstance(inputs, MMKernelInputs):
        return f"{op}: not tuned"
    if inputs.device().type != "cuda":
        return f"{op}: not on a CUDA device"
    nodes, (a, b) = inputs.nodes(), inputs.mat1mat2()
    sizes = [size for node in (a, b) for size in (*node.get_size(), *node.get_stride(), node.get_layout().offset)]
    if any(free_unbacked_symbols(size) for size in sizes):
        return f"{op}: a size has no hint"
    if op == "scaled_mm" and any(dtype != torch.float32 for dtype in inputs.dtypes()[2:4]):
        return f"{op}: microscaled operands are not tuned"
    hinted = dict(zip(map(id, nodes), zip(inputs.shapes_hinted(), inputs.strides_hinted(), strict=True), strict=True))
    operands = [
        Operand(*hinted[id(node)], _hint(node.get_layout().offset), dtype_word(node.get_dtype())) for node in (a, b)
    ]
    try:
        problem = product_of(
            op,
            *operands,
            out_dtype=dtype_word(inputs.out_dtype()),
            precision=precision_of(a.get_dtype()),
            scales=_scale_counts(inputs) if op == "scaled_mm" else (1, 1),
            epilogue="bias" if op == "scaled_mm" and len(nodes) == 5 else "none",
        )
    except ValueError as error:
        return f"{op}: {error}"
    is_hint = not all(isinstance(size, (int, sympy.Integer)) for size in sizes)
    return Asked(problem, is_hint, max(each.stored().alignment for each in operands))


def _hint(size: Any) -> int:
    if isinstance(size, (int, sympy.Integer)):
        return int(size)
    sizevars: Any = V.graph.sizevars
    return int(sizevars.optimization_hint(size))


def followers() -> tuple[str, ...]:
    """The names of the operators that use the product that is being lowered, sorted."""
    users = getattr(V.graph.current_node, "users", ())
    return tuple(sorted({_operator(user.target) for user in users if user.op == "call_function"}))


def is_fusable() -> bool:
    """Is the product that is being lowered used by an operator that a template could have in its own kernel?"""
    users = getattr(V.graph.current_node, "users", ())
    return any(torch.Tag.pointwise in getattr(user.target, "tags", ()) for user in users)


def _operator(target: Any) -> str:
    return str(getattr(target, "overloadpacket", target)).rpartition(".")[2]


def product() -> Any:
    """What tells the products of a graph apart: the node that is being lowered."""
    return V.graph.current_node


def not_served() -> str | None:
    """The operator that is being lowered, where it stands behind the gate with the products and we do not tune it."""
    name = _operator(getattr(V.graph.current_node, "target", ""))
    return name if "convolution" in name or "grouped" in name else None


# What Inductor is offered


def is_library_uid(uid: str) -> bool:
    """ATen's kernels, as opposed to templates of any kind."""
    return uid.startswith("aten::")


def library_is_allowed() -> bool:
    """Does the user let Inductor choose ATen's kernels?"""
    return "ATEN" in config.max_autotune_gemm_backends.upper()


def template_id(template: Any) -> str:
    """`inductor::mm@0123456789ab`: the template's name and the hash of its source."""
    return f"inductor::{template.name}@{(template.src_hash or '')[:_HASH_DIGITS]}"


@functools.cache
def template_ids() -> frozenset[str]:
    """Of the templates that the installed torch has."""
    return frozenset(template_id(template) for template in TEMPLATES.values())


def computed(problem: GemmProblem, base: Any) -> GemmProblem:
    """The problem as the template computes it: Inductor takes TF32 for itself only from some sizes on."""
    uses_tf32 = base.extra_kwargs.get("ALLOW_TF32", base.params.to_kwargs().get("ALLOW_TF32"))
    return problem.replace(precision="ieee") if problem.precision == "tf32" and not uses_tf32 else problem


def omitted_base(choices: Any, inputs: Any) -> Any:
    """The first stock choice of the mm template, where Inductor leaves the template out of a product that it could
    compute: of much larger k than m and n, or made of a 1x1 convolution. None where it could not."""
    a, _ = inputs.mat1mat2()
    able = a.get_dtype() in (torch.float16, torch.bfloat16, torch.float32) and a.get_dtype() == inputs.out_dtype()
    if not able or "TRITON" not in config.max_autotune_gemm_backends.upper():
        return None
    return next(iter(choices.get_ktc(inputs, mm_template, "mm")), None)


def unknown_parameters(base: Any) -> list[str]:
    """Parameters of the template that this version of the package does not know, and those of a tile that it lacks."""
    has = base.params.to_kwargs()
    return sorted({*has} - _KNOWN_PARAMETERS) + [name for name in _TILE if name not in has]


def choice_with(base: Any, config: GemmConfig, k: Any) -> Any:
    """The template choice `base` with the config's tile, and with what depends on the tile computed again.

    k: the size as Inductor has it, maybe a symbol. EVEN_K left from another tile would drop the mask along k.
    """
    has = base.params.to_kwargs()
    wanted = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "GROUP_M": config.group_m,
        "EVEN_K": V.graph.sizevars.statically_known_true(sympy.Eq(Mod(k, config.block_k), 0)),
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
    }
    # the class of `base.params`: its module has moved
    params = type(base.params)({**has, **{name: value for name, value in wanted.items() if name in has}})
    return KernelTemplateChoice(base.template, params, base.extra_kwargs, base.layout, base.inputs)


def is_triton(caller: ChoiceCaller) -> bool:
    """A kernel made from a Triton template."""
    return isinstance(caller, ir.TritonTemplateCallerBase)


def watch(caller: Any, on_chosen: Callable[[bool | None], None], *, keeps_unfused: bool) -> None:
    """Calls `on_chosen(fused)` whenever Inductor writes that choice into a graph, for good or to benchmark a fusion.

    fused: whether other operations share its kernel; None where Inductor does not say. The last call of all choices
    of a product is the final one.
    """
    if is_triton(caller):
        caller.make_kernel_render = _Watched(caller.make_kernel_render, on_chosen, keeps_unfused)
        return
    output_node = caller.output_node

    def chosen() -> Any:
        on_chosen(False)
        return output_node()

    caller.output_node = chosen


class _Watched(NamedTuple):
    """A Triton choice's way into the generated code."""

    render: Callable[..., Any]
    on_chosen: Callable[[bool | None], None]
    keeps_unfused: bool

    def __call__(self, out_node: Any, *args: Any, **kwargs: Any) -> Any:
        self.on_chosen(_is_fused(out_node))
        return self.render(out_node, *args, **kwargs)


def _is_fused(out_node: Any) -> bool | None:
    scheduler = getattr(V.graph, "scheduler", None)
    node = getattr(scheduler, "name_to_fused_node", {}).get(out_node.get_operation_name())
    return None if node is None else len(node.get_nodes()) > 1


def keeps_unfused(node: Any) -> bool:
    """Is it a scheduler node of a template that `watch` was told to keep alone?"""
    template = node.get_template_node() if node.is_template() else None
    render = getattr(template, "make_kernel_render", None)
    return isinstance(render, _Watched) and render.keeps_unfused


def mark_cache_key(caller: Any, mark: str) -> None:
    """Appends `mark` to the key under which Inductor's own cache keeps the caller's timing, which knows no SM count."""
    key = caller.hash_key
    caller.hash_key = lambda: f"{key()}-{mark}"


# Padding


class Padding(NamedTuple):
    """A product that Inductor might pad, before and after."""

    problem: GemmProblem
    padded: GemmProblem


def padding(mat1: torch.Tensor, mat2: torch.Tensor, op: Any) -> Padding | None:
    """None where no problem of ours describes the product, or the user wants it padded whatever it costs."""
    name = getattr(op, "__name__", "")
    if config.force_shape_pad or name not in OPS:
        return None
    before, after = [], []
    for mat in (mat1, mat2):
        sizes, strides, (offset,) = map(_hinted, (mat.shape, mat.stride(), [mat.storage_offset()]))
        rows, columns = (
            size + pad_mm.get_padded_length(given, pad_mm.get_alignment_size(mat))
            for size, given in zip(sizes[-2:], mat.shape[-2:], strict=True)
        )
        dtype = dtype_word(mat.dtype)
        before.append(Operand(sizes, strides, offset, dtype))
        row_major = [rows * columns, columns, 1][-len(sizes) :]
        after.append(Operand([*sizes[:-2], rows, columns], row_major, 0, dtype))
    out_dtype, precision = dtype_word(mat1.dtype), precision_of(mat1.dtype)
    try:
        return Padding(*(product_of(name, *of, out_dtype=out_dtype, precision=precision) for of in (before, after)))
    except ValueError:
        return None


def _hinted(sizes: Iterable[Any]) -> list[int]:
    return [size if isinstance(size, int) else int(size.node.hint) for size in sizes]


# Where we stand in Inductor's way


class Hooks(NamedTuple):
    """What Inductor asks while we are installed; each is given the stock answer, or how to get it."""

    opens_gate: Callable[[torch.device, Callable[[], bool]], bool]
    pads: Callable[[Any, Any, Any, Callable[[], bool]], bool]
    narrow: Callable[[list[Any]], list[Any]]
    measured: Callable[[dict[Any, float]], None]


class _Installed:
    """The hooks in place, counted: the last to leave takes them out again, where nobody has hooked in over them."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._count = 0
        self._lock = threading.Lock()
        self._undo: ExitStack | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._count == 0:
                self._undo = self._install()
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._undo is not None:
                self._undo.close()
                self._undo = None

    def _install(self) -> ExitStack:
        hooks = self._hooks
        undo = ExitStack()
        stock_gate: Any = utils.is_big_gpu
        stock_padding: Any = pad_mm._should_pad

        @functools.wraps(stock_gate)
        def is_big_gpu(index_or_device: Any = 0) -> bool:
            device = (
                index_or_device if isinstance(index_or_device, torch.device) else torch.device("cuda", index_or_device)
            )
            return hooks.opens_gate(device, lambda: stock_gate(index_or_device))

        @functools.wraps(stock_padding)
        def should_pad(match: Any, mat1: Any, mat2: Any, op: Any, input: Any = None) -> bool:  # noqa: A002 - theirs
            return hooks.pads(mat1, mat2, op, lambda: stock_padding(match, mat1, mat2, op, input))

        def narrow(choices: list[Any]) -> list[Any]:
            return hooks.narrow(choices)

        def measured(timings: dict[Any, float], *_: Any) -> None:
            hooks.measured(timings)

        # tests and tools clear these caches through the names that we replace
        for stock, ours in ((stock_gate, is_big_gpu), (stock_padding, should_pad)):
            for name in ("cache_clear", "cache_info"):
                if hasattr(stock, name):
                    setattr(ours, name, getattr(stock, name))
        for owner, name, ours, stock in (
            (utils, "is_big_gpu", is_big_gpu, stock_gate),
            (pad_mm, "_should_pad", should_pad, stock_padding),
        ):
            setattr(owner, name, ours)
            undo.callback(_put_back, owner, name, ours, stock)
        # the gate remembers its answer and warns only once: after us it must be asked anew
        undo.callback(getattr(stock_gate, "cache_clear", lambda: None))
        cache = select_algorithm.get_algorithm_selector_cache()
        cache.add_preprocessing_fn(narrow)
        cache.add_feedback_saver(measured)
        undo.callback(_discard, cache.preprocessing_fns, narrow)
        undo.callback(_discard, cache.feedback_saver_fns, measured)
        return undo


def _put_back(owner: Any, name: str, ours: Any, stock: Any) -> None:
    if getattr(owner, name) is ours:
        setattr(owner, name, stock)


def _discard(functions: list[Any], ours: Any) -> None:
    if ours in functions:
        functions.remove(ours)


def installed(hooks: Hooks) -> _Installed:
    """A context manager that puts the hooks in place; it nests, and many threads may be in it."""
    return _Installed(hooks)


def user_wants_autotuning() -> bool:
    """Has the user asked Inductor itself for GEMM autotuning?"""
    return bool(config.max_autotune or config.max_autotune_gemm)


@contextmanager
def covering(choices: Any, tag: str) -> Iterator[None]:
    """For the calling thread: GEMM autotuning on, `choices` as V.choices, `tag` in the keys of the graph caches."""
    changes: dict[str, Any] = {"max_autotune_gemm": True}
    if not user_wants_autotuning():  # what we switch on is for GPUs: products on the CPU stay as they are
        backends = [each for each in config.max_autotune_gemm_backends.split(",") if each.strip().upper() != "CPP"]
        changes["max_autotune_gemm_backends"] = ",".join(backends)
    tags = "+".join(filter(None, (torch.compiler.config.cache_key_tag, tag)))
    key: Any = torch.compiler.config
    with config.patch(changes), key.patch(cache_key_tag=tags), V.set_choices_handler(choices):
        yield


def current_choices() -> InductorChoices:
    """The handler of the calling thread."""
    return V.choices


def gpu_of(graph: Any, inputs: Sequence[Any]) -> torch.device | None:
    """The NVIDIA GPU that a graph is for; None where it is for none. Asks tensors only, no device."""
    if torch.version.hip is not None:
        return None
    values = [*inputs]
    if isinstance(graph, torch.fx.GraphModule):
        values += [node.meta.get("val", node.meta.get("example_value")) for node in graph.graph.nodes]
        values += [*graph.parameters(), *graph.buffers()]
    devices = (value.device for value in values if isinstance(value, torch.Tensor))
    return next((device for device in devices if device.type == "cuda"), None)


def front_door() -> Callable[..., Any]:
    """What everything that Inductor compiles passes, as it is now."""
    door: Callable[..., Any] = _compile_fx.compile_fx
    return door


def mode_options(mode: str | None) -> dict[str, Any]:
    """Inductor's settings for a mode of torch.compile. Raises RuntimeError for one that it does not have."""
    return dict(list_mode_options(mode)) if mode else {}
