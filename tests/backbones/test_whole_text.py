"""Deep prompts through the library's own text forward."""

import pytest
import torch

from tests.backbones.text_towers import NAMES, SHARED, Build, error, gradient, noise
from vlprompt.backbones.whole_text import WholeTextEncoder
from vlprompt.errors import UsageError
from vlprompt.prompts.context import PromptLayout


@pytest.mark.parametrize("each_its_own", [False, True], ids=["(n, D)", "(G, n, D)"])
@pytest.mark.parametrize("name", [*SHARED[:-2], "length first"])
def test_deep_prompts_are_the_same_on_both_paths(build: Build, name: str, each_its_own: bool) -> None:
    clip = build(name).clip(double=True)
    whole = WholeTextEncoder(clip.model, clip.token_embedding, 4096, len(clip.tokenizer.lead))
    context = noise(3, 3, clip.text_width, dtype=torch.float64).requires_grad_()
    shape = (3, 2, clip.text_width) if each_its_own else (2, clip.text_width)
    deep = noise(*shape, seed=3, dtype=torch.float64).requires_grad_()
    prompt = PromptLayout(clip, NAMES, 3).fill(context, {1: deep})
    short, long = clip.encode_text(prompt), whole(prompt)
    assert error(short, long) < 1e-12
    for learned in (context, deep):
        assert error(gradient(short, learned), gradient(long, learned)) < 1e-12


def test_deep_prompts_in_a_tower_with_length_first(build: Build) -> None:
    clip = build("length first, not causal").clip(double=True)
    prompt = PromptLayout(clip, NAMES, 3).fill(
        noise(1, 3, 32, dtype=torch.float64), {1: noise(2, 32, seed=2, dtype=torch.float64)}
    )
    got = clip.encode_text(prompt)
    clip.tower.transformer.batch_first = True
    for block in clip.tower.transformer.resblocks:
        block.attn.batch_first = True
    assert error(got, clip.encode_text(prompt)) < 1e-12


@pytest.mark.parametrize("name", ["roberta", "bert"])
def test_deep_prompts_of_hugging_face_towers_are_refused(build: Build, name: str) -> None:
    clip = build(name).clip()
    prompt = PromptLayout(clip, NAMES, 3).fill(noise(1, 3, 32), {1: noise(2, 32)})
    with pytest.raises(UsageError, match=r"deep text prompts need open_clip's own text transformer, not HFTextEncoder"):
        clip.encode_text(prompt)
