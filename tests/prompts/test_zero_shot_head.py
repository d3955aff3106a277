"""Text features of class names in templates."""

import torch

from vlprompt.backbones.clip import Clip
from vlprompt.prompts.zero_shot_head import template_features


def test_features_are_the_normalised_mean_of_normalised_features(small: Clip, names: tuple[str, ...]) -> None:
    templates = ("a photo of a {}.", "the {}.")
    each = [small.encode_texts([t.format(name.replace("_", " ")) for name in names]) for t in templates]
    mean = sum(x / x.norm(dim=1, keepdim=True) for x in each) / 2
    assert torch.allclose(template_features(small, names, templates), mean / mean.norm(dim=1, keepdim=True))


def test_without_templates_it_is_a_photo(small: Clip, names: tuple[str, ...]) -> None:
    assert torch.equal(template_features(small, names, ()), template_features(small, names, ("a photo of a {}.",)))
