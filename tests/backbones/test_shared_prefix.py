"""Both text encoders against the library's own forward, for every family of model."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.backbones.text_towers import NAMES, SHARED, TEXTS, Build, error, gradient, library_features, noise
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.backbones.shared_prefix import SharedPrefixEncoder
from vlprompt.errors import UsageError
from vlprompt.prompts.context import PromptLayout


def test_zero_prompts_give_the_librarys_features(built: Any) -> None:
    clip = built.clip()
    assert clip.text_path == built.family.path
    assert error(clip.encode_texts(TEXTS), built.texts(TEXTS)) < 1e-5


def test_bfloat16_stays_near_float32(built: Any) -> None:
    clip = built.clip("bf16")
    got = clip.encode_texts(TEXTS)
    assert clip.dtype is torch.bfloat16
    assert got.dtype is torch.float32
    assert clip.text_path == built.family.path
    assert error(got, built.texts(TEXTS)) < 5e-2


@pytest.mark.parametrize(("variants", "specific"), [(1, False), (3, False), (1, True), (2, True)])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_learned_context_has_the_librarys_features(built: Any, position: Any, variants: int, specific: bool) -> None:
    clip = built.clip()
    layout = PromptLayout(clip, NAMES, 3, position=position, class_specific=specific)
    shape = (variants, len(NAMES), 3) if specific else (variants, 3)
    context = noise(*shape, clip.text_width).requires_grad_()
    got = clip.encode_text(layout.fill(context.flatten(1, 2) if specific else context))
    wanted = library_features(built, position, context)
    assert got.shape == wanted.shape == (variants, len(NAMES), clip.embed_dim)
    assert error(got, wanted) < 1e-5
    assert error(gradient(got, context), gradient(wanted, context)) < 1e-4


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("name", SHARED)
def test_shared_prefix_is_exact_in_float64(build: Build, name: str, position: Any) -> None:
    built = build(name)
    clip = built.clip(double=True)
    assert isinstance(clip.encoder, SharedPrefixEncoder)
    context = noise(2, 3, clip.text_width, dtype=torch.float64).requires_grad_()
    got = clip.encode_text(PromptLayout(clip, NAMES, 3, position=position).fill(context))
    wanted = library_features(built, position, context, copy.deepcopy(built.model).double())
    assert got.dtype is torch.float64
    assert error(got, wanted) < 1e-12
    assert error(gradient(got, context), gradient(wanted, context)) < 1e-12


def by_hand(clip: Clip, prompt: TextPrompt, deep: Mapping[int, Tensor], lead: int) -> Tensor:
    """(C, E) for one variant of a float64 prompt through open_clip's blocks, at every position, with deep tokens."""
    tower, length = clip.tower, prompt.ids.shape[1]
    x = clip.embed_tokens(prompt.ids)
    for row, end in enumerate(prompt.ends.tolist()):
        said = torch.cat([prompt.prefix[0], prompt.suffix[row, : end + 1]])
        x = torch.stack([*x[:row], torch.cat([said, x[row, len(said) :]]), *x[row + 1 :]])
    x = x + tower.positional_embedding[:length]
    for layer, block in enumerate(tower.transformer.resblocks):
        if layer in deep:
            tokens = deep[layer].expand(len(x), -1, -1)
            x = torch.cat([x[:, :lead], tokens, x[:, lead + tokens.shape[1] :]], dim=1)
        x = block(x, attn_mask=tower.attn_mask)
    last = torch.full_like(prompt.ends, length - 1) if tower.attn_mask is None else prompt.prefix.shape[1] + prompt.ends
    x = tower.ln_final(x)[torch.arange(len(x)), last]
    projection = tower.text_projection
    return projection(x) if isinstance(projection, torch.nn.Module) else x @ projection


@pytest.mark.parametrize(("name", "lead"), [("clip", 1), ("worldwide", 1), ("worldwide mt5", 0), ("siglip", 0)])
def test_deep_prompts_overwrite_the_tokens_after_start_of_text(build: Build, name: str, lead: int) -> None:
    clip = build(name).clip(double=True)
    layout = PromptLayout(clip, NAMES, 3)
    context = noise(1, 3, clip.text_width, dtype=torch.float64)
    deep = {layer: noise(2, clip.text_width, seed=layer + 2, dtype=torch.float64) for layer in (0, 1)}
    prompt = layout.fill(context, deep)
    assert error(clip.encode_text(prompt)[0], by_hand(clip, prompt, deep, lead)) < 1e-12


@pytest.mark.parametrize("name", ["clip", "mobile"])
def test_deep_prompts_that_do_not_fit_are_refused(build: Build, name: str) -> None:
    clip = build(name).clip()
    prompt = PromptLayout(clip, NAMES, 3).fill(noise(1, 3, 32), {2: noise(2, 32)})
    with pytest.raises(UsageError, match=r"layers \[2\], but the text tower has layers 0 to 1"):
        clip.encode_text(prompt)


