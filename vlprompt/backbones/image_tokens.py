"""Prompts in image towers: where they enter, what becomes of them, what is pooled.

A tower's steps (`image_towers.py`) are checked to add up to the library's own forward before a prompt enters it. A
prompt runs beside the image's tokens only where somebody looks at what becomes of it; elsewhere it is keys and values
(`image_layers.py`). Of the last layer only the tokens that are pooled are computed. Attention asks for no order, so
prompts stand behind the leading tokens whatever their place is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlprompt.backbones.image_layers import ALL, KeysValues, Layer, Positions, layer_of
from vlprompt.backbones.image_towers import refusal, steps_of
from vlprompt.backbones.prompts import NONE, VisualPrompt
from vlprompt.backbones.text_encoding import at_least_float32
from vlprompt.backbones.whole_text import first_of
from vlprompt.errors import UsageError, VlpromptError


@dataclass(frozen=True)
class Stream:
    """What runs through the layers.

    Attributes:
        tokens: (B, N, D): leading tokens, prompts, patches.
        held: How many prompts are among them.
        fresh: (P, D) or (B, P, D) prompts that have entered but not run through a layer.
        only_read: The tokens are those that pooling looks at, and no others.
    """

    tokens: Tensor
    held: int = 0
    fresh: Tensor | None = None
    only_read: bool = False


class ImageTokens:
    """An image tower as prompts see it.

    Attributes:
        tower: Its steps.
        steps: Its layers, where attention takes keys and values from outside; None for those that cannot.
    """

    def __init__(self, visual: nn.Module) -> None:
        """Take a tower apart and check that its steps add up.

        Args:
            visual: A frozen image tower of open_clip, or a plain ViT of timm.

        Raises:
            VlpromptError: It cannot take prompt tokens; the message says why.
        """
        self.tower = steps_of(visual)
        self.steps: list[Layer | None] = [layer_of(block) for block in self.tower.blocks]
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
        end = self._run(images, prompt)
        if prompt.pool == "only":
            prompts = end.tokens if end.only_read else self._apart(end)[1]
            return at_least_float32(self.tower.pool_prompts(prompts))
        seen = end.tokens if end.only_read or prompt.pool == "include" else self._apart(end)[0]
        return at_least_float32(self.tower.pool(seen))

    def outputs(self, images: Tensor, prompt: VisualPrompt) -> tuple[Tensor, Tensor]:
        """Every token after the last layer and the norm before pooling.

        Returns:
            The image's (B, N, D), and what became of the prompts (B, P, D).

        Raises:
            UsageError: The prompt does not fit the tower or the batch.
        """
        image, prompts = self._apart(self._run(images, prompt, everything=True))
        return self.tower.last_norm(image), self.tower.last_norm(prompts)

    def _run(self, images: Tensor, prompt: VisualPrompt, *, everything: bool = False) -> Stream:
        """All layers; with `everything`, no output of the last one is left out."""
        check_fit(prompt, self.layers, self.width, len(images))
        tokens, places = self.tower.embed(images.to(self._weight))
        stream = Stream(tokens)
        for layer, at in enumerate(places):
            trim = not everything and layer + 1 == self.layers
            stream = self._entered(stream, prompt, layer)
            inputs = (layer, stream, prompt, at, trim, everything)
            if self.tower.recompute and torch.is_grad_enabled():
                stream = checkpoint(self._through, *inputs, use_reentrant=False)
            else:
                stream = self._through(*inputs)
        return stream

    def _entered(self, stream: Stream, prompt: VisualPrompt, layer: int) -> Stream:
        """The stream before a layer, with the prompts that enter there."""
        if layer not in prompt.tokens:
            return stream
        fresh = prompt.tokens[layer].to(stream.tokens)
        if prompt.place == "embed" and layer == 0:
            fresh = self.tower.pre_norm(fresh)
        if prompt.spread == "replace" and stream.held:
            stream = Stream(self._apart(stream)[0])
        return Stream(stream.tokens, stream.held, fresh if fresh.shape[-2] else None)

    def _through(
        self, layer: int, stream: Stream, prompt: VisualPrompt, at: Positions, trim: bool, everything: bool
    ) -> Stream:
        """One layer; with `trim`, only of the tokens that are pooled."""
        step, x, held, extra = self.steps[layer], stream.tokens, stream.held, None
        if layer in prompt.prefixes:
            extra = self._prefix(prompt, layer, x)
        elif not at.matter and _is_watched(self.tower.blocks[layer]):
            step = None
        if stream.fresh is not None and step is not None and not everything and self._spare(prompt, layer):
            extra = _with(step.keys_values(stream.fresh), extra)
        elif stream.fresh is not None:
            behind = self.tower.lead + held
            fresh = stream.fresh.expand(len(x), *stream.fresh.shape[-2:])
            x, held = torch.cat([x[:, :behind], fresh, x[:, behind:]], dim=1), held + fresh.shape[1]
        rows = self._read(prompt, held) if trim and step is not None else ALL
        if step is None:
            return Stream(self.tower.block(layer, x), held)
        return Stream(step(x, at, extra, held, rows), held, only_read=rows != ALL)

    def _spare(self, prompt: VisualPrompt, layer: int) -> bool:
        """Whether nobody looks at what a layer makes of the prompts that enter before it."""
        if layer + 1 < self.layers:
            return prompt.spread == "replace" and layer + 1 in prompt.tokens
        return prompt.pool == "exclude" or (prompt.pool == "include" and self.tower.reads is not None)

    def _read(self, prompt: VisualPrompt, held: int) -> slice:
        """The tokens that pooling looks at."""
        if prompt.pool == "only":
            return slice(self.tower.lead, self.tower.lead + held)
        return ALL if self.tower.reads is None else slice(0, self.tower.reads)

    def _prefix(self, prompt: VisualPrompt, layer: int, x: Tensor) -> KeysValues:
        """The keys and values from outside that join a layer's attention."""
        step = self.steps[layer]
        if step is None:
            raise UsageError(
                f"layer {layer} ({type(self.tower.blocks[layer]).__name__}) takes no keys and values from outside: it "
                "has attention of its own kind. Use prompt tokens, or a plain ViT ('timm:vit_base_patch16_224')."
            )
        return step.split(prompt.prefixes[layer], x)

    def _apart(self, stream: Stream) -> tuple[Tensor, Tensor]:
        """The image's tokens (B, N, D), and the prompts (B, P, D)."""
        x, start, end = stream.tokens, self.tower.lead, self.tower.lead + stream.held
        return (torch.cat([x[:, :start], x[:, end:]], dim=1) if stream.held else x), x[:, start:end]

    @property
    def _weight(self) -> Tensor:
        """A weight of the tower that is not quantised, for its device and type."""
        return next(each for each in self.tower.blocks[0].parameters() if each.is_floating_point())

    def _fault(self, visual: nn.Module) -> str:
        """How the steps differ from the library's forward, or fail to train a prompt; empty if they do neither."""
        height, width = self.tower.size
        image = torch.linspace(-50, 50, 3 * height * width).sin().reshape(1, 3, height, width).to(self._weight)
        with torch.no_grad():
            self._keep_the_exact(image)
            wanted, got = at_least_float32(first_of(visual(image))), self(image, NONE)
        if not _near(got, wanted, self._weight.dtype):
            return "its own forward is more than embedding, blocks and pooling"
        with torch.enable_grad():
            token = torch.linspace(-1, 1, self.width, device=image.device)[None].requires_grad_()
            loss = self(image, VisualPrompt({0: token})).square().sum()
            gradient = torch.autograd.grad(loss, token, allow_unused=True)[0] if loss.requires_grad else None
        return "" if gradient is not None and gradient.any() else "a prompt in it gets no gradient"

    def _keep_the_exact(self, image: Tensor) -> None:
        """Give up the steps that are not their block's own forward: hooks and exchanged parts make a difference."""
        x, places = self.tower.embed(image)
        for layer, at in enumerate(places):
            step = self.steps[layer]
            if at.matter:  # the block alone cannot tell; the whole forward will
                continue
            y = self.tower.block(layer, x)
            if step is not None and not _near(step(x, at), y, self._weight.dtype):
                self.steps[layer] = None
            x = y


