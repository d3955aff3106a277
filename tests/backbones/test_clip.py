"""Clip: the library's image features and scores, frozen weights, and towers that are refused."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.backbones.text_towers import Build, error
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.prompts.context import PromptLayout

TEXTS = ["a photo of a cat.", "red", "a very old train"]
PREPROCESS = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pictures(built: Any, count: int = 2) -> Tensor:
    side = {"resnet": 32, "timm": 160}.get(built, 16)
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["clip", "quick gelu", "resnet", "timm", "clipa", "coca", "siglip"])
def test_images_have_the_librarys_features(build: Build, name: str) -> None:
    built, images = build(name), pictures(name)
    wanted = built.model.encode_image(images, normalize=False)
    got, half = built.clip().encode_image(images), built.clip("bf16").encode_image(images)
    assert error(got, wanted) < 1e-5
    assert half.dtype is torch.float32
    assert 0 < error(half, wanted) < 5e-2


@pytest.mark.parametrize("name", ["clip", "siglip", "coca", "bert"])
def test_scores_are_the_librarys_logits(build: Build, name: str) -> None:
    built, clip = build(name), build(name).clip()
    images = pictures(name, 4)
    image = F.normalize(built.model.encode_image(images, normalize=False), dim=-1)
    text = F.normalize(built.texts(TEXTS), dim=-1)
    wanted = built.model.logit_scale.exp() * image @ text.T
    if built.model.logit_bias is not None:
        wanted = wanted + built.model.logit_bias
    features, texts = clip.encode_image(images), clip.encode_texts(TEXTS)
    own = texts.expand(4, -1, -1) + torch.arange(4.0)[:, None, None]
    torch.testing.assert_close(clip.scores(features, texts), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(clip.scores(features, texts[None]), wanted, rtol=1e-5, atol=1e-5)
    rows = [clip.scores(feature[None], each)[0] for feature, each in zip(features, own, strict=True)]
    torch.testing.assert_close(clip.scores(features, own), torch.stack(rows), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(clip.scores(features[:1], own[:1]), rows[0][None], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_bfloat16_rounds_neither_scale_nor_bias(build: Build, name: str) -> None:
    full, half = build(name).clip(), build(name).clip("bf16")
    features, texts = torch.randn(2, 24), torch.randn(3, 24)
    assert half.scores(features, texts).dtype is torch.float32
    assert torch.equal(half.scores(features, texts), full.scores(features, texts))


def test_a_scale_that_is_not_a_scalar() -> None:
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    model = open_clip.CLIP(24, vision, text, nonscalar_logit_scale=True, init_logit_bias=-10, init_logit_scale=1.0)
    clip = Clip(model, Tokenizer(open_clip.SimpleTokenizer(), 16), PREPROCESS)
    assert clip.scores(torch.randn(2, 24), torch.randn(3, 24)).shape == (2, 3)
    assert clip.logit_scale.shape == ()
    assert float(clip.logit_scale) == pytest.approx(2.71828, rel=1e-5)


def test_scale_moves_with_the_model(build: Build) -> None:
    clip = build("siglip").clip()
    clip.scores(torch.randn(2, 24), torch.randn(3, 24))
    assert clip.to("meta").logit_scale.is_meta
    assert clip.logit_bias.is_meta


def test_everything_is_frozen_and_stays_in_evaluation_mode(build: Build) -> None:
    clip = build("resnet").clip()  # it has batch normalisation, which training mode would change
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    outer = nn.ModuleList([clip])
    outer.train()
    assert not any(module.training for module in clip.modules())
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    clip.encode_image(pictures("resnet"))
    assert all(torch.equal(value, before[name]) for name, value in clip.state_dict().items())


@pytest.mark.parametrize("name", ["clip", "bert"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda clip: pickle.loads(pickle.dumps(clip))])  # noqa: S301
def test_copies_are_independent(build: Build, name: str, again: Callable[[Clip], Clip]) -> None:
    clip = build(name).clip()
    wanted, other = clip.encode_texts(TEXTS), again(clip)
    for parameter in clip.parameters():
        parameter.zero_()
    assert torch.equal(other.encode_texts(TEXTS), wanted)
    assert other.fingerprint != clip.fingerprint


def test_sizes(build: Build) -> None:
    for name, width in (("clip", 32), ("no projection", 24), ("bert", 32)):
        clip = build(name).clip()
        assert (clip.embed_dim, clip.text_width) == (24, width)
        assert clip.embed_tokens(torch.tensor([[4, 5]])).shape == (1, 2, width)


def test_towers_that_also_return_their_tokens(build: Build) -> None:
    """With output_tokens any tower returns a pair, not only CoCa's."""
    built = build("custom text")
    wanted_text, wanted_image = built.texts(TEXTS), built.model.encode_image(pictures("clip"))
    model = copy.deepcopy(built.model)
    model.text.output_tokens = model.visual.output_tokens = True
    clip = Clip(model, Tokenizer(built.tokens, built.length), PREPROCESS)
    assert error(clip.encode_texts(TEXTS), wanted_text) < 1e-5
    assert error(clip.encode_image(pictures("clip")), wanted_image) < 1e-5


