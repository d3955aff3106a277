"""Prompt tokens in image towers: where they enter, what becomes of them, what is pooled.

A tower's steps (`image_towers.py`) are checked to add up to the library's own forward before a prompt enters it.
"""

import torch
from torch import Tensor, nn

from vlprompt.backbones.image_towers import refusal, steps_of
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.backbones.text_encoding import at_least_float32
from vlprompt.backbones.whole_text import first_of
from vlprompt.errors import UsageError


class ImageTokens:
    """An image tower as prompts see it.

    Attributes:
        tower: Its steps.
    """

    def __init__(self, visual: nn.Module) -> None:
        """Take a tower apart and check that its steps add up.

        Args:
            visual: A frozen image tower of open_clip, or a plain ViT of timm.

        Raises:
            VlpromptError: It cannot take prompt tokens; the message says why.
        """
        self.tower = steps_of(visual)
        if fault := self._fault(visual):
            raise refusal(visual, fault)

    @property
    def width(self) -> int:
        """D, the width of a token."""
        return self.tower.width

    @property
    def layers(self) -> int:
        """How many layers prompts can enter."""
        return len(self.tower.blocks)

    def __call__(self, images: Tensor, prompt: VisualPrompt) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features.

        Raises:
            UsageError: The prompt does not fit the tower or the batch.
        """
        check_fit(prompt, self.layers, self.width, len(images))
        x = self.tower.embed(images.to(self._weight))
        before_norm = prompt.place == "end-before-norm"
        start = x.shape[1] if before_norm else self.tower.lead
        held = 0  # prompts among the tokens, from `start` on
        for layer in range(self.layers):
            if layer in prompt.tokens:
                tokens = prompt.tokens[layer].to(x)
                tokens = self.tower.pre_norm(tokens) if before_norm and layer == 0 else tokens
                kept = held if prompt.spread == "propagate" else 0
                x = _joined(x[:, : start + kept], tokens, x[:, start + held :])
                held = kept + tokens.shape[-2]
            x = self.tower.block(layer, x)
        return at_least_float32(self._pooled(x, slice(start, start + held), prompt.pool))

    def _pooled(self, x: Tensor, prompts: slice, pool: str) -> Tensor:
        """(B, N, D) tokens, some of them prompts -> (B, E)."""
        if pool == "only":
            return self.tower.pool_prompts(x[:, prompts])
        if pool == "exclude":
            x = torch.cat([x[:, : prompts.start], x[:, prompts.stop :]], dim=1)
        return self.tower.pool(x)

    @property
    def _weight(self) -> Tensor:
        """A weight of the tower, for its device and type."""
        return next(iter(self.tower.blocks[0].parameters()))

    def _fault(self, visual: nn.Module) -> str:
        """How the steps differ from the library's forward, or fail to train a prompt; empty if they do neither."""
        height, width = self.tower.size
        image = torch.linspace(-50, 50, 3 * height * width).sin().reshape(1, 3, height, width).to(self._weight)
        with torch.no_grad():
            wanted, got = at_least_float32(first_of(visual(image))), self(image, NONE)
        tolerance = (0.1 if self._weight.dtype == torch.bfloat16 else 1e-4) * float(wanted.abs().max())
        if wanted.shape != got.shape or not bool((wanted - got).abs().max() <= tolerance):
            return "its own forward is more than embedding, blocks and pooling"
        with torch.enable_grad():
            token = torch.linspace(-1, 1, self.width, device=image.device)[None].requires_grad_()
            loss = self(image, VisualPrompt({0: token})).square().sum()
            gradient = torch.autograd.grad(loss, token, allow_unused=True)[0] if loss.requires_grad else None
        return "" if gradient is not None and gradient.any() else "a prompt in it gets no gradient"


def check_fit(prompt: VisualPrompt, layers: int, width: int, images: int) -> None:
    """Raise UsageError for a prompt of another width, of a layer that is not there, or of another batch."""
    if missing := sorted(set(prompt.tokens) - set(range(layers))):
        raise UsageError(f"prompts for layers {missing}, but the image tower has layers 0 to {layers - 1}.")
    for layer, tokens in prompt.tokens.items():
        if tokens.shape[-1] != width:
            raise UsageError(
                f"the prompt of layer {layer} has vectors of {tokens.shape[-1]} numbers, the image tower's tokens have "
                f"{width}."
            )
        if tokens.ndim == 3 and len(tokens) != images:
            raise UsageError(f"the prompt of layer {layer} is for {len(tokens)} images, the batch has {images}.")
    if prompt.pool == "only" and not any(tokens.shape[-2] for tokens in prompt.tokens.values()):
        raise UsageError("pool 'only' averages the prompts, and there are none.")


def _joined(before: Tensor, tokens: Tensor, after: Tensor) -> Tensor:
    """(P, D) or (B, P, D) tokens between (B, L, D) and (B, R, D)."""
    return torch.cat([before, tokens.expand(len(before), *tokens.shape[-2:]), after], dim=1)
