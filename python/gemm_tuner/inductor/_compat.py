"""Everything of torch that is not public, for torch 2.11 to 2.15. No other file touches it.

`benchmarks/inductor_api.py` checks `PRIVATE_NAMES` against the sources of each release.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch types Inductor only in part)
from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import sympy
import torch
from torch._dynamo.device_interface import CudaInterface
from torch._inductor import compile_fx as _compile_fx
from torch._inductor import config, ir, select_algorithm, utils
from torch._guards import detect_fake_mode
from torch._inductor.choices import InductorChoices
from torch._inductor.fx_passes import pad_mm
from torch._inductor.graph import GraphLowering
from torch._inductor.kernel.bmm import bmm_template
from torch._inductor.kernel.mm import mm_template
from torch._inductor.kernel.mm_plus_mm import mm_plus_mm_template
from torch._inductor.kernel_inputs import MMKernelInputs
from torch._inductor.kernel_template_choice import KernelTemplateChoice
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.utils import BoxedBool
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode, fake_tensor_tls
from torch.fx.node import map_aggregate
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_map
from torch.utils._sympy.functions import Mod

from .._core import DeviceSpec, GemmConfig, GemmProblem
from ..operand import stored
from ..recorder import dtype_word, tf32_allowed

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
SUBGRAPHS = ("decompose_k", "contiguous_mm", "contiguous_addmm")  # choices that are graphs of their own
STOCK_GATE_SMS = 68  # is_big_gpu's, which it holds in its body
OPS = ("mm", "addmm", "bmm", "baddbmm", "mm_plus_mm", "int_mm", "scaled_mm")
_HASH_DIGITS = 12
_TILE = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "num_warps", "num_stages")
# What a template is instantiated with. One that we have never seen may depend on the tile: then it is left alone.
_KNOWN_PARAMETERS = frozenset(
    {*_TILE, "GROUP_M", "EVEN_K", "ALLOW_TF32", "ACC_TYPE", "USE_FAST_ACCUM", "hint_override"}
)


def missing_names() -> list[str]:
    """Those of PRIVATE_NAMES that the installed torch does not have."""
    return [name for name in PRIVATE_NAMES if not _exists(name)]


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
    """A product that Inductor lowers. is_hint: some size is symbolic, and the problem holds its hint."""

    problem: GemmProblem
    is_hint: bool


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
    shapes, strides = inputs.shapes_hinted(), inputs.strides_hinted()
    at = {id(node): position for position, node in enumerate(nodes)}
    try:
        problem = _problem(
            op,
            *((shapes[at[id(node)]], strides[at[id(node)]], _hint(node.get_layout().offset)) for node in (a, b)),
            dtypes=(a.get_dtype(), b.get_dtype(), inputs.out_dtype()),
            epilogue="bias" if op == "scaled_mm" and len(nodes) == 5 else "none",
        )
    except ValueError as error:
        return f"{op}: {error}"
    return Asked(problem, not all(isinstance(size, (int, sympy.Integer)) for size in sizes))


def _problem(
    op: str,
    a: tuple[Sequence[int], Sequence[int], int],
    b: tuple[Sequence[int], Sequence[int], int],
    *,
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
    epilogue: str = "none",
) -> GemmProblem:
    (a_transposed, a_alignment), (b_transposed, b_alignment) = stored(*a), stored(*b)
    return GemmProblem(
        op=op,
        m=a[0][-2],
        n=b[0][-1],
        k=a[0][-1],
        batch=a[0][0] if len(a[0]) == 3 else 1,
        a_dtype=dtype_word(dtypes[0]),
        b_dtype=dtype_word(dtypes[1]),
        out_dtype=dtype_word(dtypes[2]),
        precision="tf32" if dtypes[0] == torch.float32 and tf32_allowed() else "ieee",
        layout=("t" if a_transposed else "n") + ("t" if b_transposed else "n"),
        alignment=min(a_alignment, b_alignment),
        epilogue=epilogue,
    )


def _hint(size: Any) -> int:
    if isinstance(size, (int, sympy.Integer)):
        return int(size)
    sizevars: Any = V.graph.sizevars
    return int(sizevars.optimization_hint(size))


def followers() -> tuple[str, ...]:
    """The names of the operators that use the product that is being lowered, sorted."""
    node = V.graph.current_node
    return tuple(sorted({_operator(user.target) for user in node.users if user.op == "call_function"}))


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
        render = caller.make_kernel_render

        def rendered(out_node: Any, *args: Any, **kwargs: Any) -> Any:
            on_chosen(_is_fused(out_node))
            return render(out_node, *args, **kwargs)

        rendered.keeps_unfused = keeps_unfused  # type: ignore[attr-defined]
        caller.make_kernel_render = rendered
        return
    output_node = caller.output_node

    def chosen() -> Any:
        on_chosen(False)
        return output_node()

    caller.output_node = chosen


def _is_fused(out_node: Any) -> bool | None:
    scheduler = getattr(V.graph, "scheduler", None)
    node = getattr(scheduler, "name_to_fused_node", {}).get(out_node.get_operation_name())
    return None if node is None else len(node.get_nodes()) > 1


def keeps_unfused(node: Any) -> bool:
    """Is it a scheduler node of a template that `watch` was told to keep alone?"""
    template = node.get_template_node() if node.is_template() else None
    return bool(getattr(getattr(template, "make_kernel_render", None), "keeps_unfused", False))


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
    sizes = [_hinted(mat1.shape), _hinted(mat2.shape)]
    extra = [
        [pad_mm.get_padded_length(size, pad_mm.get_alignment_size(mat)) for size in mat.shape[-2:]]
        for mat in (mat1, mat2)
    ]
    wider = [
        [*size[:-2], *(s + e for s, e in zip(size[-2:], more, strict=True))]
        for size, more in zip(sizes, extra, strict=True)
    ]
    strides = [_hinted(mat.stride()) for mat in (mat1, mat2)]
    offsets = [_hinted([mat.storage_offset()])[0] for mat in (mat1, mat2)]
    dtypes = (mat1.dtype, mat2.dtype, mat1.dtype)
    try:
        problem = _problem(name, *zip(sizes, strides, offsets, strict=True), dtypes=dtypes)
        padded = _problem(name, *((size, _row_major(size), 0) for size in wider), dtypes=dtypes)
    except ValueError:
        return None
    return Padding(problem, padded)


def _hinted(sizes: Sequence[Any]) -> list[int]:
    return [size if isinstance(size, int) else int(size.node.hint) for size in sizes]


def _row_major(sizes: Sequence[int]) -> list[int]:
    rows, columns = sizes[-2:]
    return [*([rows * columns] if len(sizes) == 3 else []), columns, 1]


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


def is_for_gpu(graph: Any, inputs: Sequence[Any]) -> bool:
    """Has the graph to do with an NVIDIA GPU? Asks tensors only, not the device."""
    if torch.version.hip is not None:
        return False
    values = [*inputs]
    if isinstance(graph, torch.fx.GraphModule):
        values += [node.meta.get("val", node.meta.get("example_value")) for node in graph.graph.nodes]
        values += [*graph.parameters(), *graph.buffers()]
    return any(isinstance(value, torch.Tensor) and value.device.type == "cuda" for value in values)


def compile_fx_module() -> Any:
    """Where Inductor's front door is."""
    return _compile_fx


