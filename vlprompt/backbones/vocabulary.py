"""The tokenizer of a language model: token ids, the blank, and the special tokens around a row."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from vlprompt.errors import VlpromptError

SENTINEL = "<extra_id_0>"  # T5's first blank


class Vocabulary:
    """A tokenizer of transformers with explicit special tokens.

    Attributes:
        blank: The id of a missing word; None for causal models.
        lead: Ids that start a row.
        middle: Ids between the two parts of a row.
        tail: Ids that end it.
        pad: The id of padding.
        max_length: The longest row that the tokenizer allows.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Find the special tokens around words; VlpromptError for a tokenizer that changes words when it adds them."""
        self.tokenizer = tokenizer
        self.blank: int | None = tokenizer.mask_token_id
        if self.blank is None and SENTINEL in tokenizer.get_vocab():
            self.blank = int(tokenizer.convert_tokens_to_ids(SENTINEL))
        first, second = self.pieces("a"), self.pieces("b")
        alone, pair = tokenizer("a")["input_ids"], tokenizer("a", "b")["input_ids"]
        self.lead = tuple(alone[: _find(alone, first, tokenizer)])
        self.tail = tuple(alone[len(self.lead) + len(first) :])
        behind = pair[len(self.lead) + len(first) :]
        self.middle = tuple(behind[: _find(behind, second, tokenizer)])
        filler = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad = int(next(each for each in filler if each is not None))
        self.max_length = int(min(tokenizer.model_max_length, 1_000_000))  # "no limit" is 1e30 in transformers

    def pieces(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a text, which gets no special tokens around it.

        Args:
            text: Any words.
            special: Names of special tokens in the text ("[SEP]") are these tokens; otherwise they are plain words, as
                a text from a data set needs: a blank in it would be one more blank.
        """
        options = {"add_special_tokens": False, "split_special_tokens": not special, "verbose": False}
        ids: list[int] = self.tokenizer(text, **options)["input_ids"]
        if special or self._reserved.isdisjoint(ids):
            return ids
        # A Unigram vocabulary (T5) spells the name of a special token as that token, whatever the options.
        return [piece for each in ids for piece in (self._spelled(each) if each in self._reserved else [each])]

    def _spelled(self, special: int) -> list[int]:
        """The ids of the letters of a special token's name."""
        letters = [self.tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in self.shown([special])[0]]
        return [piece for each in letters for piece in each]

    @cached_property
    def _reserved(self) -> frozenset[int]:
        """Special tokens, without the one for text outside the vocabulary."""
        return self.special - {self.unknown}

    def shown(self, ids: Sequence[int]) -> list[str]:
        """The spelling of tokens in the vocabulary."""
        return [str(piece) for piece in self.tokenizer.convert_ids_to_tokens(list(ids))]

    @cached_property
    def whole_words(self) -> tuple[int, ...]:
        """Ids that are, after a space, one whole word of letters; in ascending order."""
        ids = [piece for piece in range(len(self.tokenizer)) if piece not in self.special]
        words = [word.strip() for word in self.tokenizer.batch_decode([[piece] for piece in ids])]
        spelled = [(piece, word) for piece, word in zip(ids, words, strict=True) if word.isalpha()]
        if not spelled:
            return ()
        again = self.tokenizer([f" {word}" for _, word in spelled], add_special_tokens=False)["input_ids"]
        return tuple(piece for (piece, _), pieces in zip(spelled, again, strict=True) if pieces == [piece])

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the ids the tokenizer gives to texts."""
        inner = getattr(self.tokenizer, "backend_tokenizer", None)
        if inner is None:
            described = f"{type(self.tokenizer).__name__} {sorted(self.tokenizer.get_vocab().items())}"
        else:
            own = json.loads(inner.to_str())
            described = json.dumps({**own, "truncation": None, "padding": None}, sort_keys=True)  # calls change these
        return hashlib.sha256(f"{described} {self.lead} {self.middle} {self.tail}".encode()).hexdigest()[:16]

    @property
    def special(self) -> frozenset[int]:
        """Ids of special tokens."""
        return frozenset(self.tokenizer.all_special_ids)

    @property
    def unknown(self) -> int | None:
        """The id for text outside the vocabulary; None if it is the end-of-text token (GPT-2)."""
        unknown: int | None = self.tokenizer.unk_token_id
        return None if unknown == self.tokenizer.eos_token_id else unknown


def _find(row: Sequence[int], part: Sequence[int], tokenizer: Any) -> int:
    for start in range(len(row) - len(part) + 1):
        if list(row[start : start + len(part)]) == list(part):
            return start
    raise VlpromptError(
        f"{type(tokenizer).__name__} changes words when it adds special tokens; rows cannot be built with it. "
        "Use another model."
    )
