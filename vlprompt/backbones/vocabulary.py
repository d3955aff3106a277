"""The tokenizer of a language model: pieces of text, the blank, and what is put around a row."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from vlprompt.errors import VlpromptError

SENTINEL = "<extra_id_0>"  # T5's first blank


class Vocabulary:
    """A transformers tokenizer that says what it does.

    Attributes:
        blank: The id that stands for a missing word; None where there is none (causal models).
        lead: Ids that open a row.
        middle: Ids between the two parts of a row.
        tail: Ids that close it.
        pad: The id that fills a batch up.
        max_length: The longest row it was made for.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Find what the tokenizer puts around words.

        Raises:
            VlpromptError: It changes the words themselves when it adds special tokens.
        """
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

    def pieces(self, text: str) -> list[int]:
        """The ids of a text, without special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def shown(self, ids: Sequence[int]) -> list[str]:
        """Ids as the vocabulary spells them."""
        return [str(piece) for piece in self.tokenizer.convert_ids_to_tokens(list(ids))]

    @cached_property
    def whole_words(self) -> tuple[int, ...]:
        """Ids that a word of letters alone has by itself behind a space, in order."""
        ids = [piece for piece in range(len(self.tokenizer)) if piece not in self.special]
        words = [word.strip() for word in self.tokenizer.batch_decode([[piece] for piece in ids])]
        known = [(piece, word) for piece, word in zip(ids, words, strict=True) if word.isalpha()]
        if not known:
            return ()
        again = self.tokenizer([f" {word}" for _, word in known], add_special_tokens=False)["input_ids"]
        return tuple(piece for (piece, _), pieces in zip(known, again, strict=True) if pieces == [piece])

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with what the tokenizer makes of texts."""
        inner = getattr(self.tokenizer, "backend_tokenizer", None)
        if inner is None:
            described = f"{type(self.tokenizer).__name__} {sorted(self.tokenizer.get_vocab().items())}"
        else:
            own = json.loads(inner.to_str())
            described = json.dumps({**own, "truncation": None, "padding": None}, sort_keys=True)  # set by calls
        return hashlib.sha256(f"{described} {self.lead} {self.middle} {self.tail}".encode()).hexdigest()[:16]

    @property
    def special(self) -> frozenset[int]:
        """Ids that are no words."""
        return frozenset(self.tokenizer.all_special_ids)

    @property
    def unknown(self) -> int | None:
        """The id of what the vocabulary cannot spell, where it is not also a token of its own (GPT-2)."""
        found: int | None = self.tokenizer.unk_token_id
        return None if found == self.tokenizer.eos_token_id else found


def _find(row: Sequence[int], part: Sequence[int], tokenizer: Any) -> int:
    for start in range(len(row) - len(part) + 1):
        if list(row[start : start + len(part)]) == list(part):
            return start
    raise VlpromptError(
        f"{type(tokenizer).__name__} changes words when it adds special tokens; texts cannot be put together with it. "
        "Use another model."
    )
