"""Label words are checked as the tokenizer sees them, and every rule is the one it is named after."""

from collections.abc import Callable

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import calibration
from vlprompt.cloze.verbalizer import Verbalizer
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
WORDS = (("great", "good", "fine"), ("terrible", "bad"))
CLASSES = ("positive", "negative")


def scores(verbalizer: Verbalizer, batch: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, len(verbalizer.ids), generator=generator, dtype=torch.float64) * 3


def by_hand(lm: LanguageModel, verbalizer: Verbalizer, found: torch.Tensor) -> list[torch.Tensor]:
    """Scores of each class's words, (B, words)."""
    place = {piece: number for number, piece in enumerate(verbalizer.ids.tolist())}
    return [torch.stack([found[:, place[lm.vocabulary.pieces(" " + w)[0]]] for w in own], dim=1) for own in WORDS]


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_each_rule_is_its_equation(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    made = {rule: Verbalizer(lm, CLASSES, WORDS, rule=rule) for rule in ("mean_logit", "mean_log_prob", "logsumexp")}
    found = scores(made["mean_logit"])
    own = by_hand(lm, made["mean_logit"], found)
    total = torch.cat(own, dim=1).exp().sum(1).log()
    wanted = {
        "mean_logit": torch.stack([each.mean(1) for each in own], dim=1),
        "mean_log_prob": torch.stack([each.mean(1) - total for each in own], dim=1),
        "logsumexp": torch.stack([each.exp().sum(1).log() for each in own], dim=1),
    }
    for rule, verbalizer in made.items():
        torch.testing.assert_close(verbalizer(found), wanted[rule])
    same = made["mean_logit"](found).softmax(1)
    torch.testing.assert_close(made["mean_log_prob"](found).softmax(1), same)
    assert not torch.allclose(made["logsumexp"](found).softmax(1), same)


def test_exchanged_words_exchange_the_scores(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    one, other = Verbalizer(lm, CLASSES, WORDS), Verbalizer(lm, CLASSES, WORDS[::-1])
    assert torch.equal(one.ids, other.ids)
    found = scores(one)
    assert torch.equal(one(found), other(found).flip(1))


def test_words_of_several_pieces_are_refused_and_shown(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"' greatly' of class 'positive' is \d pieces for tiny bert \(great, ##"):
        Verbalizer(tiny_lm("bert"), CLASSES, (("greatly",), ("bad",)))
    with pytest.raises(UsageError, match=r"\(Ġg?.+\); give a word of one piece, or say what to do: pieces="):
        Verbalizer(tiny_lm("gpt2"), CLASSES, (("greatly",), ("bad",)))


def test_the_space_before_a_word_matters_and_the_error_says_so(tiny_lm: Make) -> None:
    lm = tiny_lm("gpt2")
    assert lm.vocabulary.shown(Verbalizer(lm, CLASSES, (("great",), ("bad",))).ids.tolist()) == ["Ġbad", "Ġgreat"]
    with pytest.raises(UsageError, match=r"label word 'great' .*\(' great' is one: set space=True\)"):
        Verbalizer(lm, CLASSES, (("great",), ("bad",)), space=False)


@pytest.mark.parametrize("pieces", ["first", "mean", "max"])
def test_pieces_of_a_word_by_the_rule_that_is_asked_for(pieces: str, tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    verbalizer = Verbalizer(lm, CLASSES, (("greatly",), ("bad",)), pieces=pieces)  # type: ignore[arg-type]
    found = scores(verbalizer)
    place = {piece: number for number, piece in enumerate(verbalizer.ids.tolist())}
    own = found[:, [place[piece] for piece in lm.vocabulary.pieces("greatly")]]
    assert own.shape[1] > 1
    wanted = {"first": own[:, 0], "mean": own.mean(1), "max": own.max(1).values}[pieces]
    torch.testing.assert_close(verbalizer(found)[:, 0], wanted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((("great",),), "2 classes need as many lists of label words; 1 were given"),
        ((("great",), ()), "class 'negative' has no label word"),
        ((("great",), ("great",)), "classes 'positive' and 'negative' have the same words"),
        ((("great",), ("\u4e16",)), r"not in the vocabulary of tiny bert \(\[UNK\]\)"),
    ],
)
def test_words_that_cannot_be_used_are_refused(words: tuple[tuple[str, ...], ...], said: str, tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=said):
        Verbalizer(tiny_lm("bert"), CLASSES, words)


def test_a_flat_prior_changes_nothing_and_a_constant_does_not_matter() -> None:
    found = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    flat = torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(calibration.divided(found, flat).softmax(1), found.softmax(1))
    prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    torch.testing.assert_close(calibration.divided(found + 5, prior), calibration.divided(found, prior))
    fair = found.softmax(1) / prior
    torch.testing.assert_close(calibration.divided(found, prior).softmax(1), fair / fair.sum(1, keepdim=True))
    torch.testing.assert_close(calibration.subtracted(found, prior), found.softmax(1) - prior)
