"""The parts of prompt tuning for single images, against slow and plain computations in float64."""

import inspect
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vlprompt.backbones import load_clip
from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError
from vlprompt.learners import CoCoOp, CoOp, KgCoOp, LinearProbe
from vlprompt.prompts import context_tuning as tuning
from vlprompt.prompts.context import PromptLayout
from vlprompt.prompts.context_tuning import (
    EncodedContext,
    Tunable,
    WordContext,
    confident,
    dispersion,
    marginal_entropy,
)
from vlprompt.randomness import normal

NAMES = ("zero", "one", "a big star", "circle", "seven", "small square")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip("tiny")


@pytest.mark.parametrize(("share", "count"), [(0.1, 1), (0.25, 3), (0.5, 6), (1.0, 12), (0.01, 1)])
def test_the_most_certain_views_come_first(share: float, count: int) -> None:
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) * 3
    p = scores.double().softmax(dim=1).numpy()
    entropy = -(p * np.log(p)).sum(axis=1)
    assert confident(scores, share).tolist() == np.argsort(entropy)[:count].tolist()


def test_equally_certain_views_are_selected_in_order() -> None:
    assert confident(torch.ones(40, 3), 0.1).tolist() == [0, 1, 2, 3]


def test_the_entropy_is_that_of_the_mean_not_the_mean_of_entropies() -> None:
    scores = torch.tensor([[9.0, 0.0, -2.0], [0.0, 8.0, 1.0]], dtype=torch.float64)
    p = np.exp(scores.numpy()) / np.exp(scores.numpy()).sum(axis=1, keepdims=True)
    mean = p.mean(axis=0)
    assert marginal_entropy(scores).item() == pytest.approx(-(mean * np.log(mean)).sum(), abs=1e-12)
    assert marginal_entropy(scores) > 0.6  # two certain views that disagree: near log 2
    assert marginal_entropy(torch.tensor([[1e4, -1e4, 0.0]])) == 0, "no 0 * log 0"


def test_dispersion_is_the_mean_distance_from_the_centre_of_unit_vectors() -> None:
    text = torch.tensor([[3.0, 0.0], [0.0, 0.5]], requires_grad=True)
    assert dispersion(text).item() == pytest.approx(0.5**0.5)
    one = torch.ones(1, 4, requires_grad=True)
    dispersion(one).backward()
    assert one.grad is not None
    assert one.grad.isfinite().all()


@pytest.mark.parametrize(
    ("words", "tokens", "before"),
    [
        ("a photo of a", 4, 4),
        ("a_photo_of_a", 4, 4),
        ("a [CLASS] photo of", 3, 1),
        ("a_[CLASS]_photo_of", 3, 1),
        ("[CLASS] in a drawing", 3, 0),
        ("one big [CLASS]", 2, 2),
    ],
)
def test_words_are_placed_around_the_name(clip: Clip, words: str, tokens: int, before: int) -> None:
    own = WordContext(clip, NAMES, words)
    assert (len(own.context), own.before) == (tokens, before)
    text = clip.encode_text(own.layout.fill(own.initial_contexts(torch.zeros(1))))[0]
    sentence = words.replace("_", " ") if "[CLASS]" in words else words.replace("_", " ") + " [CLASS]"
    plain = clip.encode_texts([f"{sentence.replace('[CLASS]', name)}." for name in NAMES])
    assert torch.allclose(text, plain, atol=1e-5)


@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")
def test_empty_words_and_two_names_are_refused(clip: Clip) -> None:
    with pytest.raises(UsageError, match="no words"):
        WordContext(clip, NAMES, "[CLASS]")
    with pytest.raises(UsageError, match="more than once"):
        WordContext(clip, NAMES, "a [CLASS] or [CLASS]")


def test_tunable_learners_are_recognised(clip: Clip) -> None:
    assert isinstance(WordContext(clip, NAMES, "a photo of a"), Tunable)
    assert isinstance(CoOp(clip, NAMES), Tunable)
    assert isinstance(CoCoOp(clip, NAMES), Tunable)
    assert not isinstance(LinearProbe(clip, NAMES), Tunable)
    assert not isinstance(KgCoOp(clip, NAMES), Tunable)


