"""Prompts in image towers: where they enter, which of their outputs are computed, what is pooled.

The steps of a tower (`image_towers.py`) are first checked against the library's own forward. A prompt runs beside the
image's tokens only where its output is used; elsewhere it is keys and values (`image_layers.py`). In the last layer
only the tokens that are pooled are computed. Attention ignores order, so prompts always follow the leading tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.image_layers import ALL, KeysValues, Layer, Positions, layer_of
from vlprompt.backbones.image_towers import refusal, steps_of
from vlprompt.backbones.outputs import agree, at_least_float32, pooled
from vlprompt.backbones.prompt_types import NO_PROMPT, VisualPrompt
from vlprompt.errors import UsageError


@dataclass(frozen=True)
class State:
    """The tokens between two layers.

    Attributes:
        tokens: (B, N, D): leading tokens, prompts, patches.
        prompts: Number of prompts among the tokens.
        entering: (P, D) or (B, P, D) prompts that enter before the next layer and are not yet among the tokens.
        pooled_only: The tokens are exactly those that pooling reads.
    """

    tokens: Tensor
    prompts: int = 0
    entering: Tensor | None = None
    pooled_only: bool = False


class ImageTokens:
    """An image tower that prompts can enter.

    Attributes:
        tower: Its steps.
        steps: Its layers whose attention accepts further keys and values; None for a layer that cannot.
        width: D, the width of a token.
        layers: The number of layers, each of which prompts can enter.
    """

    def __init__(self, visual: nn.Module) -> None:
        """Divide a frozen tower into steps that equal its own forward; VlpromptError if it cannot take prompts."""
        self.tower = steps_of(visual)
        self.steps: list[Layer | None] = [layer_of(block) for block in self.tower.blocks]
        self.width, self.layers = self.tower.width, len(self.steps)
        if fault := self._fault(visual):
            raise refusal(visual, fault)

    def __call__(self, images: Tensor, prompt: VisualPrompt) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features; UsageError if the prompt does not fit the tower or the batch."""
        end = self._run(images, prompt)
        if prompt.pool == "only":
            prompts = end.tokens if end.pooled_only else self._separate(end)[1]
            return at_least_float32(self.tower.pool_prompts(prompts))
        read = end.tokens if end.pooled_only or prompt.pool == "include" else self._separate(end)[0]
        return at_least_float32(self.tower.pool(read))

    def outputs(self, images: Tensor, prompt: VisualPrompt) -> tuple[Tensor, Tensor]:
        """The image's tokens (B, N, D) and the prompts (B, P, D) after the last layer and the norm before pooling."""
        image, prompts = self._separate(self._run(images, prompt, everything=True))
        return self.tower.last_norm(image), self.tower.last_norm(prompts)

    def _run(self, images: Tensor, prompt: VisualPrompt, *, everything: bool = False) -> State:
        """All layers; with `everything`, all outputs of every layer are computed."""
        prompt.check_fit(self.layers, self.width, len(images))
        tokens, positions = self.tower.embed(images.to(self._weight))
        state = State(tokens)
        for layer, at in enumerate(positions):
            trim = not everything and layer + 1 == self.layers
            inputs = (layer, self._enter(state, prompt, layer), prompt, at, trim, everything)
            if self.tower.recompute and torch.is_grad_enabled():
                state = checkpoint(self._run_layer, *inputs, use_reentrant=False)
            else:
                state = self._run_layer(*inputs)
        return state

    def _enter(self, state: State, prompt: VisualPrompt, layer: int) -> State:
        """The state before a layer, with the prompts that enter there."""
        if layer not in prompt.tokens:
            return state
        entering = prompt.tokens[layer].to(state.tokens)
        if prompt.place == "embed" and layer == 0:
            entering = self.tower.pre_norm(entering)
        if prompt.spread == "replace" and state.prompts:
            state = State(self._separate(state)[0])
        return State(state.tokens, state.prompts, entering if entering.shape[-2] else None)

    def _run_layer(
        self, layer: int, state: State, prompt: VisualPrompt, at: Positions, trim: bool, everything: bool
    ) -> State:
        """One layer; with `trim`, only the tokens that are pooled are computed."""
        step, x, prompts, extra = self.steps[layer], state.tokens, state.prompts, None
        if layer in prompt.prefixes:
            extra = self._prefix(prompt, layer, x)
        elif not at.used and _has_hooks(self.tower.blocks[layer]):
            step = None
        if state.entering is not None and step is not None and not everything and self._is_unread(prompt, layer):
            extra = _join(step.keys_values(state.entering), extra)
        elif state.entering is not None:
            before = self.tower.lead + prompts
            entering = state.entering.expand(len(x), *state.entering.shape[-2:])
            x, prompts = torch.cat([x[:, :before], entering, x[:, before:]], dim=1), prompts + entering.shape[1]
        rows = self._pooled_rows(prompt, prompts) if trim and step is not None else ALL
        if step is None:
            return State(self.tower.block(layer, x), prompts)
        return State(step(x, at, extra, prompts, rows), prompts, pooled_only=rows != ALL)

    def _is_unread(self, prompt: VisualPrompt, layer: int) -> bool:
        """Whether a layer's outputs for the prompts that enter before it are never used."""
        if layer + 1 < self.layers:
            return prompt.spread == "replace" and layer + 1 in prompt.tokens
        return prompt.pool == "exclude" or (prompt.pool == "include" and self.tower.reads is not None)

    def _pooled_rows(self, prompt: VisualPrompt, prompts: int) -> slice:
        """The tokens that pooling reads."""
        if prompt.pool == "only":
            return slice(self.tower.lead, self.tower.lead + prompts)
        return ALL if self.tower.reads is None else slice(0, self.tower.reads)

    def _prefix(self, prompt: VisualPrompt, layer: int, x: Tensor) -> KeysValues:
        """The prompt's keys and values that join a layer's attention."""
        step = self.steps[layer]
        if step is None:
            raise UsageError(
                f"layer {layer} ({type(self.tower.blocks[layer]).__name__}) has its own kind of attention, without "
                "further keys and values. Use prompt tokens, or a plain ViT ('timm:vit_base_patch16_224')."
            )
        return step.split_heads(prompt.prefixes[layer], x)

    def _separate(self, state: State) -> tuple[Tensor, Tensor]:
        """The image's tokens (B, N, D), and the prompts (B, P, D)."""
        x, start, end = state.tokens, self.tower.lead, self.tower.lead + state.prompts
        return (torch.cat([x[:, :start], x[:, end:]], dim=1) if state.prompts else x), x[:, start:end]

    @property
    def _weight(self) -> Tensor:
        """A weight of the tower that is not quantised, for its device and type."""
        return next(each for each in self.tower.blocks[0].parameters() if each.is_floating_point())

    def _fault(self, visual: nn.Module) -> str:
        """Why the steps differ from the library's forward or give a prompt no gradient; empty if they do neither."""
        height, width = self.tower.size
        image = torch.linspace(-50, 50, 3 * height * width).sin().reshape(1, 3, height, width).to(self._weight)
        with torch.no_grad():
            self._drop_inexact_steps(image)
            expected, found = at_least_float32(pooled(visual(image))), self(image, NO_PROMPT)
        if not agree(found, expected, self._weight.dtype):
            return "its own forward is more than embedding, blocks and pooling"
        with torch.enable_grad():
            token = torch.linspace(-1, 1, self.width, device=image.device)[None].requires_grad_()
            loss = self(image, VisualPrompt({0: token})).square().sum()
            gradient = torch.autograd.grad(loss, token, allow_unused=True)[0] if loss.requires_grad else None
        return "" if gradient is not None and gradient.any() else "a prompt in it gets no gradient"

    def _drop_inexact_steps(self, image: Tensor) -> None:
        """Run a block as a whole if its step differs from its own forward, as hooks or exchanged parts can cause."""
        x, positions = self.tower.embed(image)
        for layer, at in enumerate(positions):
            step = self.steps[layer]
            if at.used:  # the block alone ignores positions; the comparison of the whole forward covers it
                continue
            y = self.tower.block(layer, x)
            if step is not None and not agree(step(x, at), y, self._weight.dtype):
                self.steps[layer] = None
            x = y


def _has_hooks(block: nn.Module) -> bool:
    """Whether a block has hooks, which must see it run as a whole."""
    return bool(block._forward_hooks or block._forward_pre_hooks or block._backward_hooks or block._backward_pre_hooks)


def _join(first: KeysValues, second: KeysValues | None) -> KeysValues:
    """Two sets of keys and values together; per image if one of them is."""
    if second is None:
        return first
    images = max(len(first[0]), len(second[0]))
    keys, values = (
        torch.cat([part.expand(images, *part.shape[1:]) for part in pair], dim=2)
        for pair in zip(first, second, strict=True)
    )
    return keys, values
