"""PromptLayout: the places of learned tokens, names and special tokens."""

from typing import Any

import open_clip
import pytest
import torch

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.prompts.context import PromptLayout

RAW = open_clip.SimpleTokenizer(context_length=20)
NAMES = ["cat", "grey_owl", "a very old train"]


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A small causal model whose token embeddings are all different."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(8, vision, text)
    return Clip(model, Tokenizer(RAW, 20), Preprocess(16, (0.5,) * 3, (0.5,) * 3))


def spell(clip: Clip, layout: PromptLayout, context: torch.Tensor, variant: int = 0) -> list[list[str]]:
    """The prompts of one variant, token by token: words, or <number> for a learned vector."""
    prompt = layout.fill(context)
    suffixes = prompt.suffix if prompt.suffix.ndim == 3 else prompt.suffix[variant]
    table = torch.cat([context.reshape(len(context), -1, 16)[variant], clip.token_embedding.weight])
    spelt = []
    for suffix, end in zip(suffixes, prompt.ends.tolist(), strict=True):
        rows = torch.cat([prompt.prefix[variant], suffix[: end + 1]])
        nearest = torch.cdist(rows, table).argmin(dim=1).tolist()
        slots = len(table) - 49408
        spelt.append([f"<{i}>" if i < slots else RAW.decode([i - slots]).strip() for i in nearest])
    return spelt


def vectors(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 16, generator=torch.Generator().manual_seed(1))


SOT, EOT = "<start_of_text>", "<end_of_text>"


@pytest.mark.parametrize(
    ("position", "owl"),
    [
        ("end", "<0> <1> <2> grey owl ."),
        ("middle", "<0> grey owl <1> <2> ."),  # M // 2 before the name
        ("front", "grey owl <0> <1> <2> ."),
    ],
)
def test_positions(clip: Clip, position: Any, owl: str) -> None:
    spelt = spell(clip, PromptLayout(clip, NAMES, 3, position=position), vectors(1, 3))
    assert spelt[1] == [SOT, *owl.split(), EOT]
    assert spelt[0] == [SOT, *owl.replace("grey owl", "cat").split(), EOT]
    assert spelt[2] == [SOT, *owl.replace("grey owl", "a very old train").split(), EOT]


def test_class_specific_contexts_have_slots_for_each_class(clip: Clip) -> None:
    layout = PromptLayout(clip, NAMES, 2, class_specific=True)
    assert layout.slots == 6
    for context in (vectors(3, 2), vectors(1, 6)):
        spelt = spell(clip, layout, context.reshape(1, 6, 16))
        assert [row[1:3] for row in spelt] == [["<0>", "<1>"], ["<2>", "<3>"], ["<4>", "<5>"]]
        torch.testing.assert_close(layout.fill(context).suffix, layout.fill(context.reshape(1, 6, 16)).suffix)
    assert layout.fill(vectors(4, 6)).suffix.shape[:2] == (4, 3)


def test_fixed_words_and_closing(clip: Clip) -> None:
    layout = PromptLayout(clip, ["cat"], 1, fixed="a photo of", closing=", a type of pet.")
    assert spell(clip, layout, vectors(1, 1))[0] == f"{SOT} <0> a photo of cat , a type of pet . {EOT}".split()
    assert spell(clip, PromptLayout(clip, ["cat"], 1, closing=""), vectors(1, 1))[0] == [SOT, "<0>", "cat", EOT]


@pytest.mark.parametrize("name", ["St.", "cat's eye", "747-200", "naïve café", "東京", "", "!", "F/A-18"])
@pytest.mark.parametrize("position", ["end", "front"])
def test_names_are_tokenised_with_what_follows(clip: Clip, name: str, position: Any) -> None:
    """Without the learned tokens a prompt is the library's row of "name." ("St.." has one token "..")."""
    layout = PromptLayout(clip, [name, "dog"], 2, position=position)
    filler = clip.tokenizer.placeholder
    rest = [i for i in layout.ids[0].tolist() if i not in {filler, 0}] if name != "!" else None
    if rest is not None:
        assert rest == [i for i in RAW([f"{name}."])[0].tolist() if i]
    assert layout.ids[0].tolist().count(filler) == 2
    assert clip.encode_text(layout.fill(vectors(1, 2))).isfinite().all()