def test_members_of_tunable_are_found_statically(clip: Clip) -> None:
    """As Python 3.12 and newer look up the members of a protocol: submodules and parameters are not found."""
    for learner in (CoOp(clip, NAMES), CoCoOp(clip, NAMES)):
        for member in ("set_classes", "context_layout", "initial_contexts"):
            assert callable(inspect.getattr_static(learner, member))


@pytest.fixture(params=["end", "middle", "class-specific"])
def layout(request: pytest.FixtureRequest, clip: Clip) -> PromptLayout:
    if request.param == "class-specific":
        return PromptLayout(clip, NAMES, 3, class_specific=True)
    return PromptLayout(clip, NAMES, 3, position=request.param)


def gradient(clip: Clip, layout: PromptLayout, context: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    leaf = context.clone().requires_grad_()
    clip.encode_text(layout.fill(leaf)).backward(above[None])
    assert leaf.grad is not None
    return leaf.grad[0]


@pytest.mark.parametrize("tokens", [0, 10**6])
@pytest.mark.parametrize("chunk_tokens", [8, 4096])
def test_gradients_are_those_of_autograd_with_and_without_graphs_in_memory(
    clip: Clip, layout: PromptLayout, tokens: int, chunk_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = normal(1, layout.slots, clip.text_width, seed=1, std=0.5)
    above = normal(4, len(NAMES), clip.embed_dim, seed=2, std=1.0)
    wanted = torch.stack([gradient(clip, layout, context, each) for each in above])
    monkeypatch.setattr(tuning, "GRAPH_TOKENS", tokens)
    monkeypatch.setattr(clip.encoder, "chunk_tokens", chunk_tokens)
    with torch.no_grad():
        encoded = EncodedContext(clip, layout, context)
        assert (len(encoded.chunks) > 3) == (chunk_tokens == 8)
        assert bool(encoded.graphs) == bool(tokens)
        assert torch.allclose(encoded.text, clip.encode_text(layout.fill(context)), atol=1e-5)
        for _ in range(2):  # the graph can be used repeatedly
            found = encoded.gradients(above)
            assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))
    assert not encoded.text.requires_grad
    assert context.grad is None


def test_an_images_gradient_is_the_same_bits_in_any_batch(clip: Clip, layout: PromptLayout) -> None:
    encoded = EncodedContext(clip, layout, normal(1, layout.slots, clip.text_width, seed=1, std=0.5))
    above = normal(16, len(NAMES), clip.embed_dim, seed=2, std=1.0)
    together = encoded.gradients(above)
    assert all(torch.equal(encoded.gradients(above[i : i + 1])[0], together[i]) for i in range(16))


def test_a_tower_that_is_not_causal_has_gradients_too(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlprompt.backbones.whole_text import WholeTextEncoder

    layout = PromptLayout(clip, NAMES, 3)
    context = normal(1, 3, clip.text_width, seed=1, std=0.5)
    above = normal(2, len(NAMES), clip.embed_dim, seed=2, std=1.0)
    wanted = EncodedContext(clip, layout, context).gradients(above)
    whole = WholeTextEncoder(clip.model, clip.token_embedding, chunk_tokens=160)  # two texts at once
    monkeypatch.setattr(clip, "encoder", whole)
    encoded = EncodedContext(clip, layout, context)
    assert len(encoded.chunks) == 3
    assert torch.allclose(encoded.gradients(above), wanted, atol=1e-4 * float(wanted.abs().max()))


def test_it_recognises_its_layout_and_context(clip: Clip) -> None:
    layout = PromptLayout(clip, NAMES, 3)
    context = normal(1, 3, clip.text_width, seed=1)
    encoded = EncodedContext(clip, layout, context)
    assert encoded.is_of(layout, context.clone())
    assert not encoded.is_of(layout, context + 1e-6)
    assert not encoded.is_of(PromptLayout(clip, NAMES, 3), context)


def test_one_chunk_is_not_computed_again_for_each_image(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    encode: Callable[..., torch.Tensor] = clip.encode_text
    monkeypatch.setattr(clip, "encode_text", lambda prompt: calls.append(1) or encode(prompt))
    encoded = EncodedContext(clip, PromptLayout(clip, NAMES, 3), normal(1, 3, clip.text_width, seed=1))
    encoded.gradients(normal(5, len(NAMES), clip.embed_dim, seed=2))
    encoded.gradients(normal(5, len(NAMES), clip.embed_dim, seed=3))
    assert len(calls) == 1
