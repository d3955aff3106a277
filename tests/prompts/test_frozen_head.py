"""FrozenHead: where its templates come from, for tasks, sequences of tasks and wrapped heads."""

import pytest
import torch

from vlprompt.backbones.clip import Clip
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners import MTA, CoOp, MTAConfig, ZeroShot, ZeroShotConfig
from vlprompt.prompts.frozen_head import HeadConfig, by_certainty, share_of

PETS = Task("pets", ("cat", "dog"), ("a photo of a {}, a type of pet.",))
FOOD = Task("food", ("soup", "rice", "bread"), ("a photo of {}, a type of food.",))
IMAGENET = Task("few", ("cat", "dog"), ("a photo of a {}.",), dataset="imagenet")


def test_the_templates_of_each_task_are_used(small: Clip) -> None:
    head = ZeroShot.for_task(small, PETS, ZeroShotConfig())
    first = head.class_features()
    head.begin_task(FOOD)
    fresh = ZeroShot.for_task(small, FOOD, ZeroShotConfig())
    assert head.templates == FOOD.templates
    assert torch.equal(head.class_features(), fresh.class_features())
    head.begin_task(PETS)
    assert torch.equal(head.class_features(), first)


def test_templates_of_the_config_are_used_for_every_task(small: Clip) -> None:
    head = ZeroShot.for_task(small, PETS, ZeroShotConfig(("art of a {}.",)))
    head.begin_task(FOOD)
    assert head.templates == ("art of a {}.",)
    assert ZeroShot(small, ["cat"]).templates == ("a photo of a {}.",)


def test_templates_of_a_config_become_a_tuple_and_are_checked() -> None:
    assert HeadConfig(["the {}."]).templates == ("the {}.",)
    with pytest.raises(UsageError, match=r"HeadConfig.templates is .*'the cat\.'.*exactly once"):
        HeadConfig(["the {}.", "the cat."])


def test_on_imagenet_the_selected_templates_are_used_alone(small: Clip) -> None:
    select = ZeroShotConfig(select=True)
    head = ZeroShot.for_task(small, IMAGENET, select)
    assert len(head.templates) == 7
    head.begin_task(PETS)
    assert len(head.templates) == 8
    head.begin_task(IMAGENET)
    assert len(head.templates) == 7, "as for a head that is built for ImageNet"


def test_a_head_over_another_uses_its_templates(small: Clip) -> None:
    inner = ZeroShot.for_task(small, PETS, ZeroShotConfig(select=True))
    head = MTA.over(inner, MTAConfig(views=3))
    assert head.templates == inner.templates
    head.begin_task(FOOD)
    assert head.templates == FOOD.templates
    assert MTA.over(inner, MTAConfig(("the {}.",), views=3)).templates == ("the {}.",)
    with pytest.raises(UsageError, match="mta works on class names in templates, not on what coop has learned"):
        MTA.over(CoOp(small, ["cat"]), MTAConfig())


def test_views_are_sorted_by_certainty() -> None:
    scores = torch.tensor([[[0.0, 0.1], [5.0, 0.0], [0.0, 2.0], [2.0, 0.0]]])
    assert by_certainty(scores).tolist() == [[1, 2, 3, 0]]
    assert [share_of(0.3, count) for count in (1, 4, 10)] == [1, 1, 3]
