"""The blocks that models are made of, small, with sizes that no tile divides, for tests of whole graphs."""

from __future__ import annotations

from collections.abc import Callable

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


class _Block(nn.Module):
    """Norm, attention, residual, norm, MLP, residual."""

    def __init__(self, norm: type[nn.Module], *, bias: bool) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = norm(WIDTH), norm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN, bias=bias), nn.Linear(HIDDEN, WIDTH, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.o(attention(self.before_attention(x), self.q, self.k, self.v))
        out: torch.Tensor = x + self.down(self.hidden(self.before_mlp(x)))
        return out

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """[..., width] to [..., hidden]: a plain GELU, unless a block has another."""
        return functional.gelu(self.up(x))


class LlamaBlock(_Block):
    """RMSNorm and SwiGLU; no biases."""

    def __init__(self) -> None:
        super().__init__(nn.RMSNorm, bias=False)
        self.gate = nn.Linear(WIDTH, HIDDEN, bias=False)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        gated: torch.Tensor = functional.silu(self.gate(x)) * self.up(x)
        return gated


class GeluBlock(_Block):
    """RMSNorm and a plain GELU; no biases."""

    def __init__(self) -> None:
        super().__init__(nn.RMSNorm, bias=False)


class VitBlock(_Block):
    """LayerNorm and a plain GELU; biases everywhere."""

    def __init__(self) -> None:
        super().__init__(nn.LayerNorm, bias=True)


def on_meta(block: Callable[[], nn.Module]) -> nn.Module:
    """The block without memory."""
    with torch.device("meta"):
        return block()
