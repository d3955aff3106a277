"""Texts to token ids, for every tokenizer that open_clip brings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError, warn


class Tokenizer:
    """An open_clip tokenizer that says what it does: where special tokens stand, what is too long, what is unknown.

    Attributes:
        context_length: L, the longest row the text tower takes.
        lead: Ids that open every row (start-of-text).
        tail: Ids that close every row (end-of-text).
        pad: The id that fills a row up.
        placeholder: An ordinary word's id, standing where a token is learned.
    """

    def __init__(self, tokenizer: Any, context_length: int, known: frozenset[int] | None = None) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: What `open_clip.get_tokenizer` returns.
            context_length: L.
            known: The ids the model was trained on, if it was not all of them; a text with another one is warned about.

        Raises:
            VlpromptError: The tokenizer adds special tokens in a way that cannot be told apart from words.
        """
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.known = known
        self._warned: set[int] = set()
        self._learn_special_tokens()

    def _learn_special_tokens(self) -> None:
        """Find what opens, closes and fills a row, and check that rows can be put together from that."""
        probes = ["x", "x x x", " ".join(["x"] * self.context_length)]
        rows = self.tokenizer(probes, context_length=self.context_length).tolist()
        pieces = self.pieces("x")
        start = next((i for i in range(len(rows[0])) if rows[0][i : i + len(pieces)] == pieces), 0)
        self.lead, self.pad, self.placeholder = rows[0][:start], rows[0][-1], pieces[-1]
        self.tail = rows[0][start + len(pieces) :]
        while self.tail and self.tail[-1] == self.pad:
            self.tail.pop()
        if not self.tail and rows[2][-1] == self.pad:  # a row cut to length still closes, so padding is end-of-text
            self.tail = [self.pad]
        own = [[*self.lead, *self.pieces(text), *self.tail] for text in probes[:2]]
        if [(row + self.context_length * [self.pad])[: self.context_length] for row in own] != rows[:2]:
            raise VlpromptError(
                f"{type(self.tokenizer).__name__} does not put its special tokens around the words and padding behind "
                "them; prompts cannot be laid out with it. Use another backbone."
            )

    def pieces(self, text: str) -> list[int]:
        """The ids of a text's words, without special tokens."""
        if hasattr(self.tokenizer, "tokenizer"):  # a Hugging Face tokenizer inside open_clip's wrapper
            clean = self.tokenizer.clean_fn(text)
            return list(self.tokenizer.tokenizer(clean, add_special_tokens=False).input_ids)
        return list(self.tokenizer.encode(text))

    def pieces_inside(self, text: str) -> list[int]:
        """The ids of words that follow others; RoBERTa's tokenizer reads the first word of a text differently."""
        return self.pieces(f"x {text}")[len(self.pieces("x")) :]

    @property
    def ids(self) -> list[int]:
        """The ids that the model was trained on, in order; all that there are where nobody says."""
        if self.known is not None:
            return sorted(self.known)
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        return list(range(len(inner) if hasattr(inner, "__len__") else inner.vocab_size))

    def word(self, piece: int) -> str:
        """How a token is written."""
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        return str(inner.decode([piece])).strip()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """N texts -> (N, L) int64 ids.

        Raises:
            UsageError: A text has more tokens than the tower takes.
        """
        return self.pad_rows([[*self.lead, *self.check(self.pieces(text)), *self.tail] for text in texts], texts)

    def check(self, pieces: list[int]) -> list[int]:
        """Warn, once each, about tokens that the model was never trained on."""
        if self.known is not None and (new := set(pieces) - self.known - self._warned):
            self._warned |= new
            words = ", ".join(repr(self.word(piece)) for piece in dict.fromkeys(pieces) if piece in new)
            warn(
                f"the model has never seen {words}; it will be read as an average word. "
                "Use words it knows, or a backbone with a full vocabulary."
            )
        return pieces

    def pad_rows(self, rows: Sequence[Sequence[int]], texts: Sequence[str]) -> Tensor:
        """Rows of ids -> (N, L) int64, padded on the right; `texts` are for the error only.

        Raises:
            UsageError: A row is longer than the context, or there is none.
        """
        if not rows:
            raise UsageError("no texts given; give at least one class name.")
        out = torch.full((len(rows), self.context_length), self.pad, dtype=torch.int64)
        for number, row in enumerate(rows):
            if len(row) > self.context_length:
                raise UsageError(
                    f"{texts[number]!r} makes {len(row)} tokens with its prompt, the text tower takes "
                    f"{self.context_length}; shorten the name, the template or the learned context."
                )
            out[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return out
