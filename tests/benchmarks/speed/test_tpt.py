"""The benchmark of TPT."""

import pytest
import torch

from benchmarks.speed import tpt
from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import FullCoOp
from benchmarks.speed.common.names import names
from vlprompt.learners import CoOp, CoOpConfig


def test_tpt_agrees_with_the_baseline() -> None:
    (record,) = tpt.run(quick=True)
    assert not record.missed
    figures = record.figures
    assert figures["features_apart"] < 1e-5
    assert figures["gradient_apart"] < 1e-5
    assert figures["ours_whole_s"] == pytest.approx(figures["ours_text_s"] + figures["image_tower_s"])
    assert figures["plain_whole_s"] > figures["plain_text_s"] + figures["image_tower_s"]


def test_the_baseline_takes_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = models.clip(quick=True)
    learner = CoOp(clip, names(5), CoOpConfig(n_ctx=2))
    baseline = FullCoOp(clip, learner.classes, learner.context)
    encode, seen = baseline.texts.encode, []
    monkeypatch.setattr(
        baseline.texts, "encode", lambda context, **more: seen.append(context.detach()) or encode(context, **more)
    )
    _, gradient = tpt.plain_image(baseline, torch.ones(5, clip.embed_dim))
    assert len(seen) == 2
    assert torch.equal(seen[1], seen[0] - 0.005 * gradient.sign())
