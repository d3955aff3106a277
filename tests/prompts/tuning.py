"""Views and learners of the tests of prompts tuned per image."""

from dataclasses import replace

import torch

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.learners import CTPT, CoCoOp, CoOp, CoOpConfig, CTPTConfig, TPTConfig
from vlprompt.prompts.tuned_per_image import TunedPerImage
from vlprompt.randomness import normal

FAST = TPTConfig(views=20, confident=0.25, lr=0.02)
OVER = ("words", "middle words", "end", "front", "middle", "class-specific", "cocoop")


def batch_of_views(count: int, views: int, width: int, dtype: torch.dtype = torch.float64, seed: int = 5) -> Batch:
    """Random views around each image, the plain one first."""
    plain = normal(count, 1, width, seed=seed, std=1.0)
    spread = normal(count, views, width, seed=seed + 1, std=0.7)
    spread[:, 0] = 0
    index = torch.arange(count)
    return Batch(torch.full_like(index, -1), index, views=(plain + spread).to(dtype))


def build(kind: type[TunedPerImage], over: str, clip: Clip, names: tuple[str, ...], steps: int) -> TunedPerImage:
    """A method with a few steps on words, or over an untrained CoOp or CoCoOp."""
    config = CTPTConfig(**vars(FAST), strength=3.0) if kind is CTPT else FAST
    config = replace(config, steps=steps)
    if over == "words":
        return kind(clip, names, config)
    if over == "middle words":
        return kind(clip, names, replace(config, words="the [CLASS] in a photo"))
    if over == "cocoop":
        return kind.over(CoCoOp(clip, names), config)
    specific = over == "class-specific"
    position = "end" if specific else over
    return kind.over(CoOp(clip, names, CoOpConfig(n_ctx=4, position=position, class_specific=specific)), config)