def can_be_taken_apart(take: Callable[[], ImageTokens]) -> bool:
    """Whether a tower is one that prompts could enter; where it is not, nobody needs to be told before they do."""
    try:
        take()
    except VlpromptError:
        return False
    return True


def check_fit(prompt: VisualPrompt, layers: int, width: int, images: int) -> None:
    """Raise UsageError for a prompt of another width, of a layer that is not there, or of another batch."""
    if missing := sorted((set(prompt.tokens) | set(prompt.prefixes)) - set(range(layers))):
        raise UsageError(f"prompts for layers {missing}, but the image tower has layers 0 to {layers - 1}.")
    for layer, tokens in prompt.tokens.items():
        if tokens.shape[-1] != width:
            raise UsageError(
                f"the prompt of layer {layer} has vectors of {tokens.shape[-1]} numbers, the image tower's tokens have "
                f"{width}."
            )
    for layer, part in [*prompt.tokens.items(), *((n, part) for n, pair in prompt.prefixes.items() for part in pair)]:
        if part.ndim == 3 and len(part) != images:
            raise UsageError(f"the prompt of layer {layer} is for {len(part)} images, the batch has {images}.")
    if prompt.pool == "only" and not any(tokens.shape[-2] for tokens in prompt.tokens.values()):
        raise UsageError("pool 'only' averages the prompts, and there are none.")


def _is_watched(block: nn.Module) -> bool:
    """Whether somebody has hooked onto a block, who wants to see it run as a whole."""
    return bool(block._forward_hooks or block._forward_pre_hooks or block._backward_hooks or block._backward_pre_hooks)


def _near(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Whether two tensors agree as far as their type allows."""
    if a.shape != b.shape:
        return False
    tolerance = (0.1 if dtype == torch.bfloat16 else 1e-4) * float(b.abs().max())
    return bool((a - b).abs().max() <= tolerance)


def _with(first: KeysValues, second: KeysValues | None) -> KeysValues:
    """Keys and values of two kinds together, for each image where one of them is."""
    if second is None:
        return first
    images = max(len(first[0]), len(second[0]))
    keys, values = (
        torch.cat([part.expand(images, *part.shape[1:]) for part in pair], dim=2)
        for pair in zip(first, second, strict=True)
    )
    return keys, values
