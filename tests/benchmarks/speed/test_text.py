"""Benchmarks of text sides: both sides agree, and a side that does not is a missed target."""

from typing import Any

import pytest
import torch

from benchmarks.speed import cocoop, coop_eval, deep_text, l2p, text_side
from benchmarks.speed.common import measure, models
from benchmarks.speed.common.baseline import FullCoOp, FullTexts, difference
from benchmarks.speed.common.names import names
from vlprompt.data.batch import features_of
from vlprompt.learners import L2P, CoCoOp, CoOp


@pytest.mark.parametrize(
    ("benchmark", "count", "agreement"),
    [(text_side, 2, 1e-5), (cocoop, 2, 1e-4), (deep_text, 2, 1e-4), (coop_eval, 1, 1e-4), (l2p, 2, 1e-4)],
)
def test_both_sides_agree(benchmark: Any, count: int, agreement: float) -> None:
    records = list(benchmark.run(quick=True))
    assert len(records) == count
    for record in records:
        assert not record.missed
        assert all(value < agreement for name, value in record.figures.items() if name.endswith("apart"))
        assert all(value > 0 for name, value in record.figures.items() if not name.endswith("apart"))


def test_sides_that_disagree_miss_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = FullTexts.encode
    monkeypatch.setattr(FullTexts, "encode", lambda *args, **others: encode(*args, **others).roll(1, 0))
    prompt = L2P.prompt
    monkeypatch.setattr(L2P, "prompt", lambda self, ids: prompt(self, (ids + 1) % len(self.pool)))
    for benchmark in (cocoop, deep_text, coop_eval, l2p):
        assert all("apart" in record.missed[-1] for record in benchmark.run(quick=True))


def test_a_slightly_wrong_gradient_misses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FullCoOp.run

    def wrong(self: FullCoOp, upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        text, gradient = run(self, upstream)
        return text, gradient * 1.001

    monkeypatch.setattr(FullCoOp, "run", wrong)
    assert all("gradient_apart" in record.missed[0] for record in text_side.run(quick=True))


def test_the_loop_over_images_equals_the_authors_one_graph() -> None:
    clip = models.clip(quick=True)
    baseline = cocoop.Baseline(CoCoOp(clip, names(5)))
    batch = cocoop.examples(clip, cocoop.Setting(5, 3))
    step = baseline.step(batch)

    def loss() -> torch.Tensor:
        pairs = zip(features_of(batch), batch.labels, strict=True)
        return sum((baseline.loss(image, label) for image, label in pairs), torch.tensor(0.0)) / 3

    baseline.zero_grad()
    whole, kept = measure.kept_bytes(loss, [*baseline.parameters(), *baseline.buffers()])
    whole.backward()
    assert step.kept == pytest.approx(kept, rel=1e-3)
    assert step.loss == pytest.approx(float(whole.detach()), rel=1e-6)
    for name, gradient in step.gradients.items():
        assert difference(gradient, baseline.get_parameter(name).grad) < 1e-5
    assert step.gradients.keys() == {"context", *(f"meta_net.{part}" for part in baseline.meta_net.state_dict())}


def test_text_encoded_for_every_batch_misses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoOp, "cached", lambda self, name, make: make())
    (record,) = coop_eval.run(quick=True)
    assert record.missed == ["text_encodings is 3, target 1 or less"]


def test_a_step_with_too_much_memory_misses_the_target() -> None:
    record = cocoop.measured(models.clip(quick=True), cocoop.Setting(5, 2, faster=1e6, memory=1e-6))
    assert [line.split()[0] for line in record.missed] == ["times_faster", "share_of_memory"]
