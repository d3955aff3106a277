"""The path for every text tower: the library's own forward with chosen token embeddings put in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.prompts import TextPrompt
from vlprompt.backbones.text_encoding import at_least_float32, check_deep, overwrite
from vlprompt.errors import UsageError


class WholeText:
    """Runs whole texts of context length, as the library does, with prompts in place of token embeddings.

    Padding, masks, positions and pooling stay the library's own, since it still sees token ids; a hook on the
    embedding table puts the prompt's rows where the ids have placeholders.
    """

    def __init__(self, model: nn.Module, embedding: nn.Module, chunk_tokens: int, lead: int = 1) -> None:
        self.model: Any = model
        self.tower: Any = getattr(model, "text", model)
        self.embedding = embedding
        self.chunk_tokens = chunk_tokens
        self.lead = lead  # tokens before the first that deep prompts overwrite

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""
        variants, (texts, length) = prompt.prefix.shape[0], prompt.ids.shape[-2:]
        ids, ends = prompt.ids.expand(variants, texts, length), prompt.ends.expand(variants, texts)
        suffix = prompt.suffix if prompt.suffix.ndim == 4 else prompt.suffix.expand(variants, *prompt.suffix.shape)
        chunks = self.chunks(prompt)
        recompute = variants * texts > self._at_once(prompt) and torch.is_grad_enabled()
        features = []
        for variant in range(variants):
            deep = {layer: x if x.ndim == 2 else x[variant] for layer, x in prompt.deep.items()}
            for chosen in chunks:
                given = (prompt.prefix[variant], suffix[variant, chosen])
                inputs = (*given, ends[variant, chosen], ids[variant, chosen], deep)
                last = variant + 1 == variants and chosen is chunks[-1]  # it goes backward first
                again = recompute and not last
                features.append(
                    checkpoint(self._encode, *inputs, use_reentrant=False) if again else self._encode(*inputs)
                )
        return at_least_float32(torch.cat(features).reshape(variants, texts, -1))

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that are run together, (c,) indices each, on the CPU."""
        return list(torch.split(torch.arange(prompt.ids.shape[-2]), self._at_once(prompt)))

    def _at_once(self, prompt: TextPrompt) -> int:
        return max(1, self.chunk_tokens // prompt.ids.shape[-1])

    def _encode(self, prefix: Tensor, suffix: Tensor, ends: Tensor, ids: Tensor, deep: Mapping[int, Tensor]) -> Tensor:
        """(P, D) and (c, S, D) for ids (c, L) -> (c, E)."""
        ids = ids.to(prefix.device)
        own = self.embedding(ids)
        given = torch.cat([prefix.expand(len(ids), -1, -1), suffix], dim=1).to(own.dtype)[:, : ids.shape[1]]
        given = torch.cat([given, own[:, given.shape[1] :]], dim=1)
        is_given = torch.arange(ids.shape[1], device=ids.device) <= (prefix.shape[0] + ends.to(ids.device))[:, None]
        embedded = torch.where(is_given[..., None], given, own)
        with _replaced(self.embedding, embedded), self._deep(deep):
            return first_of(self.model.encode_text(ids, normalize=False))

    @contextmanager
    def _deep(self, deep: Mapping[int, Tensor]) -> Iterator[None]:
        """While open, deep prompts overwrite the first tokens before their layers."""
        blocks = self._blocks() if deep else []
        check_deep(deep, len(blocks))
        with ExitStack() as stack:
            for layer, tokens in deep.items():
                hook = partial(self._overwrite, tokens)
                stack.callback(blocks[layer].register_forward_pre_hook(hook).remove)
            yield

    def _overwrite(self, tokens: Tensor, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A block's arguments with deep prompts in its states, (B, L, D) or, in a tower that has it so, (L, B, D)."""
        if getattr(self.tower.transformer, "batch_first", True):
            return overwrite(args[0], tokens, self.lead), *args[1:]
        return overwrite(args[0].transpose(0, 1), tokens, self.lead).transpose(0, 1), *args[1:]

    def _blocks(self) -> Sequence[nn.Module]:
        blocks: Sequence[nn.Module] | None = getattr(self.tower.transformer, "resblocks", None)
        if blocks is None:
            raise UsageError(
                f"deep text prompts need open_clip's own text transformer, not {type(self.tower).__name__}; "
                "use a method that only learns the input context (CoOp, CoCoOp)."
            )
        return blocks


def first_of(features: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled features of a tower that may give its tokens beside them."""
    return features[0] if isinstance(features, tuple) else features


@contextmanager
def _replaced(embedding: nn.Module, rows: Tensor) -> Iterator[None]:
    """While open, the embedding table answers with `rows`."""
    handle = embedding.register_forward_hook(lambda *_: rows)
    try:
        yield
    finally:
        handle.remove()