def test_names_are_tokenised_as_words_inside_a_text(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the first word of one, which is another token for some tokenizers."""

    class FirstDiffers(open_clip.SimpleTokenizer):
        def encode(self, text: str) -> list[int]:
            first, *rest = super().encode(text)
            return [first + 1, *rest]

    monkeypatch.setattr(clip, "tokenizer", Tokenizer(FirstDiffers(context_length=20), 20))
    layout = PromptLayout(clip, ["cat"], 1, fixed="photo of")
    assert layout.ids[0, 2:6].tolist() == RAW.encode("photo of cat.")


def test_the_common_prefix_is_as_long_as_possible(clip: Clip) -> None:
    shared = {position: PromptLayout(clip, NAMES, 3, position=position) for position in ("end", "middle", "front")}
    assert [len(layout.prefix_index) for layout in shared.values()] == [4, 2, 1]
    assert len(PromptLayout(clip, ["cat"], 3).prefix_index) == 6  # all but end-of-text
    assert len(PromptLayout(clip, ["cat", "cat"], 3).prefix_index) == 6
    assert len(PromptLayout(clip, ["red cat", "red dog"], 3, fixed="a").prefix_index) == 6


def test_variants_share_the_fixed_words(clip: Clip) -> None:
    layout = PromptLayout(clip, NAMES, 3)
    prompt = layout.fill(vectors(4, 3).requires_grad_())
    assert prompt.prefix.shape == (4, 4, 16)
    assert prompt.suffix.ndim == 3
    assert prompt.prefix.requires_grad
    assert not prompt.suffix.requires_grad  # words alone: they need no gradient


def test_ids_have_placeholders_and_ends_point_at_the_last_token(clip: Clip) -> None:
    layout = PromptLayout(clip, NAMES, 3, position="middle")
    assert layout.ids.shape == (3, 20)
    for row, end in zip(layout.ids, layout.ends + len(layout.prefix_index), strict=True):
        assert row[end] == 49407
        assert (row[end + 1 :] == 0).all()
        assert (row[: end + 1] == clip.tokenizer.placeholder).sum() == 3


def test_only_buffers_that_are_not_saved(clip: Clip) -> None:
    layout = PromptLayout(clip, NAMES, 3)
    assert not layout.state_dict()
    assert not list(layout.parameters())
    assert layout.to("meta").words.is_meta


def test_too_long_is_refused_with_the_name(clip: Clip) -> None:
    PromptLayout(clip, ["cat"], 16)
    with pytest.raises(UsageError, match="'grey owl' has 21 tokens with its prompt, the text tower accepts 20"):
        PromptLayout(clip, ["cat", "grey owl"], 16)


def test_wrong_requests(clip: Clip) -> None:
    with pytest.raises(UsageError, match=r"unknown position 'back'.*end, front, middle"):
        PromptLayout(clip, NAMES, 2, position="back")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no class names"):
        PromptLayout(clip, [], 2)
    layout = PromptLayout(clip, NAMES, 2)
    for wrong in (vectors(1, 3), vectors(2)):
        with pytest.raises(UsageError, match="does not fit 2 slots"):
            layout.fill(wrong)


def test_unknown_words_are_warned_about() -> None:
    model = open_clip.CLIP(
        8,
        {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8},
        {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    )
    known = frozenset(RAW.encode("a photo of x cat ."))
    clip = Clip(model, Tokenizer(RAW, 20, known), Preprocess(16, (0.5,) * 3, (0.5,) * 3))
    with pytest.warns(VlpromptWarning, match="not trained on 'owl'"):
        PromptLayout(clip, ["cat", "owl"], 2)


def test_a_number_is_the_count_of_learned_tokens_before_the_name(clip: Clip) -> None:
    for number, same in ((0, "front"), (2, "middle"), (5, "end")):
        counted, named = PromptLayout(clip, NAMES, 5, position=number), PromptLayout(clip, NAMES, 5, position=same)
        assert torch.equal(counted.prefix_index, named.prefix_index)
        assert torch.equal(counted.suffix_index, named.suffix_index)
    with pytest.raises(UsageError, match="position is 6; 0 to 5"):
        PromptLayout(clip, NAMES, 5, position=6)


def test_unknown_words_of_many_names_cause_one_short_warning(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    known = clip.tokenizer.pieces("a photo of x .")
    monkeypatch.setattr(clip.tokenizer, "trained_ids", frozenset(known))
    monkeypatch.setattr(clip.tokenizer, "_warned", set())
    names = ["owl", "cat", "dog", "bus", "car", "tree", "lamp", "ship", "bird", "fish", "house", "apple", "chair"]
    with pytest.warns(VlpromptWarning) as caught:
        PromptLayout(clip, names, 2)
    assert len(caught) == 1
    assert " more and treats it" in str(caught[0].message)
