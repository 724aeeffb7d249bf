"""The blocks that models are made of, small, with sizes that no tile divides, for tests of whole graphs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

WIDTH = 192
HEADS = 3
HIDDEN = 520
TOKENS = (2, 72, WIDTH)


def attention(x: torch.Tensor, queries: nn.Linear, keys: nn.Linear, values: nn.Linear) -> torch.Tensor:
    """Written out, so that its two products are products; [batch, tokens, width] to the same."""
    batch, length, width = x.shape

    def heads(projection: nn.Linear) -> torch.Tensor:
        split: torch.Tensor = projection(x).view(batch, length, HEADS, width // HEADS)
        return split.transpose(1, 2)

    scores = heads(queries) @ heads(keys).transpose(-2, -1) * (width // HEADS) ** -0.5
    return (torch.softmax(scores, -1) @ heads(values)).transpose(1, 2).reshape(batch, length, width)


class LlamaBlock(nn.Module):
    """RMSNorm, attention, SwiGLU, residuals; no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, HIDDEN, bias=False) for _ in range(2))
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.o(attention(self.before_attention(x), self.q, self.k, self.v))
        y = self.before_mlp(x)
        out: torch.Tensor = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return out


class VitBlock(nn.Module):
    """LayerNorm, attention, GELU, residuals; biases everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.o(attention(self.before_attention(x), self.q, self.k, self.v))
        out: torch.Tensor = x + self.down(functional.gelu(self.up(self.before_mlp(x))))
        return out


def on_meta(block: type[nn.Module]) -> nn.Module:
    """The block without memory."""
    with torch.device("meta"):
        return block()
