"""A kernel with the operands and sizes of `tiled` and next to no work, for timing what launches it."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def"
import triton
import triton.language as tl


@triton.jit
def tiled(a, b, c, m, n, k, BLOCK: tl.constexpr):  # noqa: N803  # Triton's compile-time constants are upper case
    """Adds the first elements of A and B."""
    place = tl.arange(0, BLOCK)
    tl.store(c + place, tl.load(a + place) + tl.load(b + place), mask=place < m * n * k)
