"""The linear head: scores of a few units before training, growth with a sequence of tasks, and masks."""

from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit, task
from vlprompt.data.batches import feature_batches
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.learners import VPT, Linear, VPTConfig
from vlprompt.prompts.head import GrowingHead, linear_head
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_scores_start_small_whatever_the_number_of_classes(classes: int) -> None:
    head = linear_head(192, classes, seed=0)
    features = torch.randn(50, 192, generator=torch.Generator().manual_seed(1)) * 4  # the norm of ViT-Tiny's, 55
    scores = (head(features) - head.bias).detach()
    assert 0.3 < float(scores.std()) < 0.8
    assert float(head.bias.detach().softmax(0).max()) == pytest.approx(1 / classes)


def test_the_seed_decides() -> None:
    a, b, c = (linear_head(8, 3, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_head_grows_and_is_masked_in_training_only() -> None:
    vit = small_vit(torch.float32)
    learner: Any = Linear(vit, NAMES[:2])
    learner.begin_stream(masked=True)
    assert not any(tensor.any() for tensor in learner.trainable().values())
    learner.begin_task(task(NAMES[:4], 2, 3))
    batch = batch_for(vit, 2)
    assert learner.train()(batch)[:, :2].isinf().all()
    assert learner.eval()(batch).isfinite().all()


def test_a_head_that_masks_continues_to() -> None:
    learner = Linear(small_vit(torch.float32), NAMES)
    for masked in (True, False):
        learner.begin_stream(masked=masked)
        assert learner.head.masked


def test_vpt_on_a_clip_has_no_head_and_changes_its_classes() -> None:
    learner = VPT(vp.load_clip("tiny"), ["circle", "square"], VPTConfig(2))
    assert isinstance(learner, GrowingHead)
    learner.begin_stream()
    with pytest.raises(UsageError, match="vpt has no linear head here, so its classes cannot be masked"):
        learner.begin_stream(masked=True)
    learner.begin_task(task(("star", "cross", "circle"), 0))
    assert learner.classes == ("star", "cross", "circle")
    assert learner.text.shape[0] == 3


def test_other_methods_have_no_growing_head() -> None:
    assert not isinstance(vp.learners.CoOp(vp.load_clip("tiny"), ["circle", "square"]), GrowingHead)


def test_a_masked_task_of_one_class_gives_one_warning() -> None:
    learner: Any = Linear(small_vit(torch.float32), NAMES[:2])
    learner.begin_stream(masked=True)
    learner.begin_task(task(NAMES[:3], 1, 2))
    with pytest.warns(VlpromptWarning, match="a task has a single class"):
        learner.begin_task(task(NAMES[:4], 3, 3))
    learner.begin_task(task(NAMES, 4))  # a warning would be an error


def test_without_a_mask_a_task_of_one_class_gives_none() -> None:
    learner: Any = Linear(small_vit(torch.float32), NAMES[:2])
    learner.begin_stream()
    learner.begin_task(task(NAMES[:3], 2))
    assert not learner.head.warned


@pytest.mark.parametrize("config", [TrainConfig(epochs=1), TrainConfig(epochs=0)])
def test_training_with_one_class_gives_a_warning(config: TrainConfig) -> None:
    learner = Linear(small_vit(torch.float32), NAMES[:1])
    with pytest.warns(VlpromptWarning, match="there is a single class"):
        fit(learner, feature_batches(torch.ones(3, 24), [0, 0, 0], batch_size=3), config)