# Lowering for a device that need not exist

_CUDA = torch.device("cuda", 0)


class _Lowered(BaseException):
    """Stops Inductor where it would start to generate code. No error: nothing on the way is to handle it as one."""


def compiled_on_meta(graph: Any, inputs: Any, inner_compile: Callable[..., Any]) -> Any:
    """A graph of meta tensors as Inductor would compile it for a GPU, with `inner_compile` in its compiler's place.

    The graphs that reach it, now or when a backward runs, are on CUDA; their inputs are still on meta.
    """
    changes: dict[str, Any] = {
        "joint_custom_post_pass": _place,
        "joint_graph_constant_folding": False,  # it takes results on meta for dead, and computes constants on the GPU
        "shape_padding": False,  # it is decided by benchmarks; a record of the unpadded problem decides against it
        "max_autotune": False,
        "max_autotune_gemm": False,
        "freezing": False,
    }
    caches = torch._functorch.config.patch(enable_autograd_cache=False)
    with config.patch(changes), caches:
        return _compile_fx.compile_fx(graph, inputs, inner_compile=inner_compile)


def lower(graph: Any, inputs: Sequence[Any], options: dict[str, Any], device: DeviceSpec) -> None:
    """Has Inductor lower a graph that `compiled_on_meta` has placed, and generate nothing."""
    placed = [_placed(value, detect_fake_mode(inputs)) for value in inputs]
    stopped = mock.patch.object(GraphLowering, "compile_to_module", _stop)
    caches = config.patch(fx_graph_cache=False, fx_graph_remote_cache=False)
    with suppress(_Lowered), caches, _torch_believes_in(device), stopped:
        _compile_fx.compile_fx_inner(graph, placed, **{**options, "cudagraphs": BoxedBool(False)})


def _stop(*_: Any, **__: Any) -> None:
    raise _Lowered


