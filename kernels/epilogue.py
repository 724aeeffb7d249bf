"""What happens to an accumulator on its way out: scales, bias, activation, residual. Every family ends here."""

import triton
import triton.language as tl


@triton.jit
def gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))  # 1 / sqrt(2)


@triton.jit
def gelu_tanh(x):
    # 0.5 * (1 + tanh(y)) is sigmoid(2 * y), with y = sqrt(2 / pi) * (x + 0.044715 * x**3)
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit
def finish(
    accumulator,
    bias,
    residual,
    scale_a,
    scale_b,
    rows,
    columns,
    places,
    m,
    n,
    SCALING: tl.constexpr,
    BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    """activation(accumulator * scale_a * scale_b + bias[columns]) + residual[places].

    In the accumulator's type; what is scaled, in float32.
    SCALING: "none", "tensor" (a number for each operand), or "row" (scale_a has m of them and scale_b n). places: where
    the tile's elements are in the residual, which is read as far as the tile lies inside of m x n.
    """
    if SCALING != "none":
        accumulator = accumulator.to(tl.float32)
    if SCALING == "tensor":
        accumulator *= tl.load(scale_a) * tl.load(scale_b)
    if SCALING == "row":
        accumulator *= tl.load(scale_a + rows, mask=rows < m, other=0.0)[:, None]
        accumulator *= tl.load(scale_b + columns, mask=columns < n, other=0.0)[None, :]
    if BIAS:
        row = tl.load(bias + columns, mask=columns < n, other=0.0)
        accumulator += row.to(accumulator.dtype)[None, :]
    if ACTIVATION == "relu":
        accumulator = tl.maximum(accumulator, 0)
    elif ACTIVATION == "gelu":
        accumulator = gelu(accumulator)
    elif ACTIVATION == "gelu_tanh":
        accumulator = gelu_tanh(accumulator)
    elif ACTIVATION == "silu":
        accumulator *= tl.sigmoid(accumulator)
    if RESIDUAL:
        tile = tl.load(residual + places, mask=(rows < m)[:, None] & (columns < n)[None, :], other=0.0)
        accumulator += tile.to(accumulator.dtype)
    return accumulator
