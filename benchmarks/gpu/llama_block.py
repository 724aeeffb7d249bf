"""One transformer block of Llama-3.2-1B's sizes, and the calls that are timed. Its weights are random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

SEED = 0
ROPE_BASE = 500_000.0  # Llama 3's


@dataclass(frozen=True)
class Sizes:
    """Of the block; head_dim is width // heads."""

    width: int = 2048
    heads: int = 32
    kv_heads: int = 8
    hidden: int = 8192


@dataclass(frozen=True)
class Workload:
    """One call: `tokens` new tokens for each of `batch` sequences that have `past` tokens in the cache already."""

    batch: int
    tokens: int
    past: int


WORKLOADS = {
    "prefill_512": Workload(batch=1, tokens=512, past=0),
    "decode_16": Workload(batch=16, tokens=1, past=512),
    "decode_1": Workload(batch=1, tokens=1, past=512),
}


class LlamaBlock(nn.Module):
    """RMSNorm, grouped-query attention with rotary positions, residual, RMSNorm, SwiGLU, residual; no biases."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = sizes.heads, sizes.kv_heads, sizes.width // sizes.heads
        narrow = self.kv_heads * self.head_dim
        self.before_attention, self.before_mlp = (nn.RMSNorm(sizes.width, eps=1e-5) for _ in range(2))
        self.q, self.o = (nn.Linear(sizes.width, sizes.width, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(sizes.width, narrow, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(sizes.width, sizes.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: torch.Tensor, past: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        """x: [batch, tokens, width]; past: keys and values, [batch, kv_heads, tokens so far, head_dim], then one token
        is new. Returns x's shape."""
        x = x + self.o(self._attention(self.before_attention(x), past))
        y = self.before_mlp(x)
        out: torch.Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return out

    def _attention(self, x: torch.Tensor, past: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
        start = 0 if past is None else past[0].shape[2]
        queries = self._rotated(self._split(self.q(x), self.heads), start)
        keys, values = (
            self._rotated(self._split(self.k(x), self.kv_heads), start),
            self._split(self.v(x), self.kv_heads),
        )
        if past is not None:
            keys, values = torch.cat((past[0], keys), 2), torch.cat((past[1], values), 2)
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=past is None, enable_gqa=self.heads != self.kv_heads
        )
        return mixed.transpose(1, 2).reshape(x.shape)

    def _split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.view(*x.shape[:2], heads, self.head_dim).transpose(1, 2)

    def _rotated(self, x: torch.Tensor, start: int) -> torch.Tensor:
        half = self.head_dim // 2
        frequency = ROPE_BASE ** -(torch.arange(half, device=x.device, dtype=torch.float32) / half)
        position = torch.arange(start, start + x.shape[2], device=x.device, dtype=torch.float32)
        angle = position[:, None] * frequency
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        low, high = x[..., :half], x[..., half:]
        return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def block(sizes: Sizes, device: torch.device | str, dtype: torch.dtype) -> LlamaBlock:
    """The block in inference, with the same weights in every process."""
    torch.manual_seed(SEED)
    return LlamaBlock(sizes).to(device, dtype).eval().requires_grad_(False)


def inputs(
    work: Workload, sizes: Sizes, device: torch.device | str, dtype: torch.dtype
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    """What the block is called with; the same in every process."""
    draw = torch.Generator().manual_seed(SEED)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(device, dtype)

    x = normal(work.batch, work.tokens, sizes.width)
    if work.past == 0:
        return x, None
    kept = (work.batch, sizes.kv_heads, work.past, sizes.width // sizes.heads)
    return x, (normal(*kept), normal(*kept))
