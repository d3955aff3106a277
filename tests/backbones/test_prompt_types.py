"""Prompts that do not fit are refused, and prompts of single variants are stacked."""

from typing import Any

import pytest
import torch

from tests.backbones.plain_tower import native, strengthen, tower_images
from tests.backbones.text_towers import NAMES, error, gradient, noise
from vlprompt.backbones.image_tokens import ImageTokens
from vlprompt.backbones.prompt_types import VisualPrompt, stack_prompts
from vlprompt.errors import UsageError
from vlprompt.prompts.context import PromptLayout


def test_prompts_that_do_not_fit_are_refused() -> None:
    visual = strengthen(native())
    images, adapter = tower_images(visual), ImageTokens(visual)
    for prompt, reason in [
        (VisualPrompt({3: torch.zeros(2, 32)}), r"layers \[3\].*0 to 2"),
        (VisualPrompt({-1: torch.zeros(2, 32)}), r"layers \[-1\]"),
        (VisualPrompt({0: torch.zeros(2, 24)}), "width 24.*have 32"),
        (VisualPrompt({0: torch.zeros(2, 2, 32)}), "for 2 images, the batch has 3"),
        (VisualPrompt({0: torch.zeros(0, 32)}, pool="only"), "has no tokens"),
    ]:
        with pytest.raises(UsageError, match=reason):
            adapter(images, prompt)
    with pytest.raises(UsageError, match=r"\(32,\)"):
        VisualPrompt({0: torch.zeros(32)})
    with pytest.raises(UsageError, match="did you mean 'replace'"):
        VisualPrompt(spread="replaced")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pool"):
        VisualPrompt(pool="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [NAMES, NAMES[1:2]])
@pytest.mark.parametrize("specific", [False, True])
def test_stacked_variants_may_end_in_different_words(built: Any, names: list[str], specific: bool) -> None:
    clip = built.clip()
    closings = (".", " in red and blue green.", " in red.")
    context = noise(3, (len(names) if specific else 1) * 2, clip.text_width).requires_grad_()
    layouts = [PromptLayout(clip, names, 2, class_specific=specific, closing=closing) for closing in closings]
    prompts = [layout.fill(own[None]) for layout, own in zip(layouts, context, strict=True)]
    together = clip.encode_text(stack_prompts(prompts))
    alone = torch.cat([clip.encode_text(prompt) for prompt in prompts])
    assert together.shape == (3, len(names), clip.embed_dim)
    assert error(together, alone) < 1e-5
    assert error(gradient(together, context), gradient(alone, context)) < 1e-4
