"""The baseline of the text tower computes what open_clip computes; class names."""

import pytest
import torch

from benchmarks.speed.common import baseline, models
from benchmarks.speed.common.baseline import FullCoOp, FullTexts, difference
from benchmarks.speed.common.names import names
from vlprompt.learners import CoOp, CoOpConfig


def test_full_texts_are_those_of_open_clip() -> None:
    clip = models.clip(quick=True)
    texts = FullTexts(clip, ["cat", "oak tree"], 2, "of a")
    x = clip.embed_tokens(clip.tokenizer(["x"]))[0, 1]
    expected = clip.model.encode_text(clip.tokenizer(["x x of a cat.", "x x of a oak tree."]))
    context = torch.stack([x, x])
    assert difference(texts.encode(context), expected) < 1e-6
    assert difference(texts.encode(context, {1: context}), expected) > 1e-3


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = models.clip(quick=True)
    learner = CoOp(clip, names(7), CoOpConfig(n_ctx=2))
    upstream = torch.randn(7, clip.embed_dim, generator=torch.Generator().manual_seed(0))
    text, gradient = FullCoOp(clip, learner.classes, learner.context).run(upstream)
    monkeypatch.setattr(baseline, "CHUNK", 3)
    parts, summed = FullCoOp(clip, learner.classes, learner.context).run(upstream)
    assert difference(parts, text) < 1e-5
    assert difference(summed, gradient) < 1e-5


def test_names_are_real_and_different() -> None:
    assert names(1000)[:2] == ["apple", "aquarium fish"]
    assert len({*names(1000)}) == 1000
    with pytest.raises(ValueError, match="asked for"):
        names(10**6)
