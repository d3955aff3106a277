"""Zero-shot: one template and many."""

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from vlprompt.data.templates import IMAGENET_SELECT
from vlprompt.errors import UsageError
from vlprompt.learners import ZeroShot, ZeroShotConfig

NAMES = ["circle", "seven"]


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


def test_many_templates_are_the_normalised_mean_of_normalised_features(clip: vp.Clip) -> None:
    templates = ("a photo of a {}.", "the {}.", "a blurry {}.")
    text = ZeroShot(clip, NAMES, ZeroShotConfig(templates)).class_features()
    for row, name in zip(text, NAMES, strict=True):
        each = clip.encode_texts([t.format(name) for t in templates])
        mean = (each / each.norm(dim=1, keepdim=True)).mean(dim=0)
        assert torch.allclose(row, mean / mean.norm(), atol=1e-6)


def test_the_tasks_template_is_used(clip: vp.Clip) -> None:
    task = vp.load_task("digits")
    learner = ZeroShot.for_task(clip, task, ZeroShotConfig())
    wanted = F.normalize(clip.encode_texts([f"a photo of the digit {name}." for name in task.classes]), dim=1)
    assert torch.allclose(learner.class_features(), wanted, atol=1e-5)
    both = ZeroShot.for_task(clip, task, ZeroShotConfig(select=True))
    assert list(both.templates) == [*IMAGENET_SELECT, "a photo of the digit {}."]
    again = ZeroShot.for_task(clip, task, ZeroShotConfig(select=True))
    assert len(again.templates) == 8, "building a second one must not make the first grow"


def test_a_template_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match="exactly once"):
        ZeroShotConfig(("a photo of a cat.",))


def test_underscores_are_spaces(clip: vp.Clip) -> None:
    a = ZeroShot(clip, ["letter_a"]).class_features()
    b = ZeroShot(clip, ["letter a"]).class_features()
    assert torch.equal(a, b)
