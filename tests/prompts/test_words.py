"""The start of a learned context: words or noise."""

import open_clip
import pytest
import torch

from vlprompt import learners
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.prompts.words import StartConfig, from_words, start_context
from vlprompt.randomness import normal

RAW = open_clip.SimpleTokenizer(context_length=20)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def clip(request: pytest.FixtureRequest) -> Clip:
    """A small random model in both precisions."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8}
    model = open_clip.CLIP(8, vision, text)
    return Clip(model, Tokenizer(RAW, 20), Preprocess(16, (0.5,) * 3, (0.5,) * 3), precision=request.param)


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


def test_a_context_starts_from_words_repeated_for_each_class_or_from_noise(clip: Clip) -> None:
    words = from_words(clip, "a photo of a")
    config = StartConfig(words="a photo of a")
    assert torch.equal(start_context(clip, config, tokens=16, seed=1), words)
    each = start_context(clip, config, 3, tokens=16, seed=1)
    assert each.shape == (3, 4, 16)
    assert all(torch.equal(context, words) for context in each)
    assert torch.equal(start_context(clip, StartConfig(), 3, tokens=5, seed=1), normal(3, 5, 16, seed=1))
    assert torch.equal(start_context(clip, StartConfig(n_ctx=2), 3, tokens=5, seed=1), normal(3, 2, 16, seed=1))


@pytest.mark.parametrize("method", ["coop:cocoop-paper", "cocoop", "kgcoop"])
def test_a_number_of_tokens_beside_words_is_refused(method: str) -> None:
    """Both cannot decide how many tokens are learned."""
    name = method.partition(":")[0]
    for n_ctx in (1, 4, 8, 16):
        with pytest.raises(UsageError, match=f"n_ctx={n_ctx} has no effect.*'a photo of a'.*words="):
            LearnerSpec.parse(method, {name: {"n_ctx": n_ctx}})
        assert LearnerSpec.parse(method, {name: {"n_ctx": n_ctx, "words": ""}}).config.n_ctx == n_ctx
    assert LearnerSpec.parse(method, {name: {"words": "art of the"}}).config.words == "art of the"


def test_n_ctx_and_words_both_count_in_maple() -> None:
    assert LearnerSpec.parse("maple", {"maple": {"n_ctx": 3}}).config.n_ctx == 3


@pytest.mark.parametrize("kind", ["CoOp", "CoCoOp", "KgCoOp"])
def test_in_python_a_number_of_tokens_beside_words_gives_a_warning(clip: Clip, kind: str) -> None:
    learner, config = (getattr(learners, name) for name in (kind, f"{kind}Config"))
    with pytest.warns(VlpromptWarning, match="n_ctx=8 has no effect.*their 4 tokens"):
        assert learner(clip, ("cat", "dog"), config(n_ctx=8, words="a photo of a")).context.shape[0] == 4
    for n_ctx in (0, 4):
        assert learner(clip, ("cat", "dog"), config(n_ctx=n_ctx, words="a photo of a")).context.shape[0] == 4
    assert learner(clip, ("cat", "dog"), config(n_ctx=8, words="")).context.shape[0] == 8
