"""Soft tokens start as their setting says, and are where the template has them."""

from collections.abc import Callable

import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts import soft_tokens

Make = Callable[[str], LanguageModel]


def test_noise_is_uniform(tiny_lm: Make) -> None:
    uniform = soft_tokens.uniform(500, tiny_lm("roberta").width, 1)
    assert uniform.min() < -0.49 < 0.49 < uniform.max()


def test_words_are_sampled_without_replacement_and_without_special_tokens(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    tokens = soft_tokens.from_vocabulary(lm, 300, 1)
    ids = (tokens[:, None] == lm.table).all(-1).int().argmax(1).tolist()
    assert len(set(ids)) == 300
    assert not set(ids) & lm.vocabulary.special
    assert soft_tokens.from_vocabulary(lm, 900, 1).shape == (900, lm.width), "with replacement, if there are too few"


def test_label_words_are_means_of_their_pieces(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    labels = soft_tokens.from_labels(lm, (("greatly", "bad"), ("good",)), 5, 1)
    for row, word in enumerate(("greatly", "bad", "good")):
        pieces = torch.tensor(lm.vocabulary.pieces(" " + word))
        torch.testing.assert_close(labels[row], lm.embed_tokens(pieces).mean(0))
    assert torch.equal(labels[3:], soft_tokens.from_vocabulary(lm, 5, 1)[3:])


def test_a_text_gives_its_pieces(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    pieces = torch.tensor(lm.vocabulary.pieces("the film was"))
    assert torch.equal(soft_tokens.from_text(lm, "the film was", 4, 1)[:3], lm.embed_tokens(pieces))


def test_a_template_keeps_its_own_soft_tokens() -> None:
    assert soft_tokens.add_soft_tokens("{text} {mask}", 3) == "{soft:3} {text} {mask}"
    assert soft_tokens.add_soft_tokens("{text} {soft:it was} {mask}", 3) == "{text} {soft:it was} {mask}"
