"""Text encoding for every text tower: the library's own forward with chosen token embeddings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.outputs import at_least_float32, pooled
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.backbones.shared_prefix import check_deep, overwrite
from vlprompt.errors import UsageError


class WholeTextEncoder:
    """Runs whole texts of context length by the library's own forward, with the prompt as token embeddings.

    Padding, masks, positions and pooling stay the library's own, since it still receives token ids; a hook on the
    embedding table replaces the rows of placeholders by the prompt's.
    """

    def __init__(self, model: nn.Module, embedding: nn.Module, chunk_tokens: int, lead: int = 1) -> None:
        self.model: Any = model
        self.tower: Any = getattr(model, "text", model)
        self.embedding = embedding
        self.chunk_tokens = chunk_tokens
        self.lead = lead  # number of tokens before the first that deep prompts replace

    def __call__(self, prompt: TextPrompt) -> Tensor:
        """(G, P, D) prefix and (C, S, D) suffixes -> (G, C, E) features, not normalised."""
        variants, (texts, length) = prompt.prefix.shape[0], prompt.ids.shape[-2:]
        ids, ends = prompt.ids.expand(variants, texts, length), prompt.ends.expand(variants, texts)
        suffix = prompt.suffix if prompt.suffix.ndim == 4 else prompt.suffix.expand(variants, *prompt.suffix.shape)
        chunks = self.chunks(prompt)
        recompute = variants * texts > self._texts_per_chunk(prompt) and torch.is_grad_enabled()
        features = []
        for variant in range(variants):
            deep = {layer: x if x.ndim == 2 else x[variant] for layer, x in prompt.deep.items()}
            for chunk in chunks:
                embeddings = (prompt.prefix[variant], suffix[variant, chunk])
                inputs = (*embeddings, ends[variant, chunk], ids[variant, chunk], deep)
                last = variant + 1 == variants and chunk is chunks[-1]  # its backward pass is first
                again = recompute and not last
                features.append(
                    checkpoint(self._encode, *inputs, use_reentrant=False) if again else self._encode(*inputs)
                )
        return at_least_float32(torch.cat(features).reshape(variants, texts, -1))

    def chunks(self, prompt: TextPrompt) -> list[Tensor]:
        """The texts that run together, (c,) indices each, on the CPU."""
        return list(torch.split(torch.arange(prompt.ids.shape[-2]), self._texts_per_chunk(prompt)))

    def _texts_per_chunk(self, prompt: TextPrompt) -> int:
        return max(1, self.chunk_tokens // prompt.ids.shape[-1])

    def _encode(self, prefix: Tensor, suffix: Tensor, ends: Tensor, ids: Tensor, deep: Mapping[int, Tensor]) -> Tensor:
        """(P, D) and (c, S, D) for ids (c, L) -> (c, E)."""
        ids = ids.to(prefix.device)
        own = self.embedding(ids)
        given = torch.cat([prefix.expand(len(ids), -1, -1), suffix], dim=1).to(own.dtype)[:, : ids.shape[1]]
        given = torch.cat([given, own[:, given.shape[1] :]], dim=1)
        is_given = torch.arange(ids.shape[1], device=ids.device) <= (prefix.shape[0] + ends.to(ids.device))[:, None]
        embedded = torch.where(is_given[..., None], given, own)
        with ExitStack() as stack:
            stack.callback(self.embedding.register_forward_hook(lambda *_: embedded).remove)
            stack.enter_context(self._deep(deep))
            return pooled(self.model.encode_text(ids, normalize=False))

    @contextmanager
    def _deep(self, deep: Mapping[int, Tensor]) -> Iterator[None]:
        """While open, deep prompts replace the first tokens before their layers."""
        blocks = self._blocks() if deep else []
        check_deep(deep, len(blocks))
        with ExitStack() as stack:
            for layer, tokens in deep.items():
                hook = partial(self._overwrite, tokens)
                stack.callback(blocks[layer].register_forward_pre_hook(hook).remove)
            yield

    def _overwrite(self, tokens: Tensor, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """A block's arguments with deep prompts in its states: (B, L, D), or (L, B, D) in a tower with length first."""
        if getattr(self.tower.transformer, "batch_first", True):
            return overwrite(args[0], tokens, self.lead), *args[1:]
        return overwrite(args[0].transpose(0, 1), tokens, self.lead).transpose(0, 1), *args[1:]

    def _blocks(self) -> Sequence[nn.Module]:
        blocks: Sequence[nn.Module] | None = getattr(self.tower.transformer, "resblocks", None)
        if blocks is None:
            raise UsageError(
                f"deep text prompts need open_clip's own text transformer, not {type(self.tower).__name__}; use a "
                "method that learns tokens of the input only."
            )
        return blocks
