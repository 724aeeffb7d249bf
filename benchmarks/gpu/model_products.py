"""The matrix products of five models, from their published sizes. Pure values: neither weights nor torch are needed.

Sizes are those of the config.json of each model on the Hugging Face hub: meta-llama/Llama-3.2-1B, Qwen/Qwen2.5-0.5B,
google/vit-base-patch16-224, google-bert/bert-base-uncased, and stable-diffusion-v1-5's unet. What is one layer's is
counted as often as a forward pass of the whole model runs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import gemm_tuner as gt
from gemm_tuner.operand import Operand, product_of


@dataclass(frozen=True)
class Product:
    """activation(x @ weight.T + bias) of one kind of layer: x [m, k], weight [n, k] as nn.Linear has it.

    workload: the model, and what it is given. uses: in one forward pass.
    """

    workload: str
    layer: str
    m: int
    n: int
    k: int
    uses: int
    dtype: str = "bfloat16"
    has_bias: bool = False
    activation: str = "none"

    def __str__(self) -> str:
        return f"{self.workload}: {self.layer}, {self.m}x{self.n}x{self.k}"

    @property
    def work(self) -> int:
        """Multiplications of all its uses."""
        return self.uses * self.m * self.n * self.k

    @property
    def problem(self) -> gt.GemmProblem:
        """What the op makes of its operands."""
        return product_of(
            "addmm" if self.has_bias else "mm",
            Operand((self.m, self.k), (self.k, 1), 0, self.dtype),
            Operand((self.k, self.n), (1, self.k), 0, self.dtype),
            out_dtype=self.dtype,
            precision="ieee",
            epilogue=self.activation,
        )


@dataclass(frozen=True)
class Decoder:
    """A decoder's config.json. head_size: of a head of attention. biased: have q, k and v a bias?"""

    name: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    biased: bool

    def products(self, what: str, tokens: int, last_tokens: int) -> Iterator[Product]:
        """tokens: that go through the layers at once; last_tokens: those of which the next is asked."""
        workload, hidden, wide = f"{self.name}, {what}", self.hidden_size, self.heads * self.head_size
        narrow = self.kv_heads * self.head_size

        def of(layer: str, n: int, k: int, uses: int, *, has_bias: bool = False) -> Product:
            return Product(workload, layer, tokens, n, k, uses * self.layers, has_bias=has_bias)

        if self.biased:
            yield of("q", wide, hidden, 1, has_bias=True)
            yield of("o", hidden, wide, 1)
        else:
            yield of("q and o", wide, hidden, 2)
        yield of("k and v", narrow, hidden, 2, has_bias=self.biased)
        yield of("gate and up", self.intermediate_size, hidden, 2)
        yield of("down", hidden, self.intermediate_size, 1)
        yield Product(workload, "head", last_tokens, self.vocab_size, hidden, 1)


LLAMA = Decoder("Llama-3.2-1B", 2048, 8192, 16, 32, 8, 64, 128256, biased=False)
QWEN = Decoder("Qwen2.5-0.5B", 896, 4864, 24, 14, 2, 64, 151936, biased=True)
PREFILL_TOKENS = 512  # of one sequence
DECODED_SEQUENCES = 16  # one new token each


def encoder(workload: str, tokens: int) -> Iterator[Product]:
    """ViT-B/16 and BERT-base: 12 layers of 768, with 3072 in between."""
    hidden, between, layers = 768, 3072, 12
    yield Product(workload, "q, k, v and o", tokens, hidden, hidden, 4 * layers, "float16", has_bias=True)
    yield Product(workload, "in", tokens, between, hidden, layers, "float16", has_bias=True, activation="gelu")
    yield Product(workload, "out", tokens, hidden, between, layers, "float16", has_bias=True)


# Channels, side of the square of latents, and transformer blocks at that level: two going down and three going up, and
# the one in the middle.
UNET_LEVELS = ((320, 64, 5), (640, 32, 5), (1280, 16, 5), (1280, 8, 1))
UNET_TEXT_SIZE = 768


def unet(images: int = 2, text_tokens: int = 77) -> Iterator[Product]:
    """The transformer blocks of Stable Diffusion 1.5 at 512x512 pixels; two images: guidance without a classifier."""
    workload = f"SD-UNet, {images} of 512x512"

    def of(layer: str, m: int, n: int, k: int, uses: int, *, has_bias: bool) -> Product:
        return Product(workload, layer, m, n, k, uses, "float16", has_bias=has_bias)

    for channels, side, blocks in UNET_LEVELS:
        m, at = images * side * side, f"{channels} at {side}x{side}"
        yield of(f"q, k and v, {at}", m, channels, channels, 4 * blocks, has_bias=False)
        yield of(f"o, {at}", m, channels, channels, 2 * blocks, has_bias=True)
        yield of(f"k and v of text, {at}", images * text_tokens, channels, UNET_TEXT_SIZE, 2 * blocks, has_bias=False)
        yield of(f"in, {at}", m, 8 * channels, channels, blocks, has_bias=True)  # half of it is a gate
        yield of(f"out, {at}", m, channels, 4 * channels, blocks, has_bias=True)


VIT_TOKENS = (224 // 16) ** 2 + 1
WORKLOADS: tuple[tuple[Product, ...], ...] = (
    tuple(LLAMA.products(f"prefill of {PREFILL_TOKENS}", PREFILL_TOKENS, 1)),
    tuple(LLAMA.products(f"decode of {DECODED_SEQUENCES}", DECODED_SEQUENCES, DECODED_SEQUENCES)),
    tuple(encoder("ViT-B/16, 1 image", VIT_TOKENS)),
    tuple(encoder("BERT-base, 8 of 128 tokens", 8 * 128)),
    tuple(QWEN.products(f"prefill of {PREFILL_TOKENS}", PREFILL_TOKENS, 1)),
    tuple(QWEN.products(f"decode of {DECODED_SEQUENCES}", DECODED_SEQUENCES, DECODED_SEQUENCES)),
    tuple(unet()),
)


def by_importance(workloads: Iterable[Iterable[Product]] = WORKLOADS) -> list[Product]:
    """The product with the most work of each workload, then the next of each, and so on."""
    sorted_ones = [sorted(products, key=lambda each: -each.work) for products in workloads]
    turns = itertools.zip_longest(*sorted_ones)
    return [each for turn in turns for each in turn if each is not None]
