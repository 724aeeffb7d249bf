"""Llama-3.2-1B as four models to capture, on meta tensors: no weights, no download, no GPU.

    gemm-tuner capture -o problems.jsonl --model examples/llama.py:prefill
    gemm-tuner capture -o problems.jsonl --model examples/llama.py:train --backward

Each function returns (model, args, kwargs); the model is called once as model(*args, **kwargs).
"""

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

CONTEXT = 512  # tokens: of the prompt, of a training sequence, and already in the cache when decoding
LLAMA_3_2_1B = LlamaConfig(
    vocab_size=128256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=131072,
    tie_word_embeddings=True,
)


def llama():
    with torch.device("meta"):
        return LlamaForCausalLM(LLAMA_3_2_1B).to(torch.bfloat16)


def tokens(batch, length):
    return torch.empty(batch, length, dtype=torch.int64, device="meta")


def prefill():
    """A prompt of 512 tokens; only the last position's logits are wanted."""
    return llama().eval(), (tokens(1, CONTEXT),), {"logits_to_keep": 1}


def decode(batch):
    """One new token for each of `batch` sequences that have 512 tokens in the cache."""
    model = llama().eval()
    cache = DynamicCache(config=model.config)
    shape = (batch, model.config.num_key_value_heads, CONTEXT, model.config.head_dim)
    for layer in range(model.config.num_hidden_layers):
        past = torch.empty(shape, dtype=torch.bfloat16, device="meta")
        cache.update(past, past, layer)
    return model, (tokens(batch, 1),), {"past_key_values": cache}


def decode_1():
    return decode(1)


def decode_16():
    return decode(16)


def train():
    """One training step of 512 tokens: forward with a loss; capture it with --backward."""
    ids = tokens(1, CONTEXT)
    return llama().train(), (ids,), {"labels": ids}
