"""Texts to token ids, for every tokenizer of open_clip."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError, warn

SHOWN = 10  # words in a warning


class Tokenizer:
    """An open_clip tokenizer with explicit special tokens, errors for long texts and warnings for untrained tokens.

    Attributes:
        context_length: L, the longest row the text tower accepts.
        lead: Ids that start every row (start-of-text).
        tail: Ids that end every row (end-of-text).
        pad: The id of padding.
        placeholder: The id of an ordinary word, used in place of learned tokens.
        trained_ids: The ids the model was trained on; None: all.
    """

    def __init__(self, tokenizer: Any, context_length: int, trained_ids: frozenset[int] | None = None) -> None:
        """Wrap a tokenizer.

        Args:
            tokenizer: What `open_clip.get_tokenizer` returns.
            context_length: L.
            trained_ids: The ids the model was trained on, if not all; a text with another id causes a warning.

        Raises:
            VlpromptError: The tokenizer's special tokens cannot be separated from the words.
        """
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.trained_ids = trained_ids
        self._warned: set[int] = set()
        self._find_special_tokens()

    def _find_special_tokens(self) -> None:
        """Find the ids that start, end and pad a row, and check that rows built from them equal the tokenizer's."""
        probes = ["x", "x x x", " ".join(["x"] * self.context_length)]
        rows = self.tokenizer(probes, context_length=self.context_length).tolist()
        pieces = self.pieces("x")
        start = next((i for i in range(len(rows[0])) if rows[0][i : i + len(pieces)] == pieces), 0)
        self.lead, self.pad, self.placeholder = rows[0][:start], rows[0][-1], pieces[-1]
        self.tail = rows[0][start + len(pieces) :]
        while self.tail and self.tail[-1] == self.pad:
            self.tail.pop()
        if not self.tail and rows[2][-1] == self.pad:  # even a truncated row ends with it, so padding is end-of-text
            self.tail = [self.pad]
        own = [[*self.lead, *self.pieces(text), *self.tail] for text in probes[:2]]
        if [(row + self.context_length * [self.pad])[: self.context_length] for row in own] != rows[:2]:
            raise VlpromptError(
                f"{type(self.tokenizer).__name__} does not place its special tokens around the words and padding after "
                "them; prompts cannot be built with it. Use another backbone."
            )

    def pieces(self, text: str) -> list[int]:
        """The ids of a text's words, without special tokens."""
        if hasattr(self.tokenizer, "tokenizer"):  # a tokenizer of transformers inside open_clip's wrapper
            clean = self.tokenizer.clean_fn(text)
            return list(self.tokenizer.tokenizer(clean, add_special_tokens=False).input_ids)
        return list(self.tokenizer.encode(text))

    def pieces_inside(self, text: str) -> list[int]:
        """The ids of words that follow others; RoBERTa's tokenizer treats the first word of a text differently."""
        return self.pieces(f"x {text}")[len(self.pieces("x")) :]

    @property
    def ids(self) -> list[int]:
        """The ids that the model was trained on, in ascending order; all ids if `trained_ids` is None."""
        if self.trained_ids is not None:
            return sorted(self.trained_ids)
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        return list(range(len(inner) if hasattr(inner, "__len__") else inner.vocab_size))

    def word(self, piece: int) -> str:
        """The spelling of a token."""
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        return str(inner.decode([piece])).strip()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """N texts -> (N, L) int64 ids; UsageError for a text with more tokens than the tower accepts."""
        pieces = [self.pieces(text) for text in texts]
        self.warn_untrained([piece for row in pieces for piece in row])
        return self.pad_rows([[*self.lead, *row, *self.tail] for row in pieces], texts)

    def warn_untrained(self, pieces: list[int]) -> list[int]:
        """Return `pieces`, with one warning for all tokens that are new and that the model was never trained on."""
        if self.trained_ids is not None and (new := set(pieces) - self.trained_ids - self._warned):
            self._warned |= new
            named = [piece for piece in dict.fromkeys(pieces) if piece in new]
            words = ", ".join(repr(self.word(piece)) for piece in named[:SHOWN])
            more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            warn(
                f"the model was not trained on {words}{more} and treats it as an average word. "
                "Use other words, or a backbone with a full vocabulary."
            )
        return pieces

    def pad_rows(self, rows: Sequence[Sequence[int]], texts: Sequence[str]) -> Tensor:
        """Rows of ids -> (N, L) int64, padded on the right; UsageError, with the text, if a row is too long."""
        if not rows:
            raise UsageError("no texts given; give at least one.")
        out = torch.full((len(rows), self.context_length), self.pad, dtype=torch.int64)
        for number, row in enumerate(rows):
            if len(row) > self.context_length:
                raise UsageError(
                    f"{texts[number]!r} has {len(row)} tokens with its prompt, the text tower accepts "
                    f"{self.context_length}; shorten the text or the learned context."
                )
            out[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return out
