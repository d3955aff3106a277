"""Examples have the ids that the tokenizer gives them; long ones are cut, but never at the blank."""

from collections.abc import Callable

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
BLANK = {"bert": "[MASK]", "roberta": "<mask>", "t5": "<extra_id_0>"}


@pytest.mark.parametrize("name", BLANK)
def test_a_text_has_the_ids_of_the_filled_sentence(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    row = Renderer(Template("{text} It was {mask}."), lm).row({"text": "the film was great"})
    wanted = lm.vocabulary.tokenizer(f"the film was great It was {BLANK[name]}.")["input_ids"]
    # Real mask tokens absorb the space before them, those of these tokenizers do not; ours never has one.
    space = [] if name == "bert" else lm.vocabulary.pieces(" ")
    assert list(row.ids) == [piece for piece in wanted if piece not in space]
    if name != "t5":
        assert row.ids[row.read] == lm.vocabulary.blank


def test_a_causal_model_is_read_before_its_blank(tiny_lm: Make) -> None:
    lm = tiny_lm("gpt2")
    row = Renderer(Template("{text} It was {mask}"), lm).row({"text": "the film was great"})
    assert list(row.ids) == lm.vocabulary.tokenizer("the film was great It was")["input_ids"]
    assert row.read == len(row.ids) - 1


def test_words_behind_a_causal_blank_are_refused(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"column 21: tiny gpt2 is causal .* put \{mask\} last"):
        Renderer(Template("{text} It was {mask}."), tiny_lm("gpt2"))
    with pytest.raises(UsageError, match="nothing precedes the blank"):
        Renderer(Template("{text} {mask}"), tiny_lm("gpt2")).row({"text": ""})


@pytest.mark.parametrize("name", ["bert", "roberta", "t5"])
def test_two_segments_are_the_tokenizers_pair(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    row = Renderer(Template("{a} ?{sep}{mask}{b}"), lm).row({"a": "the film", "b": "it was"})
    wanted = lm.vocabulary.tokenizer("the film ?", BLANK[name] + "it was", return_token_type_ids=True)
    assert list(row.ids) == wanted["input_ids"]
    if name == "bert":
        assert list(row.segments) == wanted["token_type_ids"]


def test_the_longest_field_is_cut_from_its_end_and_nothing_else(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    renderer = Renderer(Template("{a} {b:whole} was {mask} {c}"), lm, max_length=14)
    long = " ".join(["film"] * 20)
    row = renderer.row({"a": long, "b": "the story", "c": "i saw it"})
    shown = lm.vocabulary.shown(row.ids)
    assert len(shown) == 14
    assert " ".join(shown) == "[CLS] film film film film film the story was [MASK] i saw it [SEP]"
    assert shown[row.read] == "[MASK]"
    both = lm.vocabulary.shown(renderer.row({"a": long, "b": "the story", "c": "i saw it and i saw it"}).ids)
    expected = "[CLS] film film film film the story was [MASK] i saw it and [SEP]"
    assert " ".join(both) == expected, "to equal length, then the last field"


def test_a_template_that_does_not_fit_is_refused_before_it_cuts_its_blank(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"alone takes 6 tokens and a row has 5; its blank would be cut off"):
        Renderer(Template("{text} the film was {mask}"), tiny_lm("bert"), max_length=5)
    with pytest.raises(UsageError, match="alone takes 84 tokens and a row has 64"):
        Renderer(Template("{soft:80} {text} {mask}{mask}"), tiny_lm("bert"))
    with pytest.raises(UsageError, match="make a row 3 tokens too long"):
        Renderer(Template("{text:whole} {mask}"), tiny_lm("bert"), max_length=6).row({"text": "i saw it and i left"})


def test_soft_tokens_are_numbered_and_start_from_their_words(tiny_lm: Make) -> None:
    lm = tiny_lm("roberta")
    renderer = Renderer(Template("{soft:2} {text} {soft:it was} {mask}"), lm)
    row = renderer.row({"text": "the film"})
    assert row.slots == (-1, 0, 1, -1, -1, 2, 3, -1, -1)
    start = renderer.soft_start(torch.zeros(4, lm.width))
    assert not start[:2].any()
    assert torch.equal(start[2:], lm.embed_tokens(torch.tensor(lm.vocabulary.pieces(" it was"))))


def test_a_prefix_takes_room(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    text = {"text": " ".join(["film"] * 100)}
    assert len(Renderer(Template("{text} {mask}"), lm).row(text).ids) == 64
    assert len(Renderer(Template("{text} {mask}"), lm, prefix_length=10).row(text).ids) == 54


def test_an_example_without_a_field_is_refused(tiny_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"column 1: unknown slot 'text'\. Known: mask, sentence"):
        Renderer(Template("{text} {mask}"), tiny_lm("bert"))([{"sentence": "it was"}])


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("bert", "[MASK] [SEP] [PAD]"),
        ("roberta", "<mask> </s>"),
        ("gpt2", "<|endoftext|>"),
        ("t5", "</s> <extra_id_0>"),
    ],
)
def test_names_of_special_tokens_in_a_text_are_plain_text(name: str, marks: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    special = lm.vocabulary.special - {lm.vocabulary.unknown}
    renderer = Renderer(Template("{text} it was {mask}"), lm)
    plain = renderer.row({"text": "the film"}).ids
    row = renderer.row({"text": f"the film {marks}"}).ids
    assert sum(each in special for each in row) == sum(each in special for each in plain)
    if lm.kind == "causal":
        return  # the only special token of this GPT-2 is that for unknown text
    own = Renderer(Template(f"{{text}} {marks} {{mask}}"), lm).row({"text": "the film"}).ids
    assert sum(each in special for each in own) == sum(each in special for each in plain) + len(marks.split())
