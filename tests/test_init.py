"""How a prompt starts."""

import open_clip
import pytest
import torch

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError
from vlprompt.init import from_words, normal

RAW = open_clip.SimpleTokenizer(context_length=20)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def clip(request: pytest.FixtureRequest) -> Clip:
    """A small random model in both precisions."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8}
    model = open_clip.CLIP(8, vision, text)
    return Clip(model, Tokenizer(RAW, 20), Preprocess(16, (0.5,) * 3, (0.5,) * 3), precision=request.param)


def test_normal_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = normal(4, 8, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(normal(4, 8, seed=3), first)
    assert not torch.equal(normal(4, 8, seed=4), first)
    assert first.shape == (4, 8)


def test_normal_has_the_spread_asked_for() -> None:
    assert float(normal(100, 100, seed=0).std()) == pytest.approx(0.02, rel=0.05)
    assert float(normal(100, 100, seed=0, std=1.0).std()) == pytest.approx(1.0, rel=0.05)
    assert abs(float(normal(100, 100, seed=0).mean())) < 0.001


@pytest.mark.parametrize("words", ["a photo of a", "a_photo_of_a", "a xylophonist's", "St."])
def test_words_become_one_vector_per_token(clip: Clip, words: str) -> None:
    ids = RAW.encode(words.replace("_", " "))
    start = from_words(clip, words)
    assert start.dtype is torch.float32
    assert torch.equal(start, clip.token_embedding.weight[ids].float())
    assert len(start) == len(ids)


def test_the_vectors_are_a_copy(clip: Clip) -> None:
    start = from_words(clip, "a photo")
    before = clip.token_embedding.weight.clone()
    torch.nn.Parameter(start).data.add_(1)
    assert torch.equal(clip.token_embedding.weight, before)


def test_no_words(clip: Clip) -> None:
    for words in ("", "  ", "_"):
        with pytest.raises(UsageError, match="no words to start from"):
            from_words(clip, words)
