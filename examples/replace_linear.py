"""A Llama block and a ViT block before and after `replace_linear`, eager and compiled, forward and backward.

    python examples/replace_linear.py [records.jsonl]

Prints how far results and gradients of the model with replaced layers lie from the original's. Both blocks are random,
of the real sizes: one layer of Llama-3.2-1B (transformers), one of ViT-B/16 (timm; `pip install transformers timm`). On
a CUDA device the records' kernels run; elsewhere everything falls back to ATen, and says so once.
"""

import logging
import sys
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaModel

import gemm_tuner as gt
from llama import LLAMA_3_2_1B

TOKENS, IMAGES = 64, 1


@dataclass(frozen=True)
class Difference:
    """The largest differences, relative to the largest value of the original: over all parameters, of the gradients,
    some of which are zero but for rounding (of a key's bias)."""

    layers: int
    output: float
    gradients: float


def llama_block(**smaller):
    """(model, inputs): one decoder layer with its norm, on embeddings of 64 tokens."""
    config = LlamaConfig(**{**LLAMA_3_2_1B.to_dict(), "num_hidden_layers": 1, "vocab_size": 8, **smaller})
    return LlamaModel(config), {"inputs_embeds": torch.randn(1, TOKENS, config.hidden_size), "use_cache": False}


def vit_block(**smaller):
    """(model, inputs): patches and one encoder layer, on one image."""
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(depth=1, num_classes=0, global_pool="", **smaller)
    return model, {"x": torch.randn(IMAGES, 3, *model.patch_embed.img_size)}


def run(model, inputs, *, compiled):
    """The last hidden state, and every parameter's gradient of its mean square."""
    call = torch.compile(model) if compiled else model
    model.zero_grad()
    out = call(**inputs)
    out = getattr(out, "last_hidden_state", out)
    out.float().square().mean().backward()
    return out.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def compare(model, inputs, *, compiled):
    """The original eager model against the same model with its layers replaced, which are put back afterwards."""
    wanted, wanted_gradients = run(model, inputs, compiled=False)
    replaced = gt.replace_linear(model)
    try:
        got, gradients = run(model, inputs, compiled=compiled)
    finally:
        replaced.undo()
    return Difference(len(replaced), distance([got], [wanted]), distance(gradients, wanted_gradients))


def distance(got, wanted):
    differences = [(one - other).abs().max().item() for one, other in zip(got, wanted, strict=True)]
    return max(differences) / max(each.abs().max().item() for each in wanted)


def main(records):
    logging.basicConfig(level=logging.INFO)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with gt.use_records(records):
        for name, make in (("Llama-3.2-1B block", llama_block), ("ViT-B/16 block", vit_block)):
            torch.manual_seed(0)
            model, inputs = make()
            model.to(device, dtype)
            inputs = {key: each.to(device, dtype) if torch.is_tensor(each) else each for key, each in inputs.items()}
            for compiled in (False, True):
                print(name, "compiled" if compiled else "eager", compare(model, inputs, compiled=compiled))


if __name__ == "__main__":
    main(sys.argv[1:])