class Bypass(nn.Module):
    """A text tower that does not call its embedding table, so that a hook cannot replace embeddings."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text, self.token_embedding, self.context_length = text, text.token_embedding, text.context_length

    def forward(self, ids: Tensor) -> Tensor:
        with torch.no_grad():
            x = F.embedding(ids, self.text.token_embedding.weight) + self.text.positional_embedding
            return self.text.ln_final(self.text.transformer(x, attn_mask=self.text.attn_mask))[:, -1, :24]


class Headless(nn.Module):
    """A text tower without a table of token embeddings."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids[:, :24].float()


def refused(built: Any, tower: nn.Module, length: int = 0) -> str:
    model = copy.deepcopy(built.model)
    model.text = tower
    with pytest.raises(VlpromptError) as caught:
        Clip(model, Tokenizer(built.tokens, length or built.length), PREPROCESS, name="odd")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_tower_that_cannot_take_prompts_is_refused_with_the_reason(build: Build) -> None:
    built = build("custom text")
    text = copy.deepcopy(built.model.text)
    assert "(Bypass): its features change when the same tokens are given as embeddings" in refused(built, Bypass(text))
    assert "(Headless): it has no table of token embeddings" in refused(built, Headless())
    assert "(TextTransformer): it cannot read rows of 33 tokens" in refused(built, text, 33)


def test_a_causal_tower_with_extra_steps_uses_the_whole_text(build: Build) -> None:
    """Its mask is causal, but it scales its embeddings: the check at load time must detect that."""
    built = build("custom text")
    model = copy.deepcopy(built.model)

    class Scaled(type(model.text)):  # type: ignore[misc]
        def _embeds(self, ids: Tensor) -> Any:
            x, mask = super()._embeds(ids)
            return 3 * x, mask

    model.text.__class__ = Scaled
    wanted = model.encode_text(built.tokens(TEXTS), normalize=False)
    clip = Clip(model, Tokenizer(built.tokens, built.length), PREPROCESS)
    assert clip.text_path == "whole text: the shared prefix was not exact"
    assert error(clip.encode_texts(TEXTS), wanted) < 1e-5


def test_bad_requests(build: Build) -> None:
    clip = build("clip").clip()
    with pytest.raises(UsageError, match="no texts given"):
        clip.encode_texts([])
    with pytest.raises(UsageError, match=r"unknown precision 'fp16'.*bf16, fp32"):
        build("clip").clip("fp16")
    with pytest.raises(UsageError, match="no class names given"):
        PromptLayout(clip, [], 2)


def test_the_word_table_has_the_spelling_of_each_row(built: Any) -> None:
    clip = built.clip()
    table, words = clip.word_table()
    assert table.shape == (len(words), clip.text_width)
    assert table.dtype == torch.float32
    (piece,) = clip.tokenizer.pieces_inside("cat")
    assert words[piece] == "cat"
    assert torch.equal(table[piece], clip.embed_tokens(torch.tensor(piece)))


def test_untrained_words_are_not_in_the_word_table(build: Build) -> None:
    clip = build("clip").clip()
    known = frozenset(clip.tokenizer.pieces("a photo of cat"))
    clip.tokenizer = Tokenizer(clip.tokenizer.tokenizer, clip.tokenizer.context_length, known)
    assert sorted(clip.word_table()[1]) == ["a", "cat", "of", "photo"]
