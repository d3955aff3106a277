"""Deep prompts: their start, the words that stay, and sizes that a model does not have."""

import pytest
import torch

from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError
from vlprompt.prompts.deep import DeepConfig, DeepPrompts, by_layer, check_depth, split_words

CONFIG = DeepConfig(n_text=2, depth_text=2, n_vision=3, depth_vision=1)


@pytest.mark.parametrize(
    ("words", "count", "parts"),
    [
        ("a photo of a", 2, ("a photo", "of a")),
        ("a_photo_of_a", 4, ("a photo of a", "")),
        ("a photo", 0, ("", "a photo")),
        ("", 3, ("", "")),
    ],
)
def test_words_are_split_into_learned_and_fixed_ones(
    small: Clip, words: str, count: int, parts: tuple[str, str]
) -> None:
    assert split_words(small, words, count) == parts


def test_words_that_cannot_be_split_are_refused(small: Clip) -> None:
    with pytest.raises(UsageError, match="5 learned tokens cannot start from 'a photo of a', which has 4"):
        split_words(small, "a photo of a", 5)
    with pytest.raises(UsageError, match="first 1 tokens are whole words"):
        split_words(small, "unbelievabilities", 1)


def test_sizes_and_start(single: Clip) -> None:
    prompts = DeepPrompts(single, CONFIG, seed=1)
    assert {name: tuple(each.shape) for name, each in prompts.named_parameters()} == {
        "text": (2, 2, 24),
        "vision": (1, 3, 32),
    }
    assert torch.equal(prompts.text[0], single.embed_tokens(torch.tensor(single.tokenizer.pieces("a photo"))))
    assert prompts.words == "of a"
    again, other = (DeepPrompts(single, CONFIG, seed=seed) for seed in (1, 2))
    assert torch.equal(again.vision, prompts.vision)
    assert not torch.equal(other.vision, prompts.vision)


def test_a_tower_without_depth_has_no_parameters(small: Clip) -> None:
    prompts = DeepPrompts(small, DeepConfig(n_text=0, depth_text=0, n_vision=3, depth_vision=2), seed=1)
    assert prompts.text is None
    assert prompts.words == "a photo of a"


def test_a_depth_that_a_tower_does_not_have_is_refused() -> None:
    check_depth("depth", 12, "text", 12)
    with pytest.raises(UsageError, match="depth is 13, the text tower has 12 layers; give at most 12"):
        check_depth("depth", 13, "text", 12)


def test_image_prompts_are_numbered_by_layer() -> None:
    tokens = torch.zeros(3, 2, 4)
    assert list(by_layer(tokens).tokens) == [0, 1, 2]
