"""Linear and replace_linear: what of torch.nn.Linear stays as it was, and whole blocks of transformers and timm."""

# mypy: disable-error-code="no-untyped-call"
# (torch types autograd only in part)
from __future__ import annotations

import copy
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import gemm_tuner as gt
from gemm_tuner import ops

EXAMPLES = Path(__file__).parents[2] / "examples"


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 3)))


@pytest.mark.parametrize(("activation", "function"), [(None, nn.Identity()), ("relu", nn.ReLU()), ("gelu", nn.GELU())])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_torchs_with_an_activation(activation: str | None, function: nn.Module, bias: bool) -> None:
    torch.manual_seed(0)
    theirs = nn.Linear(6, 4, bias, dtype=torch.float64)
    ours = gt.nn.Linear(6, 4, bias, activation=activation, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    for x in (torch.randn(6), torch.randn(5, 6), torch.randn(2, 3, 6), torch.randn(0, 6)):
        torch.testing.assert_close(ours(x.double()), function(theirs(x.double())))
    assert isinstance(ours, nn.Linear) and ("activation" in repr(ours)) == (activation is not None)


def test_linear_refuses_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match="activation must be one of none, relu, gelu, gelu_tanh, silu, got 'tanh'"):
        gt.nn.Linear(2, 3, activation="tanh")


def test_replaced_layers_keep_everything() -> None:
    model = small_model().to(torch.bfloat16)
    before, state = dict(model.named_parameters()), {k: v.clone() for k, v in model.state_dict().items()}
    seen: list[str] = []
    model[0].register_forward_hook(lambda *_: seen.append("forward"))
    model[0].register_full_backward_hook(lambda *_: seen.append("backward"))
    alias = model[0]
    assert isinstance(alias, nn.Linear)
    x = torch.randn(5, 6, dtype=torch.bfloat16, requires_grad=True)
    want = model(x)
    seen.clear()

    replaced = gt.replace_linear(model)
    assert len(replaced) == 3 and list(replaced.layers) == ["0", "2.0", "2.1"]
    assert type(alias) is gt.nn.Linear and alias is model[0]
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    assert list(model.state_dict()) == list(state)
    model.load_state_dict(state)
    got = model(x)
    got.sum().backward()
    torch.testing.assert_close(got, want)
    assert seen == ["forward", "backward"]
    assert alias.weight.grad is not None and alias.weight.grad.dtype == torch.bfloat16
    assert type(copy.deepcopy(model)[0]) is gt.nn.Linear

    replaced.undo()
    assert [type(each) for each in replaced.layers.values()] == [nn.Linear] * 3
    torch.testing.assert_close(model(x), want)


def test_the_filter_chooses_and_other_classes_are_left() -> None:
    class Special(nn.Linear):
        pass

    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": Special(2, 2), "d": nn.Linear(2, 2)})
    model["d"].forward = lambda x: x  # as hooks of other libraries replace it
    assert list(gt.replace_linear(model).layers) == ["a", "b"]
    assert list(gt.replace_linear(model).layers) == []
    only = gt.replace_linear(
        nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), filter=lambda name, m: m.out_features == 2
    )
    assert list(only.layers) == ["1"]


def test_a_model_that_is_a_linear_layer_is_replaced_itself() -> None:
    model = nn.Linear(2, 3)
    assert list(gt.replace_linear(model).layers) == [""] and type(model) is gt.nn.Linear


def test_ddp_averages_its_gradients(tmp_path: Path) -> None:
    model, x = small_model(), torch.randn(5, 6)
    model(x).sum().backward()
    want = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    gt.replace_linear(model)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        calls: list[object] = []

        def hook(state, bucket):  # type: ignore[no-untyped-def]  # torch refuses annotations that are strings
            calls.append(bucket)
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        parallel = nn.parallel.DistributedDataParallel(model)
        parallel.register_comm_hook(None, hook)
        parallel(x).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert calls
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], want)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("replace_linear_example", EXAMPLES / "replace_linear.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("llama", None)


LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 152,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
COMPILED = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


@COMPILED
def test_a_block_of_transformers_computes_the_same(
    example: ModuleType, compiled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ops._say_untuned.cache_clear()
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, inputs = example.llama_block(**LLAMA)
    with caplog.at_level(logging.INFO, logger="gemm_tuner"):
        found = example.compare(model, inputs, compiled=compiled)
    assert found.layers == 7
    assert found.output < 1e-5 and found.gradients < 1e-4
    said = [each.message for each in caplog.records if each.name == "gemm_tuner"]
    assert len(said) == 1 and "as ATen has them" in said[0]


# torchvision, without which timm does not load, registers shapes of operators that it does not have beside a torch
# without CUDA: here they are defined
_TIMM_BLOCK = """
import json, sys
import torch
library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import replace_linear
torch.manual_seed(0)
sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 48, "num_heads": 3, "mlp_ratio": 104 / 48}
model, inputs = replace_linear.vit_block(**sizes)
print(json.dumps(vars(replace_linear.compare(model, inputs, compiled=sys.argv[1] == "compiled"))))
"""


@COMPILED
def test_a_block_of_timm_computes_the_same(compiled: bool) -> None:
    """In a process of its own, which has the folder that `make setup-test` installs timm into."""
    pytest.importorskip("transformers")
    vision = Path(sys.prefix) / "vision"
    if importlib.util.find_spec("timm") is None and not vision.exists():
        pytest.skip("timm is not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(EXAMPLES), str(vision)))}
    command = [sys.executable, "-c", _TIMM_BLOCK, "compiled" if compiled else "eager"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["layers"] == 4
    assert found["output"] < 1e-5 and found["gradients"] < 1e-4
