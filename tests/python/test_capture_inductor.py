"""The problems that Inductor asks about, read from its own lowering for a device that is not there.

The proof that they are the right ones is on a virtual GPU (a double): records of them are all that a compile needs.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gemm_tuner as gt
from doubles.virtual_gpu import virtual_gpu
from gemm_tuner.capture import Capture, capture_model
from gemm_tuner.inductor.lowering import _attention
from gemm_tuner.inductor.lowering import on_meta as moved
from gemm_tuner.recorder import attention_as
from inductor_samples import asked, record

pytestmark = pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # torch's advice, once a process

LLAMA = Path(__file__).parents[2] / "examples" / "llama.py"
DEVICE = gt.device("rtx-3060")
MODELS = """
import importlib.util
import torch
from torch import nn
from torch.nn import functional
from blocks import TOKENS, LlamaBlock

def half(*shape, **kwargs):
    return torch.empty(shape, dtype=torch.float16, **kwargs)

def mlp():  # on the CPU, as most factories make it
    return nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).half(), (half(128, 256),)

def odd():
    layers = nn.Linear(255, 511), nn.GELU(), nn.Linear(511, 257)
    return nn.Sequential(*layers).half(), (half(128, 255, requires_grad=True),)

def mlp_in_float32():
    model, (x,) = mlp()
    return model.float(), (x.float(),)

def odd_in_float32():
    model, (x,) = odd()
    return model.float(), (x.detach().float().requires_grad_(),)

def any_batch():
    model, (x,) = mlp()
    torch._dynamo.mark_dynamic(x, 0)
    return model, (x,)

def compiled():
    model, args = mlp()
    return torch.compile(model), args

