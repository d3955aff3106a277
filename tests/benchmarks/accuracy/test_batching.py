"""The effect of batches on test-time tuning, and its detection."""

import json

import pytest
from torch import Tensor

from benchmarks.accuracy import batching
from benchmarks.accuracy.batching import change
from vlprompt.backbones import load_clip
from vlprompt.learners import TPT, TPTConfig
from vlprompt.randomness import normal


@pytest.fixture(scope="module")
def learner() -> TPT:
    return TPT(load_clip("tiny"), ["zero", "one", "circle", "star"], TPTConfig(lr=0.05))


@pytest.fixture(scope="module")
def views(learner: TPT) -> Tensor:
    return normal(16, 12, learner.backbone.embed_dim, seed=1, std=1.0)


def test_a_batch_changes_no_sign_and_no_answer(learner: TPT, views: Tensor) -> None:
    found = change(learner, lambda some: views[some], 16, 7)
    assert found.sign_flips == 0
    assert found.changed_answers == 0
    assert found.score_difference < 1e-4


def test_dependence_between_images_is_detected(learner: TPT, views: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def mixed(some: Tensor) -> Tensor:
        return learner.initial_contexts(some[:, 0]) + some.mean(dim=(0, 1))[:4, None]

    monkeypatch.setattr(learner, "tune", mixed)
    found = change(learner, lambda some: views[some], 16, 7)
    assert found.sign_flips > 0.1
    assert found.score_difference > 0


def test_the_command_reports_equal_and_newly_encoded_features(capsys: pytest.CaptureFixture[str]) -> None:
    assert batching.main(["--images", "4", "--batch", "3"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["batches"] for line in lines] == [[1, 3]] * 2
    assert lines[0]["sign_flips"] == 0
    assert all(line["changed_answers"] == 0 for line in lines)
