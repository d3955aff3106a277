"""Verbalizer: label words in a model's vocabulary, and how scores of words become scores of classes.

Published rules, by name (they differ where a class has several words):

    mean_logit     mean of the words' logits                                   PET, pet/pvp.py; one word: LM-BFF
    mean_log_prob  mean of log-probabilities over all label words jointly      OpenPrompt, ManualVerbalizer
    logsumexp      log of the summed probabilities                             AutoPrompt; Calibrate Before Use

The first two have the same softmax over classes. A word of several pieces has no score at one blank, so by default it
is refused ("single"). `pieces` selects another treatment:

    first, mean, max      of its pieces' scores, all read at one blank: a heuristic                OpenPrompt
    masks                 one blank a piece, filled one after another, the most probable first     PET, task_helpers.py
    masks_ltr             one blank a piece, filled from left to right                             PET, "ltr"
    masks_parallel        one blank a piece, all read at once                                      PET, "parallel"
    left_to_right         log p(word | text), exact, of causal and encoder-decoder models
    left_to_right_mean    the same divided by the number of pieces, which does not favour short words

The last five give log-probabilities of words (`multi_token.py`) in place of logits.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.errors import UsageError

Rule = Literal["mean_logit", "mean_log_prob", "logsumexp"]
Pieces = Literal[
    "single", "first", "mean", "max", "masks", "masks_ltr", "masks_parallel", "left_to_right", "left_to_right_mean"
]
MASKS = ("masks", "masks_ltr", "masks_parallel")
LEFT_TO_RIGHT = ("left_to_right", "left_to_right_mean")


class Verbalizer:
    """The label words of some classes.

    Attributes:
        ids: (U,) the vocabulary rows that the words need, each once: the model computes the scores of these.
        rule: How scores of words become scores of classes.
        pieces: How a word of several pieces is scored.
        word_pieces: The pieces of every word of every class.
    """

    def __init__(
        self,
        lm: LanguageModel,
        classes: Sequence[str],
        words: Sequence[Sequence[str]],
        *,
        rule: Rule = "mean_logit",
        pieces: Pieces = "single",
        space: bool = True,
    ) -> None:
        """Look the words up.

        Args:
            lm: The model.
            classes: C names, for errors.
            words: C lists of label words.
            rule: How scores of words become scores of classes.
            pieces: How a word of several pieces is scored.
            space: Words follow a space, as in every published verbalizer; " good" and "good" are different pieces in
                the vocabularies of RoBERTa and GPT-2.

        Raises:
            UsageError: A class without words, two classes with the same words, or a word that the vocabulary does not
                have as one piece.
        """
        if len(words) != len(classes):
            raise UsageError(f"{len(classes)} classes need as many lists of label words; {len(words)} were given.")
        self.rule, self.pieces = rule, pieces
        check_pieces(lm, pieces)
        _check_words(classes, words)
        self.word_pieces = [
            [_pieces_of(lm, name, word, space=space, single=pieces == "single") for word in own]
            for name, own in zip(classes, words, strict=True)
        ]
        _check_distinct(classes, words, self.word_pieces, pieces)
        flat = [word for own in self.word_pieces for word in own]
        self.ids = torch.tensor(sorted({piece for word in flat for piece in word}), device=lm.device)
        place = {piece: number for number, piece in enumerate(self.ids.tolist())}
        longest = max(len(word) for word in flat)
        rows = [[*(place[piece] for piece in word), *[-1] * (longest - len(word))] for word in flat]
        self._places = torch.tensor(rows, device=lm.device)  # (W, S)
        owner = torch.tensor([label for label, own in enumerate(self.word_pieces) for _ in own], device=lm.device)
        self._owned = owner == torch.arange(len(classes), device=lm.device)[:, None]  # (C, W)

    def words(self, scores: Tensor) -> Tensor:
        """Scores (B, U) of the vocabulary rows `ids` -> scores (B, W) of the label words."""
        pieces = scores[:, self._places.clamp_min(0)]  # (B, W, S)
        if self.pieces in ("single", "first"):
            return pieces[..., 0]
        there = self._places >= 0
        if self.pieces == "max":
            return pieces.masked_fill(~there, -torch.inf).amax(-1)
        return (pieces * there).sum(-1) / there.sum(-1)

    def classes(self, words: Tensor) -> Tensor:
        """Scores (B, W) of the label words -> scores (B, C) of the classes, by the rule."""
        if self.rule == "logsumexp":
            return words[:, None].masked_fill(~self._owned, -torch.inf).logsumexp(-1)
        return self.mean(words.log_softmax(-1) if self.rule == "mean_log_prob" else words)

    def mean(self, words: Tensor) -> Tensor:
        """The mean (B, C) of the (B, W) scores of each class's words."""
        return words @ (self._owned / self._owned.sum(1, keepdim=True)).to(words).T

    def __call__(self, scores: Tensor) -> Tensor:
        """Scores (B, U) of the vocabulary rows `ids` -> scores (B, C) of the classes."""
        return self.classes(self.words(scores))


