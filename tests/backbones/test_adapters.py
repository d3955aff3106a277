"""Copies of a backbone that share its weights."""

import torch

from tests.backbones.plain_tower import VIT, small_clip
from vlprompt.backbones import load_vit
from vlprompt.backbones.adapters import AdaptedAttention, copy_sharing_weights


def test_a_copy_prompts_its_own_modules() -> None:
    clip = small_clip(VIT)
    assert clip.vision_layers == 3  # the tower has been divided into steps
    other = copy_sharing_weights(clip)
    assert other.image_tokens.tower.visual is other.model.visual
    assert other.image_tokens.tower.visual is not clip.model.visual


def test_the_tower_of_a_copy_is_checked_before_adapters_are_added() -> None:
    other = copy_sharing_weights(small_clip(VIT))
    for block in other.model.visual.transformer.resblocks:
        block.attn = AdaptedAttention(block.attn, lambda x: torch.randn(*x.shape[:-1], 3 * x.shape[-1]))
    state = torch.random.get_rng_state()
    assert other.in_steps
    assert None not in other.image_tokens.steps
    assert torch.equal(torch.random.get_rng_state(), state), "the check must not draw random numbers"


def test_a_copy_shares_weights_and_nothing_else() -> None:
    vit = load_vit("timm:test_vit", "random")
    assert vit.vision_layers == len(vit.model.blocks)
    other = copy_sharing_weights(vit)
    assert next(other.parameters()) is next(vit.parameters())
    assert other.image_tokens.tower.trunk is other.model
    assert other.image_tokens.steps[0].block is other.model.blocks[0]
    assert other.fingerprint == vit.fingerprint
    assert vit.train().training is False