def _place(graph: torch.fx.Graph) -> None:
    """Puts what a graph has on meta on CUDA."""

    def moved(value: Any) -> Any:
        return _CUDA if isinstance(value, torch.device) and value.type == "meta" else value

    for node in list(graph.nodes):
        value = node.meta.get("val")
        node.meta["val"] = tree_map(_placed, value)
        node.args, node.kwargs = map_aggregate(node.args, moved), map_aggregate(node.kwargs, moved)
        if node.op == "get_attr" and isinstance(value, torch.Tensor) and value.is_meta:
            with graph.inserting_before(node):  # a constant, which has no values on meta
                sizes = (list(value.shape), list(value.stride()))
                empty = graph.call_function(
                    torch.ops.aten.empty_strided.default, sizes, {"dtype": value.dtype, "device": _CUDA}
                )
            empty.meta = node.meta
            node.replace_all_uses_with(empty)
            graph.erase_node(node)


def _placed(value: Any, mode: Any = None) -> Any:
    if not (isinstance(value, torch.Tensor) and value.is_meta):
        return value
    with mode or value.fake_mode:
        return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=_CUDA)


def outputs_on_meta(graph: Any) -> Callable[[list[Any]], list[Any]]:
    """Stands for the compiled graph: gives outputs of the right sizes, on meta, and computes nothing."""
    inputs = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    (last,) = graph.graph.find_nodes(op="output")
    outputs = [getattr(node, "meta", {}).get("val", node) for node in last.args[0]]

    def run(given: list[Any]) -> list[Any]:
        known = {
            value.node.expr: number for value, number in zip(inputs, given, strict=True) if isinstance(value, torch.SymInt)
        }
        given.clear()

        def number(size: Any) -> Any:
            return int(size.node.expr.xreplace(known)) if isinstance(size, torch.SymInt) else size

        def made(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return number(value)
            sizes, strides = ([number(size) for size in each] for each in (value.size(), value.stride()))
            return torch.empty_strided(sizes, strides, dtype=value.dtype, device="meta")

        return [made(value) for value in outputs]

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


@contextmanager
def meta_constants_allowed() -> Iterator[None]:
    """torch.tensor(..., device="meta") is no fake tensor where fake ones are made, in the calling thread."""
    before = fake_tensor_tls.allow_non_fake_inputs_override
    fake_tensor_tls.allow_non_fake_inputs_override = True
    try:
        yield
    finally:
        fake_tensor_tls.allow_non_fake_inputs_override = before


@contextmanager
def _torch_believes_in(device: DeviceSpec) -> Iterator[None]:
    """torch.cuda answers for the device, and there is no other."""
    major, minor = divmod(device.compute_capability, 10)
    properties = SimpleNamespace(
        name=device.name,
        major=major,
        minor=minor,
        multi_processor_count=device.sm_count,
        regs_per_multiprocessor=device.registers_per_sm,
        max_threads_per_multi_processor=device.max_threads_per_sm,
        shared_memory_per_block_optin=device.smem_per_block_optin_bytes,
        L2_cache_size=device.l2_bytes,
        warp_size=32,
        gcnArchName="",
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_properties": properties,
        "get_device_capability": (major, minor),
        "_exchange_device": 0,
        "_maybe_exchange_device": 0,
        "get_rng_state": torch.zeros(0, dtype=torch.uint8),
        "set_rng_state": None,
    }
    with ExitStack() as undo:
        undo.enter_context(mock.patch.multiple(torch.cuda, **{name: _always(answers[name]) for name in answers}))
        # which has taken some of them at its import
        took = {name: staticmethod(_always(answers[name])) for name in answers if name in vars(CudaInterface)}
        undo.enter_context(mock.patch.multiple(CudaInterface, **took))
        # as on machines where there is no CUDA: a constant is made on the CPU, then said to be moved
        undo.enter_context(mock.patch.object(FakeTensorMode, "avoid_device_init", True))
        undo.enter_context(_cuda_guarded())
        DeviceProperties.create.cache_clear()
        undo.callback(DeviceProperties.create.cache_clear)
        yield


@contextmanager
def _cuda_guarded() -> Iterator[None]:
    """Gives CUDA the device guard of meta, which guards nothing, in builds of torch that have none for it.

    Those with CUDA do so themselves where there is no GPU, so that operators take fake tensors.
    """
    kinds: Any = torch._C._autograd.DeviceType
    cuda, meta = int(kinds.CUDA), int(kinds.Meta)
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (meta + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    if guards[cuda] is not None:
        yield
        return
    guards[cuda] = guards[meta]
    try:
        yield
    finally:
        guards[cuda] = None


def _always(answer: Any) -> Callable[..., Any]:
    return lambda *_, **__: answer
