"""Keys and values that attention sees before the text's own, given to models of transformers.

Masked and causal models and a decoder take them as a cache. A T5's encoder drops its cache, so each of its attentions
is handed one on its own, with the mask that goes with it; the text's relative positions then count on from the prefix,
as they do behind a real one.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, int, int, int]  # (L, 2, H, d): layers, keys and values, heads, width of a head


def shapes_of(config: Any, *, decoder: bool) -> tuple[Shape, ...]:
    """What a model's layers take, without the length: one shape, or two where a decoder has layers of its own."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layers = [config.num_hidden_layers, *([config.num_decoder_layers] if decoder else [])]
    return tuple((int(count), 2, int(heads), int(size)) for count in layers)


def cache_name(module: Any) -> str:
    """What a module calls the cache among its arguments: transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"


def cache(prefix: Tensor, batch: int, dtype: torch.dtype) -> Any:
    """(L, 2, H, P, d) as a cache for B texts; made anew for every call, since attention adds to it."""
    from transformers import DynamicCache

    return DynamicCache([tuple(layer.to(dtype)[:, None].expand(-1, batch, -1, -1, -1)) for layer in prefix])


def empty_cache() -> Any:
    """A cache that a model's forward fills."""
    from transformers import DynamicCache

    return DynamicCache()


def contents(kept: Any) -> Tensor:
    """(L, 2, H, T, d), what a forward of one text has left in a cache."""
    return torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in kept.layers])


def decoder_cache(prefix: Tensor, batch: int, dtype: torch.dtype) -> Any:
    """The same for a decoder's attention to itself; its attention to the encoder takes no prefix."""
    from transformers import DynamicCache, EncoderDecoderCache

    return EncoderDecoderCache(cache(prefix, batch, dtype), DynamicCache())


@contextmanager
def in_encoder(model: Any, prefix: Tensor | None, batch: int, dtype: torch.dtype) -> Iterator[None]:
    """While open, the encoder of a T5 sees (L, 2, H, P, d) keys and values before its own."""
    if prefix is None:
        yield
        return
    length, kept = prefix.shape[3], cache(prefix, batch, dtype)
    attentions = [block.layer[0].SelfAttention for block in model.get_encoder().block]

    def give(module: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = given.get("mask")
        if mask is not None:  # (B, 1, ., T): True, or 0 to be added, where a token is seen
            given["mask"] = F.pad(mask, (length, 0), value=mask.dtype == torch.bool)
        return args, {**given, cache_name(module): kept}

    hooks = [attention.register_forward_pre_hook(give, with_kwargs=True) for attention in attentions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
