"""What the op hands to the native launcher: a double takes the launcher's place and keeps what it was given."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch

import gemm_tuner as gt
from gemm_tuner import _core, running
from gemm_tuner.in_use import Work
from gemm_tuner.operand import Operand, product_of
from gemm_tuner.placement import placed

DEVICE = gt.device("rtx-3060")


class KeptLaunches:
    """A double of the launcher and of the kernel that it loads."""

    operands = ("a", "b", "parts", "c", "bias", "residual")
    scratch_bytes = 0

    def __init__(self) -> None:
        self.launches: list[_core.Launch] = []
        self.calls: list[tuple[int, ...]] = []

    def load(self, launches: Sequence[_core.Launch]) -> KeptLaunches:
        self.launches += launches
        return self

    def __call__(self, stream: int, *addresses: int) -> None:
        self.calls.append((stream, *addresses))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptLaunches:
    double = KeptLaunches()
    monkeypatch.setattr(running, "_launcher", lambda ordinal: double)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0x5EA))
    return double


def work(config: gt.GemmConfig, **fields: Any) -> Work:
    a, b = Operand((40, 64), (72, 1), 0, "float16"), Operand((64, 48), (1, 64), 0, "float16")
    problem = product_of("addmm", a, b, out_dtype="float16", precision="ieee", epilogue="relu+residual")
    return Work(problem, config, placed(problem, a.stored(), b.stored()), DEVICE, 0)


def test_split_k_gets_scratch_memory_and_addresses_in_order(kept: KeptLaunches) -> None:
    config = gt.GemmConfig(family="split_k", block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=2, split_k=2)
    runner = running.NativeRunner(work(config))
    assert [each.entry for each in kept.launches] == ["split_k", "add_parts"]
    a, b, bias = torch.zeros(40, 72).half()[:, :64], torch.zeros(48, 64).half().t(), torch.zeros(48).half()
    c, residual = torch.empty(40, 48).half(), torch.zeros(40, 48).half()
    runner(a, b, c, bias, residual=residual)
    ((stream, *addresses),) = kept.calls
    assert stream == 0x5EA and addresses[2] not in (0, *addresses[:2], *addresses[3:])
    assert addresses[:2] + addresses[3:] == [each.data_ptr() for each in (a, b, c, bias, residual)]


def test_launch_arguments_are_the_operands_own_strides(monkeypatch: pytest.MonkeyPatch, kept: KeptLaunches) -> None:
    seen: list[dict[str, Any]] = []

    def launch(**given: Any) -> dict[str, Any]:
        seen.append(given)
        return given

    monkeypatch.setattr(_core, "Launch", launch)
    running.NativeRunner(work(gt.GemmConfig(block_m=32, block_n=32, block_k=32, num_warps=4, num_stages=2)))
    ((*arguments, _, _),) = [each["arguments"] for each in seen]
    assert arguments[:7] == ["a", "b", "c", "bias", "residual", None, None]
    assert arguments[7:13] == [("i32", 40), ("i32", 48), ("i32", 64), ("i32", 72), ("i32", 64), ("i32", 48)]


def test_a_config_that_does_not_fit_is_refused_in_a_sentence(kept: KeptLaunches) -> None:
    huge = gt.GemmConfig(block_m=256, block_n=256, block_k=64, num_warps=8, num_stages=4)
    with pytest.raises(gt.errors.NotBuiltError, match=r"cannot run addmm 40x48x64 .* bytes of shared memory"):
        running.NativeRunner(work(huge))
    assert kept.launches == []
