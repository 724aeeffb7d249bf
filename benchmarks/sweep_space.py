"""What a sweep times: many problems, and a wide part of our config space for each. Pure functions over values."""

from __future__ import annotations

import itertools
import math
import random
import zlib
from collections.abc import Iterable, Sequence

import gemm_tuner as gt
from gemm_tuner.compile import Kernel

MOST_FMA = 3e11  # of one problem: a few milliseconds on 16 SMs

# hidden, inner, q + k + v, vocabulary (0: none), and the rows of m that the model is run with
_MODELS = {
    "llama-3.2-1b": (2048, 8192, 3072, 128256, (1, 16, 128, 512, 2048)),
    "qwen2.5-0.5b": (896, 4864, 1152, 151936, (1, 16, 512)),
    "vit-b-16": (768, 3072, 2304, 0, (197, 8 * 197)),
    "siglip-so400m": (1152, 4304, 3456, 0, (729,)),
    "whisper-small": (768, 3072, 768, 0, (1500,)),
}
_UNET = [(4096, 320, 320), (4096, 2560, 320), (1024, 640, 2560), (256, 1280, 1280), (64, 1280, 5120)]
_LONG_K = [(64, 64, 16384), (128, 128, 8192), (256, 64, 32768), (32, 512, 65536), (128, 256, 16384)]
_ODD = [(1000, 1000, 1000), (333, 777, 555), (1023, 1025, 511), (2049, 257, 129), (100, 4000, 300)]
_SQUARE = [(512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 4096)]
_RANDOM = 80


def shapes(seed: int = 0) -> list[tuple[int, int, int]]:
    """m, n, k: layers of real models, few tiles with a long k, odd sizes, and random ones, log-uniform.

    In an order of the seed's, so that a sweep that is cut off has some of every kind.
    """
    found = [*_UNET, *_LONG_K, *_ODD, *_SQUARE]
    for hidden, inner, qkv, vocabulary, rows in _MODELS.values():
        for m in rows:
            found += [(m, qkv, hidden), (m, hidden, hidden), (m, inner, hidden), (m, hidden, inner)]
        if vocabulary:
            found.append((min(rows), vocabulary, hidden))
    draw = random.Random(seed)
    found += itertools.islice(_random_shapes(draw), _RANDOM)
    whole = list(dict.fromkeys(found))
    draw.shuffle(whole)
    return whole


def _random_shapes(draw: random.Random) -> Iterable[tuple[int, int, int]]:
    def size(low: int, high: int) -> int:
        return round(2 ** draw.uniform(math.log2(low), math.log2(high)))

    while True:
        m, n, k = size(16, 8192), size(16, 8192), size(32, 16384)
        if draw.random() < 0.8:  # most layers are multiples of 8
            m, n, k = (max(8, each // 8 * 8) for each in (m, n, k))
        if m * n * k <= MOST_FMA:
            yield m, n, k


def candidates(
    problem: gt.GemmProblem, devices: Sequence[gt.DeviceSpec], count: int, *, kernel: Kernel, seed: int = 0
) -> list[gt.GemmConfig]:
    """So many configs: one half the best predicted, of each device in turn, the other at random from the rest.

    All are for all devices: what is best on one is to be known on the others too. The random ones come in one order for
    all problems, so that problems have kernels in common, and fewer are to be compiled.
    """
    spaces = [_space(problem, device, kernel) for device in devices]
    orders = [
        [each.config for each in gt.rank(problem, device, top_k=count, configs=space)]
        for device, space in zip(devices, spaces, strict=True)
        if space
    ]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*orders))
    best = list(dict.fromkeys(each for each in in_turn if each is not None))[: -(-count // 2)]
    rest = set().union(*spaces).difference(best)
    drawn = sorted(rest, key=lambda config: zlib.crc32(f"{seed} {config!r}".encode()))
    return best + drawn[: count - len(best)]


def _space(problem: gt.GemmProblem, device: gt.DeviceSpec, kernel: Kernel) -> list[gt.GemmConfig]:
    whole = gt.space(problem, device)
    return whole if kernel == "gemm_tuner" else [each for each in whole if each.family == "tiled"]