class Swiglu(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up = (nn.Linear(256, 512, bias=False) for _ in range(2))
        self.down = nn.Linear(512, 256, bias=False)

    def forward(self, x):
        return self.down(functional.silu(self.gate(x)) * self.up(x))

def swiglu():
    return Swiglu().half(), (half(128, 256, requires_grad=True),)

class WrittenOut(nn.Module):
    def forward(self, q, k, v):
        return ((q @ k.transpose(-2, -1)).div(5.6)).softmax(-1) @ v

def attention():
    return WrittenOut(), tuple(half(2, 4, 64, 32, requires_grad=True) for _ in range(3))

def attention_in_float32():
    return WrittenOut(), tuple(torch.empty(2, 4, 64, 32) for _ in range(3))

class Kernels(nn.Module):
    def forward(self, q, k, v):
        attend = functional.scaled_dot_product_attention
        mask = torch.ones(64, 64, dtype=torch.bool, device=q.device).tril()
        grouped = attend(q, k[:, :2], v[:, :2], enable_gqa=True, is_causal=True)
        return grouped + attend(q, k, v, mask), attend(q[0], k[0], v[0])

def attention_kernels():
    return Kernels(), tuple(half(2, 4, 64, 32) for _ in range(3))

class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(16, 32, 3), nn.Dropout(0.1)
        self.words, self.out = nn.Embedding(100, 16), nn.Linear(16, 8, bias=False)

    def forward(self, x, words):
        twice = torch.tensor(2.0, device=words.device)
        return self.drop(self.conv(x)), self.drop(self.out(self.words(words))) * twice

def mixed():
    return Mixed().half(), (half(2, 16, 64, 64), torch.zeros(4, 8, dtype=torch.int64))

class TwoSizes(nn.Module):
    def forward(self, x, w):
        x = x @ w
        torch._dynamo.graph_break()
        return x[:2] @ w

def two_graphs():
    return TwoSizes(), (half(128, 256), half(256, 256))

class Reads(nn.Module):
    def forward(self, x, w):
        x = x @ w
        return (x @ w).item()

def reads_a_value():
    return Reads(), (half(1, 1), half(1, 1))

class Breaks(nn.Module):
    def forward(self, x, w):
        x = x @ w
        torch._dynamo.graph_break()
        self.kept = x
        raise ValueError("no more of this")

def breaks():
    return Breaks(), (half(128, 256), half(256, 256))

def llama_block():
    return LlamaBlock().half(), (half(*TOKENS, requires_grad=True),)

def _llama():
    spec = importlib.util.spec_from_file_location("llama", LLAMA)
    llama = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(llama)
    llama.LLAMA_3_2_1B.num_hidden_layers = 2
    return llama

def prefill():
    return _llama().prefill()

def decode_1():
    return _llama().decode_1()

def train():
    return _llama().train()

class Loss(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(ids, labels=ids, use_cache=False).loss

def loss():
    model, args, _ = train()
    return Loss(model), args
"""


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GEMM_TUNER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("models.py").write_text(f"LLAMA = {str(LLAMA)!r}\n{MODELS}")
    yield
    sys.modules.pop("models", None)


def texts(seen: Capture) -> dict[str, int]:
    return {str(each.problem): each.count for each in seen.problems}


def through(factory: str, *, backward: bool = False, device: gt.DeviceSpec = DEVICE) -> Capture:
    seen = capture_model(f"models.py:{factory}", backward=backward, device=device)
    assert seen.failure is None
    return seen


def differences(factory: str, *, backward: bool = False) -> tuple[dict[str, int], dict[str, int]]:
    """(What only eager capture sees, what only Inductor asks for), with how often."""
    eager, inductor = (
        texts(capture_model(f"models.py:{factory}", backward=backward, device=device)) for device in (None, DEVICE)
    )
    return _more(eager, inductor), _more(inductor, eager)


def _more(these: dict[str, int], those: dict[str, int]) -> dict[str, int]:
    return {text: count - those.get(text, 0) for text, count in these.items() if count > those.get(text, 0)}


# What it sees, and what eager capture cannot know


@pytest.mark.parametrize("factory", ["prefill", "decode_1"])
def test_inference_asks_for_what_it_runs(factory: str) -> None:
    assert differences(factory) == ({}, {})


def test_a_tied_weight_adds_its_two_gradients_in_one_product() -> None:
    product = "128256x2048x512 bfloat16 tn align 16"
    assert differences("train", backward=True) == ({f"mm {product}": 1}, {f"addmm {product}": 1})


def test_the_sum_of_two_gradients_is_one_product() -> None:
    eager, inductor = differences("swiglu", backward=True)
    assert inductor["mm_plus_mm 128x256x512 float16 nn align 16"] == 1
    assert eager["mm 128x256x512 float16 nn align 16"] == 2
    # and the loss has a gradient of its own, where eager sums are differentiated by one number, expanded
    assert _more(inductor, {"mm_plus_mm 128x256x512 float16 nn align 16": 1}) == {
        "mm 256x512x128 float16 tn align 16": 1
    }


def test_a_bias_stays_in_a_product_of_halves_and_goes_into_what_follows_one_of_floats() -> None:
    assert differences("mlp") == ({}, {})
    eager, inductor = differences("mlp_in_float32")
    product = "128x512x256 float32 nt align 16"
    assert (eager, inductor) == ({f"addmm {product}": 1}, {f"mm {product}": 1})


def test_unaligned_problems_are_given_as_they_are() -> None:
    assert differences("odd") == ({}, {})


def test_a_dynamic_batch_is_taken_at_its_hint() -> None:
    assert texts(through("any_batch", backward=True)) == texts(through("mlp", backward=True))


def test_a_compiled_model_is_seen_through() -> None:
    assert texts(through("compiled")) == texts(through("mlp"))


def test_attention_written_out_is_what_inductor_makes_of_it() -> None:
    assert texts(capture_model("models.py:attention"))
    for backward in (False, True):
        assert texts(through("attention", backward=backward)) == {}  # one fused kernel
    assert texts(through("attention_in_float32")) == {
        "bmm 8x64x64x32 float32 nt align 16": 1,
        "bmm 8x64x32x64 float32 nn align 16": 1,
    }


def test_attention_is_left_to_the_attention_kernels_which_take_4d() -> None:
    assert texts(through("attention_kernels")) == {  # PyTorch writes the others out, in float32
        "bmm 4x64x64x32 float32 nn align 16": 1,
        "bmm 4x64x32x64 float32 nn align 16": 1,
    }


def test_what_stock_inductor_keeps_is_left_out_with_the_reason() -> None:
    seen = through("mixed", backward=True)
    assert {*seen.skipped} == {"convolution: not tuned, as stock Inductor has it"}
    assert {text.partition(" ")[0] for text in texts(seen)} == {"mm"}


def test_each_graph_is_counted_once() -> None:
    assert texts(through("two_graphs")) == {
        "mm 128x256x256 float16 nn align 16": 1,
        "mm 2x256x256 float16 nn align 16": 1,
    }


def test_sizes_of_one_model_do_not_make_those_of_the_next_dynamic() -> None:
    assert texts(through("llama_block")) == texts(through("llama_block"))
    assert differences("decode_1") == differences("prefill") == ({}, {})


# What goes wrong is a sentence, and what was seen until then is kept


def test_values_that_nobody_has_end_the_call() -> None:
    seen = capture_model("models.py:reads_a_value", device=DEVICE)
    assert seen.failure is not None and "\n" not in seen.failure
    assert seen.failure.startswith("the model of models.py:reads_a_value stopped with ")


def test_a_model_that_fails_gives_what_was_lowered() -> None:
    seen = capture_model("models.py:breaks", device=DEVICE)
    assert "ValueError: no more of this" in str(seen.failure)
    assert texts(seen) == {"mm 128x256x256 float16 nn align 16": 1}


# Nothing is left behind


def test_torch_is_as_before() -> None:
    before = torch.cuda.is_available, torch.cuda.get_device_properties, torch.cuda.is_available()
    through("mlp", backward=True)
    assert (torch.cuda.is_available, torch.cuda.get_device_properties, torch.cuda.is_available()) == before
    x, w = torch.randn(8, 16), torch.randn(16, 4)
    compiled: Any = torch.compile(torch.addmm, backend="aot_eager")
    torch.testing.assert_close(compiled(w[0], x, w), x @ w + w[0])
    q = torch.randn(2, 4, 8, 16)
    assert torch.nn.functional.scaled_dot_product_attention(q, q, q).isfinite().all()


def test_models_go_to_meta_with_what_they_share() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 8))
    model[2].weight = model[0].weight
    here = torch.empty(2, 8, device="meta")
    marked = torch.empty(2, 8)
    torch._dynamo.mark_dynamic(marked, 0)
    there, (same, other), options = moved((model, [here, marked], {"scale": 2}))
    assert {tensor.device.type for tensor in [*there.parameters(), *there.buffers(), other]} == {"meta"}
    assert there[2].weight is there[0].weight and isinstance(there[0].weight, torch.nn.Parameter)
    assert same is here and options == {"scale": 2}
    assert other.__dict__ == marked.__dict__ != {}


# Records of these problems are all that a compile needs (of blocks: test_inductor.py)


def test_records_of_a_language_model_give_hits_only() -> None:
    seen = through("loss", backward=True)
    known = [record(each.problem, DEVICE, None) for each in seen.problems]
    whole = attention_as(_attention, "AutogradCUDA")  # the double has no fused attention of its own
    with whole, virtual_gpu(DEVICE) as gpu, gt.enabled(known, policy="lookup") as report:
        ids = torch.empty(1, 512, dtype=torch.int64, device="meta")
        gpu.compile(sys.modules["models"].loss()[0], ids, dtype=torch.bfloat16, backward=True)
    assert report.misses == []
    assert Counter(str(each.problem) for each in report.hits) == texts(seen)


def test_a_miss_names_the_nearest_record() -> None:
    seen = through("swiglu", backward=True)
    (lost,) = [each.problem for each in seen.problems if each.problem.op == "mm_plus_mm"]
    known = [record(each.problem, DEVICE, None) for each in seen.problems if each.problem != lost]
    with virtual_gpu(DEVICE) as gpu, gt.enabled(known, policy="lookup") as report:
        gpu.compile(moved(sys.modules["models"].swiglu()[0]), (128, 256), backward=True)
    (miss,) = report.misses
    assert miss.problem == lost and len(report.hits) == sum(each.count for each in seen.problems) - 1
    assert "no record, and the policy is lookup; nearest record: op is mm_plus_mm, not mm" in str(miss)


@pytest.mark.parametrize("factory", ["odd", "odd_in_float32"])
def test_a_problem_with_a_record_is_not_padded(factory: str) -> None:
    seen = through(factory, backward=True)
    model, (x,) = getattr(sys.modules["models"], factory)()
    known = [record(each.problem, DEVICE, None) for each in seen.problems]
    with virtual_gpu(DEVICE) as gpu, gt.enabled(known, policy="lookup") as report:
        gpu.compile(moved(model), tuple(x.shape), dtype=x.dtype, backward=True)
    assert report.misses == []
    assert asked(report) == {each.problem for each in seen.problems}
