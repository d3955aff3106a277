"""PromptLearner: what the contract gives to every method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlprompt as vp
from vlprompt.data.batch import Batch, features_of
from vlprompt.errors import UsageError, VlpromptError

NAMES = ("circle", "square", "star")


@dataclass(frozen=True)
class ShiftConfig:
    """A config that takes its templates and data set from the task."""

    templates: tuple[str, ...] = ()
    dataset: str = ""


class Shift(vp.PromptLearner[vp.Clip, ShiftConfig]):
    """A score per class, with one tensor of each kind."""

    Config = ShiftConfig
    from_task = ("templates", "dataset")

    def __init__(self, clip: vp.Clip, classes: Any, config: Any = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.shift = nn.Parameter(torch.zeros(len(self.classes)))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("stored", torch.ones(3))
        self.register_buffer("derived", torch.ones(4), persistent=False)
        self.rebuilt = 0

    def forward(self, batch: Batch) -> Tensor:
        return features_of(batch)[:, :1] + self.shift

    def rebuild(self) -> None:
        self.rebuilt += 1
        self.shift = nn.Parameter(torch.zeros(len(self.classes)))


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


def test_saved_are_own_parameters_and_persistent_buffers(clip: vp.Clip) -> None:
    learner = Shift(clip, NAMES)
    assert list(learner.trainable()) == ["shift"]
    assert sorted(learner.saved_tensors()) == ["frozen", "shift", "stored"]


def test_a_task_fills_empty_config_fields_only(clip: vp.Clip) -> None:
    task = vp.Task("shapes", NAMES, ("a drawing of a {}.",), dataset="known")
    filled = Shift.for_task(clip, task, ShiftConfig())
    assert filled.config == ShiftConfig(("a drawing of a {}.",), "known")
    own = ShiftConfig(templates=("a {}.",))
    assert Shift.for_task(clip, task, own).config.templates == ("a {}.",)


def test_other_classes_rebuild_once(clip: vp.Clip) -> None:
    learner = Shift(clip, NAMES)
    learner.set_classes(NAMES)
    assert learner.rebuilt == 0
    learner.begin_task(vp.Task("pairs", ("left", "right")))
    assert (learner.rebuilt, learner.classes) == (1, ("left", "right"))
    learner.why_classes_fixed = "this test forbids it"
    with pytest.raises(UsageError, match=r"Shift cannot change its classes: this test forbids it"):
        learner.set_classes(NAMES)


def test_a_cached_tensor_follows_the_prompt_and_the_classes(clip: vp.Clip) -> None:
    learner, calls = Shift(clip, NAMES), []

    def make() -> Tensor:
        calls.append(1)
        return learner.shift.detach() * 2

    with torch.no_grad():
        learner.cached("double", make)
        learner.cached("double", make)
        assert len(calls) == 1
        learner.shift.add_(1)
        assert learner.cached("double", make).tolist() == [2.0, 2.0, 2.0]
        learner.set_classes(("left", "right"))
        assert learner.cached("double", make).shape == (2,)
    learner.cached("double", make)
    learner.cached("double", make)
    assert len(calls) == 5, "with gradients it is computed at every call"


def test_tensors_of_another_shape_or_name_are_refused(clip: vp.Clip) -> None:
    learner = Shift(clip, NAMES)
    tensors = {name: tensor.detach().clone() for name, tensor in learner.saved_tensors().items()}
    with pytest.raises(VlpromptError, match=r"shift has shape \(2,\).*needs \(3,\)"):
        learner.restore({**tensors, "shift": torch.zeros(2)}, "a file")
    with pytest.raises(VlpromptError, match="a file holds"):
        learner.restore({"shift": torch.zeros(3)}, "a file")


@pytest.mark.parametrize("classes", ["circle", [], ["circle", " "]])
def test_classes_are_a_list_of_names(clip: vp.Clip, classes: Any) -> None:
    with pytest.raises(UsageError, match="class"):
        Shift(clip, classes)


def test_an_online_method_continues_between_calls_of_classify(clip: vp.Clip, tmp_path: Path) -> None:
    """As a service would call it: one image at a time gives what one call with all images gives."""
    generator = torch.Generator().manual_seed(0)
    paths = []
    for number in range(6):
        pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8).numpy()
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    learner = vp.learners.TDA(clip, NAMES, vp.learners.TDAConfig(views=4))
    together = [answer.probabilities for answer in learner.classify(paths, batch_size=1)]
    learner.reset()
    apart = [learner.classify([path])[0].probabilities for path in paths]
    assert apart == together
    assert learner.classify([paths[0]])[0].probabilities != together[0], "it remembers the stream"
    learner.reset()
    assert learner.classify([paths[0]])[0].probabilities == together[0]