def test_deep_prompts_need_a_shared_context(build: Build) -> None:
    clip = build("clip").clip()
    prompt = PromptLayout(clip, NAMES, 3, position="front").fill(noise(1, 3, 32), {0: noise(2, 32)})
    with pytest.raises(UsageError, match="need 3 tokens that all texts start with, there are 1"):
        clip.encode_text(prompt)


def saved_bytes(clip: Clip, names: list[str]) -> int:
    """Bytes that autograd stores for the backward pass of some names."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    prompt = PromptLayout(clip, names, 3).fill(noise(1, 3, clip.text_width).requires_grad_())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = clip.encode_text(prompt)
    assert features.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("name", ["clip", "worldwide mt5", "siglip", "coca", "bert"])
@pytest.mark.parametrize("position", ["end", "front"])
def test_chunks_change_memory_and_nothing_else(build: Build, name: str, position: Any) -> None:
    one, many = build(name).clip(), build(name).clip(chunk_tokens=8)
    context = noise(2, 3, one.text_width).requires_grad_()
    deep = {1: noise(2, 2, one.text_width, seed=5).requires_grad_()} if position == "end" and name != "bert" else {}
    prompt = PromptLayout(one, NAMES, 3, position=position).fill(context, deep)
    wanted, got = one.encode_text(prompt), many.encode_text(prompt)
    assert error(got, wanted) < 1e-5
    for learned in (context, *deep.values()):
        assert error(gradient(got, learned), gradient(wanted, learned)) < 1e-5


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_memory_grows_with_the_chunk_and_not_with_the_texts(build: Build, name: str) -> None:
    names = [f"cat {word}" for word in ("red", "blue", "green", "grey", "owl", "very", "old", "steam", "train", "dog")]

    def growth(clip: Clip) -> int:
        return saved_bytes(clip, names * 5) - saved_bytes(clip, names)

    assert growth(build(name).clip(chunk_tokens=20)) < growth(build(name).clip(chunk_tokens=10**6)) / 10


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_last_chunk_is_not_computed_again(build: Build, name: str) -> None:
    clip = build(name).clip(chunk_tokens=8)
    prompt = PromptLayout(clip, NAMES, 3).fill(noise(1, 3, 32).requires_grad_())
    chunks, runs = len(clip.encoder.chunks(prompt)), []
    with clip.tower.transformer.resblocks[0].mlp.register_forward_hook(lambda *_: runs.append(1)):
        features = clip.encode_text(prompt)
        assert len(runs) == chunks > 1
        features.sum().backward()
    assert len(runs) == 2 * chunks - 1


def test_long_names_add_no_padding_to_short_ones(build: Build) -> None:
    clip = build("clip").clip()
    short, long = ["cat", "dog"] * 40, ["a very old steam train", "the very old steam train"] * 10
    assert saved_bytes(clip, short + long) < 1.05 * (saved_bytes(clip, short) + saved_bytes(clip, long))


@pytest.mark.parametrize("name", ["clip", "worldwide mt5", "siglip", "coca", "roberta"])
def test_a_text_does_not_depend_on_other_texts(build: Build, name: str) -> None:
    clip = build(name).clip(chunk_tokens=30)
    context = noise(1, 3, clip.text_width)

    def features(names: list[str]) -> Tensor:
        return clip.encode_text(PromptLayout(clip, names, 3).fill(context))[0]

    every = features(NAMES)
    assert error(features(NAMES[::-1]).flip(0), every) < 1e-5
    for number, text in enumerate(NAMES):
        assert error(features([text])[0], every[number]) < 1e-5
    plain = clip.encode_texts(TEXTS)
    assert error(torch.cat([clip.encode_texts([text]) for text in TEXTS]), plain) < 1e-5


def test_a_prefix_may_be_empty(build: Build) -> None:
    """A causal tower whose texts start with no common token."""
    built = build("worldwide mt5")
    clip = built.clip()
    texts = ["cat", "grey owl", "a very old steam train"]
    assert clip.prompt_of(clip.tokenizer(texts)).prefix.shape[1] == 0
    assert error(clip.encode_texts(texts), built.texts(texts)) < 1e-5


def test_suffixes_may_differ_by_variant(build: Build) -> None:
    clip = build("clip").clip(chunk_tokens=20)
    layout = PromptLayout(clip, NAMES, 2, position="middle")
    context = noise(3, 2, 32)
    prompt = layout.fill(context)
    assert prompt.suffix.shape[0] == 3
    one_by_one = [clip.encode_text(layout.fill(each[None])) for each in context]
    assert error(clip.encode_text(prompt), torch.cat(one_by_one)) < 1e-5


def test_tokens_after_the_end_are_never_read(build: Build) -> None:
    clip = build("clip").clip()
    prompt = PromptLayout(clip, NAMES, 2).fill(noise(1, 2, 32))
    beyond = torch.arange(prompt.suffix.shape[1]) > prompt.ends[:, None]
    spoilt = replace(prompt, suffix=prompt.suffix.masked_fill(beyond[..., None], 1e3))
    torch.testing.assert_close(clip.encode_text(spoilt), clip.encode_text(prompt))
