"""Label words are checked against the vocabulary, and every rule follows its equation."""

from collections.abc import Callable

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.verbalizer import Verbalizer
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
WORDS = (("great", "good", "fine"), ("terrible", "bad"))
CLASSES = ("positive", "negative")


def random_scores(verbalizer: Verbalizer, batch: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, len(verbalizer.ids), generator=generator, dtype=torch.float64) * 3


def scores_by_class(lm: LanguageModel, verbalizer: Verbalizer, scores: torch.Tensor) -> list[torch.Tensor]:
    """Scores of each class's words, (B, words)."""
    place = {piece: number for number, piece in enumerate(verbalizer.ids.tolist())}
    return [torch.stack([scores[:, place[lm.vocabulary.pieces(" " + w)[0]]] for w in own], dim=1) for own in WORDS]


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_each_rule_is_its_equation(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    made = {rule: Verbalizer(lm, CLASSES, WORDS, rule=rule) for rule in ("mean_logit", "mean_log_prob", "logsumexp")}
    scores = random_scores(made["mean_logit"])
    own = scores_by_class(lm, made["mean_logit"], scores)
    total = torch.cat(own, dim=1).exp().sum(1).log()
    wanted = {
        "mean_logit": torch.stack([each.mean(1) for each in own], dim=1),
        "mean_log_prob": torch.stack([each.mean(1) - total for each in own], dim=1),
        "logsumexp": torch.stack([each.exp().sum(1).log() for each in own], dim=1),
    }
    for rule, verbalizer in made.items():
        torch.testing.assert_close(verbalizer(scores), wanted[rule])
    same = made["mean_logit"](scores).softmax(1)
    torch.testing.assert_close(made["mean_log_prob"](scores).softmax(1), same)
    assert not torch.allclose(made["logsumexp"](scores).softmax(1), same)


def test_exchanged_words_exchange_the_scores(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    one, other = Verbalizer(lm, CLASSES, WORDS), Verbalizer(lm, CLASSES, WORDS[::-1])
    assert torch.equal(one.ids, other.ids)
    scores = random_scores(one)
    assert torch.equal(one(scores), other(scores).flip(1))


def test_words_of_several_pieces_are_refused_and_shown(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"' greatly' of class 'positive' is \d pieces for tiny bert \(great, ##"):
        Verbalizer(tiny_lm("bert"), CLASSES, (("greatly",), ("bad",)))
    with pytest.raises(
        UsageError, match=r"\(Ġg?.+\); give a word of one piece, or choose how its pieces are scored: pieces="
    ):
        Verbalizer(tiny_lm("gpt2"), CLASSES, (("greatly",), ("bad",)))


def test_the_space_before_a_word_matters_and_the_error_explains_it(tiny_lm: Make) -> None:
    lm = tiny_lm("gpt2")
    assert lm.vocabulary.shown(Verbalizer(lm, CLASSES, (("great",), ("bad",))).ids.tolist()) == ["Ġbad", "Ġgreat"]
    with pytest.raises(UsageError, match=r"label word 'great' .*\(' great' is one: set space=True\)"):
        Verbalizer(lm, CLASSES, (("great",), ("bad",)), space=False)


@pytest.mark.parametrize("pieces", ["first", "mean", "max"])
def test_words_of_several_pieces_by_a_rule_for_one_blank(pieces: str, tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    verbalizer = Verbalizer(lm, CLASSES, (("greatly",), ("bad",)), pieces=pieces)
    scores = random_scores(verbalizer)
    place = {piece: number for number, piece in enumerate(verbalizer.ids.tolist())}
    own = scores[:, [place[piece] for piece in lm.vocabulary.pieces("greatly")]]
    assert own.shape[1] > 1
    wanted = {"first": own[:, 0], "mean": own.mean(1), "max": own.max(1).values}[pieces]
    torch.testing.assert_close(verbalizer(scores)[:, 0], wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((("great",),), "2 classes need as many lists of label words; 1 were given"),
        ((("great",), ()), "class 'negative' has no label word"),
        ((("great",), ("great",)), "classes 'positive' and 'negative' have the same words"),
        ((("great",), ("\u4e16",)), r"not in the vocabulary of tiny bert \(\[UNK\]\)"),
    ],
)
def test_words_that_cannot_be_used_are_refused(words: tuple[tuple[str, ...], ...], message: str, tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=message):
        Verbalizer(tiny_lm("bert"), CLASSES, words)
