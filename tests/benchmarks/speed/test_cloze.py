"""Benchmarks of language models."""

from typing import Any

import pytest

from benchmarks.speed import cloze_head, soft_verbalizer


def test_the_cloze_head_agrees_with_the_models_own_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloze_head, "BATCH", 2)
    (record,) = cloze_head.run(quick=True)
    assert not record.missed
    assert record.setting["tokens"] == 128
    assert record.figures["scores_apart"] < 1e-5
    assert record.figures["plain_logits_mb"] == pytest.approx(2 * 128 * 50265 * 4 / 1e6)
    assert record.figures["ours_logits_mb"] == pytest.approx(2 * 2 * 4 / 1e6)
    full_forward = cloze_head.full_forward
    monkeypatch.setattr(cloze_head, "full_forward", lambda *given: full_forward(*given) * 1.001)
    (record,) = cloze_head.run(quick=True)
    assert "scores_apart" in record.missed[0]


def test_a_soft_verbalizer_learns_the_same_from_stored_states(monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = soft_verbalizer.run(quick=True)
    assert not record.missed
    build = soft_verbalizer.learner
    offsets = iter([0.0, 0.1])

    def other(lm: Any, task: Any) -> Any:
        learner = build(lm, task)
        learner.vectors.data += next(offsets)
        return learner

    monkeypatch.setattr(soft_verbalizer, "learner", other)
    (record,) = soft_verbalizer.run(quick=True)
    assert any("vectors_apart" in line for line in record.missed)
