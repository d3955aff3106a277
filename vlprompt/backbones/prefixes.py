"""Prefixes of language models: keys and values that attention sees before the text's own.

Masked models, causal models and decoders take them as a cache. A T5 encoder ignores a cache, so each of its attentions
receives one directly, with the mask for it; the relative positions of the text then continue after the prefix, as with
real tokens.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PrefixShape = tuple[int, int, int, int]  # (L, 2, H, d): layers, keys and values, heads, width of a head


def shapes_of(config: Any, *, decoder: bool) -> tuple[PrefixShape, ...]:
    """The shape of a model's prefix without its length; two shapes if the model has a decoder with its own layers."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = [config.num_hidden_layers, *([config.num_decoder_layers] if decoder else [])]
    return tuple((int(count), 2, int(heads), int(size)) for count in layers)


def cache_name(module: Any) -> str:
    """The name of a module's argument for the cache: transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"


def prefix_cache(prefix: Tensor, batch: int, dtype: torch.dtype) -> Any:
    """(L, 2, H, P, d) as a cache for B texts; each call needs a new one, since attention adds to it."""
    from transformers import DynamicCache

    return DynamicCache([tuple(layer.to(dtype)[:, None].expand(-1, batch, -1, -1, -1)) for layer in prefix])


def decoder_cache(prefix: Tensor, batch: int, dtype: torch.dtype) -> Any:
    """The same for a decoder's self-attention; its attention to the encoder takes no prefix."""
    from transformers import EncoderDecoderCache

    return EncoderDecoderCache(prefix_cache(prefix, batch, dtype), empty_cache())


def empty_cache() -> Any:
    """A cache that a model's forward fills."""
    from transformers import DynamicCache

    return DynamicCache()


def cache_contents(cache: Any) -> Tensor:
    """(L, 2, H, T, d), the keys and values of one text in a cache."""
    return torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])


@contextmanager
def encoder_prefix(model: Any, prefix: Tensor | None, batch: int, dtype: torch.dtype) -> Iterator[None]:
    """While open, the encoder of a T5 sees (L, 2, H, P, d) keys and values before its own."""
    if prefix is None:
        yield
        return
    length, cache = prefix.shape[3], prefix_cache(prefix, batch, dtype)
    attentions = [block.layer[0].SelfAttention for block in model.get_encoder().block]

    def add_prefix(module: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = options.get("mask")
        if mask is not None:  # (B, 1, ., T): True, or 0 to be added, where a token is seen
            options["mask"] = F.pad(mask, (length, 0), value=mask.dtype == torch.bool)
        return args, {**options, cache_name(module): cache}

    hooks = [attention.register_forward_pre_hook(add_prefix, with_kwargs=True) for attention in attentions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