def check_pieces(lm: LanguageModel, pieces: Pieces) -> None:
    """Raise UsageError for a treatment of words of several pieces that a model of this kind does not have."""
    if pieces in MASKS and lm.kind != "masked":
        raise UsageError(f"pieces={pieces!r} needs a masked model, {lm.name} is {lm.kind}; use pieces='left_to_right'.")
    if pieces in LEFT_TO_RIGHT and lm.kind == "masked":
        raise UsageError(
            f"pieces={pieces!r} needs a causal or encoder-decoder model, {lm.name} is masked; use pieces='masks'."
        )


def _check_words(classes: Sequence[str], words: Sequence[Sequence[str]]) -> None:
    """Raise UsageError for a class without words, or two classes with the same words."""
    seen: dict[frozenset[str], str] = {}
    for name, own in zip(classes, words, strict=True):
        if not own or not all(word.strip() for word in own):
            raise UsageError(f"class {name!r} has no label word, or an empty one; give it a word that fills the blank.")
        if (other := seen.setdefault(frozenset(own), name)) is not name:
            raise UsageError(f"classes {other!r} and {name!r} have the same words {list(own)}; give each its own.")


def _check_distinct(
    classes: Sequence[str], words: Sequence[Sequence[str]], word_pieces: Sequence[Sequence[list[int]]], pieces: Pieces
) -> None:
    """Raise UsageError for two classes whose words have the same pieces."""
    seen: dict[frozenset[tuple[int, ...]], int] = {}
    for label, own in enumerate(word_pieces):
        used = frozenset(tuple(word[:1] if pieces == "first" else word) for word in own)
        if (other := seen.setdefault(used, label)) != label:
            raise UsageError(
                f"classes {classes[other]!r} and {classes[label]!r} have words that are the same to the model "
                f"({list(words[other])} and {list(words[label])}, pieces={pieces!r}); give other words."
            )


def _pieces_of(lm: LanguageModel, name: str, word: str, *, space: bool, single: bool) -> list[int]:
    """The pieces of a label word.

    Raises:
        UsageError: It has several where one is required, or the vocabulary cannot spell it.
    """
    text, other = (" " * with_space + word.strip() for with_space in (space, not space))
    pieces = lm.vocabulary.pieces(text)
    shown = ", ".join(lm.vocabulary.shown(pieces))
    if not pieces or lm.vocabulary.unknown in pieces:
        raise UsageError(f"label word {text!r} of class {name!r} is not in the vocabulary of {lm.name} ({shown}).")
    if single and len(pieces) > 1:
        is_one = len(lm.vocabulary.pieces(other)) == 1
        raise UsageError(
            f"label word {text!r} of class {name!r} is {len(pieces)} pieces for {lm.name} ({shown})"
            + f" ({other!r} is one: set space={not space})" * is_one
            + "; give a word of one piece, or choose how its pieces are scored: "
            f"pieces={'masks' if lm.kind == 'masked' else 'left_to_right'!r} (all of them), 'first', 'mean' or 'max' "
            "(at one blank)."
        )
    return pieces
