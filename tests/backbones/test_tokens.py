"""Tokenizer: the library's own rows, and errors where the library truncates silently."""

import warnings
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from vlprompt.backbones.tokens import Tokenizer
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

TEXTS = ["a photo of a cat.", "St. Bernard!", "cat's 747-200 & <b>", "naïve café 東京", "!", "  Two   Spaces ", "", "x"]
LONG = " ".join(["very"] * 30)


@pytest.fixture
def wrap(build: Callable[[str], Any]) -> Callable[[str], Tokenizer]:
    """The tokenizer of a family."""
    return lambda name: Tokenizer(build(name).tokens, build(name).length)


@pytest.mark.parametrize(
    ("name", "lead", "tail", "pad"),
    [
        ("clip", [49406], [49407], 0),
        ("bert", [1], [2], 0),  # [CLS] and [SEP]
        ("worldwide mt5", [], [2], 0),  # no start-of-text
        ("siglip", [], [0], 0),  # padding is end-of-text
        ("clipa", [1], [0], 0),  # [SEP] is removed
    ],
)
def test_special_tokens_are_found(wrap: Any, name: str, lead: list[int], tail: list[int], pad: int) -> None:
    tokenizer = wrap(name)
    assert (tokenizer.lead, tokenizer.tail, tokenizer.pad) == (lead, tail, pad)
    assert tokenizer.placeholder not in {*lead, *tail, pad}


@pytest.mark.parametrize("name", ["clip", "clip of 77 tokens", "bert", "worldwide mt5", "siglip", "clipa"])
def test_rows_are_the_librarys(build: Any, wrap: Any, name: str) -> None:
    built, texts = build(name), [*TEXTS, " ".join(["cat"] * 18)]  # the last one just fits
    got, wanted = wrap(name)(texts), built.tokens(texts, context_length=built.length)
    fits = [i for i, text in enumerate(texts) if len(wrap(name).pieces(text)) + 2 <= built.length]
    assert len(fits) >= len(TEXTS)
    assert got.dtype == torch.int64
    assert torch.equal(got[fits], wanted[fits])


@pytest.mark.parametrize(("name", "count"), [("clip", 32), ("siglip", 31), ("clipa", 32), ("worldwide mt5", 31)])
def test_a_long_text_is_refused_and_not_truncated(wrap: Any, name: str, count: int) -> None:
    with pytest.raises(UsageError, match=rf"'{LONG}' has {count} tokens with its prompt, the text tower accepts 20"):
        wrap(name)(["cat", LONG])


def test_the_longest_text_has_room_for_its_end(wrap: Any) -> None:
    """If end-of-text is the padding, a text of context length would lose it."""
    tokenizer = wrap("siglip")
    tokenizer([" ".join(["cat"] * 19)])
    with pytest.raises(UsageError, match="has 21 tokens"):
        tokenizer([" ".join(["cat"] * 20)])


def test_untrained_words_cause_one_warning() -> None:
    raw = open_clip.SimpleTokenizer()
    tokenizer = Tokenizer(raw, 20, frozenset(raw.encode("a photo of x .")))
    with pytest.warns(VlpromptWarning, match="not trained on 'xy', 'lo', 'phone' and") as caught:
        tokenizer(["a photo of a xylophone.", "xylophone xylophone"])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer(["xylophone", "a photo of x."])
    with pytest.warns(VlpromptWarning, match="'zebra'"):
        tokenizer(["zebra"])


def test_finding_the_special_tokens_causes_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Tokenizer(open_clip.SimpleTokenizer(), 20, frozenset())


def test_words_inside_a_text_may_have_other_ids() -> None:
    """As in RoBERTa's vocabulary, where a word after a space is not the token of a first word."""

    class Spaced:
        def encode(self, text: str) -> list[int]:
            return [3 + ord(c) for c in text] if text == "x" else [3 + ord(c) for c in text.replace(" x", "\x01")]

        def __call__(self, texts: list[str], context_length: int) -> Tensor:
            rows = [[1, *self.encode(text), 2][:context_length] for text in texts]
            return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])

    tokenizer = Tokenizer(Spaced(), 40)
    assert tokenizer.pieces("x") == [3 + ord("x")]
    assert tokenizer.pieces_inside("x") == [3 + 1]


def test_words_inside_a_text_are_the_same_for_clip() -> None:
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(), 77)
    for text in TEXTS:
        assert tokenizer.pieces_inside(text) == tokenizer.pieces(text)


def test_a_tokenizer_that_pads_elsewhere_is_refused() -> None:
    class PadsInFront:
        def encode(self, text: str) -> list[int]:
            return [3 + len(word) for word in text.split()]

        def __call__(self, texts: list[str], context_length: int) -> Tensor:
            rows = [[1, *self.encode(text), 2][:context_length] for text in texts]
            return torch.tensor([[0] * (context_length - len(row)) + row for row in rows])

    with pytest.raises(VlpromptError, match="PadsInFront does not place its special tokens around the words"):
        Tokenizer(PadsInFront(), 20)


def test_tokens_are_spelled(wrap: Any) -> None:
    for name in ("clip", "bert"):
        tokenizer = wrap(name)
        assert [tokenizer.word(piece) for piece in tokenizer.pieces("steam train")] == ["steam", "train"]


def test_no_texts() -> None:
    with pytest.raises(UsageError, match="no texts given"):
        Tokenizer(open_clip.SimpleTokenizer(), 20)([])
