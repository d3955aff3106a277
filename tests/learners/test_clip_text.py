"""CLIP's text encoder as a classifier of texts: the cosine of two texts."""

from pathlib import Path

import open_clip
import pytest
import torch

import vlprompt as vp
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.features import FeatureStore
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError
from vlprompt.learners import ClipText, ClipTextConfig

TEXTS = ("a red circle", "the film was great", "it", "blue " * 60, "")


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    """A small random CLIP whose text tower takes twenty tokens."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(24, vision, text)
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1 * (parameter.ndim > 1)
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(context_length=20), 20)
    return vp.Clip(model, tokenizer, Preprocess(16, (0.5,) * 3, (0.5,) * 3))


def task() -> vp.Task:
    rows = tuple(vp.Example(vp.Text.of(title=text, body="more"), number % 2) for number, text in enumerate(TEXTS))
    return vp.Task("made", ("circle", "a film"), ("{title} {mask}",), rows, (), rows, words=(("a",), ("b",)))


def test_scores_are_scaled_cosines(clip: vp.Clip, tmp_path: Path) -> None:
    learner = ClipText.for_task(clip, task(), ClipTextConfig(template="it is {}"))
    scores = vp.evaluate(learner, task(), store=FeatureStore(tmp_path)).scores
    tokenizer = open_clip.SimpleTokenizer(context_length=20)  # it cuts long texts at their end, as the library does
    with torch.no_grad():
        texts = clip.model.encode_text(tokenizer([f"{text} more" for text in TEXTS]), normalize=True)
        names = clip.model.encode_text(tokenizer(["it is circle", "it is a film"]), normalize=True)
    torch.testing.assert_close(scores, clip.logit_scale * texts @ names.T, rtol=0, atol=1e-4)


def test_texts_are_encoded_once(clip: vp.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, calls = FeatureStore(tmp_path), []
    learner = ClipText.for_task(clip, task(), ClipTextConfig())
    encode = clip.encoder
    monkeypatch.setattr(clip, "encoder", lambda prompt: calls.append(len(prompt.suffix)) or encode(prompt))
    first = vp.evaluate(learner, task(), store=store)
    assert len(TEXTS) in calls
    calls.clear()
    assert torch.equal(vp.evaluate(learner, task(), store=store).scores, first.scores)
    assert not calls, "neither texts nor names"


def test_other_names_and_own_texts(clip: vp.Clip) -> None:
    learner = ClipText.for_task(clip, task(), ClipTextConfig())
    learner.set_classes(["a red circle", "a blue square", "a film"])
    (answer,) = learner.classify(["a red circle"])
    assert answer.label == "a red circle"
    with pytest.raises(UsageError, match=r"template is 'a film'.*\{\} exactly once"):
        ClipTextConfig(template="a film")
