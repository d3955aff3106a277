"""check_learner finds what is wrong with a learner, and gives the reason."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import vlprompt as vp
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch, features_of
from vlprompt.errors import UsageError
from vlprompt.testing import CheckError, check_learner, failures


@dataclass(frozen=True)
class PlainConfig:
    """Settings of the learners here."""

    scale: float = 10.0


class Plain(vp.PromptLearner[Clip, Any]):
    """A linear head on CLIP features, and correct; the broken learners change one thing each."""

    Config = PlainConfig
    why_classes_fixed = "its head has one weight vector per class"

    def __init__(self, clip: Clip, classes: Any, config: Any = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        draw = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(0.01 * torch.randn(len(self.classes), clip.embed_dim, generator=draw))

    def forward(self, batch: Batch) -> Tensor:
        features = nn.functional.normalize(features_of(batch), dim=-1)
        return 10.0 * features @ self.weight.T


class OneScoreTooMany(Plain):
    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([super().forward(batch), torch.zeros(len(batch), 1)], dim=1)


class NotFinite(Plain):
    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        return self(batch).log()


class DoublePrecision(Plain):
    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        return self(batch).double()


class PredictsWithGradients(Plain):
    def predict(self, batch: Batch) -> Tensor:
        return self(batch)


class UnusedParameter(Plain):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.unused = nn.Parameter(torch.zeros(3))


class TrainsTheBackbone(Plain):
    def prepare(self, train: Any, val: Any) -> None:
        with torch.no_grad():
            next(self.backbone.model.parameters()).mul_(1.01)


class ClimbsTheLoss(Plain):
    def backward(self, batch: Batch) -> Tensor:
        loss = super().backward(batch)
        self.weight.grad = -self.weight.grad
        return loss


class LooksAtNeighbours(Plain):
    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        scores = self(batch)
        return scores - scores.mean(dim=0)


class RemembersTheStream(Plain):
    seen = 0.0

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        self.seen += len(batch)
        return self(batch) + self.seen * torch.arange(len(self.classes))


class DrawsFromGlobalState(Plain):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight = nn.Parameter(0.01 * torch.randn_like(self.weight))


class ForgetsWhatItFound(Plain):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offset = torch.zeros(len(self.classes))  # not a buffer, so it is not saved

    def prepare(self, train: Any, val: Any) -> None:
        self.offset = torch.arange(len(self.classes)).float()

    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) + self.offset


class SaysThatClassesCanChange(Plain):
    why_classes_fixed = ""


class SumsOverTheBatch(Plain):
    def loss(self, batch: Batch) -> Tensor:
        return super().loss(batch) * len(batch)


@dataclass(frozen=True)
class TensorConfig:
    """Settings that JSON cannot hold."""

    start: Any = field(default_factory=lambda: torch.zeros(1))


class ConfigOfTensors(Plain):
    Config: ClassVar[type[Any]] = TensorConfig


BROKEN = [
    (OneScoreTooMany, "scores", "(B, C) is (61, 10)"),
    (NotFinite, "scores", "NaN or infinite"),
    (DoublePrecision, "scores", "must be torch.float32"),
    (PredictsWithGradients, "scores", "records gradients"),
    (UnusedParameter, "gradients", "parameter unused is trainable but gets no gradient"),
    (TrainsTheBackbone, "training", "of the frozen model"),
    (ClimbsTheLoss, "training", "the loss does not fall"),
    (LooksAtNeighbours, "batch_independence", "depends on the other examples of its batch"),
    (RemembersTheStream, "streams", "needs reset()"),
    (DrawsFromGlobalState, "same_seed", "global"),
    (ForgetsWhatItFound, "save_and_load", "persistent buffers"),
    (SaysThatClassesCanChange, "other_classes", "give the reason in why_classes_fixed"),
    (SumsOverTheBatch, "parts_of_a_batch", "needs.why_not_distributed"),
    (ConfigOfTensors, "config_is_plain_values", "cannot be stored as JSON"),
]


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


def test_a_correct_learner_passes_everything(clip: vp.Clip) -> None:
    check_learner(Plain, backbone=clip)


@pytest.mark.parametrize(("kind", "check", "reason"), BROKEN, ids=lambda each: getattr(each, "__name__", None))
def test_a_broken_learner_is_refused_with_the_reason(kind: Any, check: str, reason: str) -> None:
    with pytest.raises(CheckError) as caught:
        check_learner(kind, backbone=vp.load_clip("tiny"), only=[check])  # a model of its own: one of them changes it
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith(f"{check}: ")
    assert reason in line


def test_every_failure_has_one_line(clip: vp.Clip) -> None:
    lines = failures(DoublePrecision, backbone=clip, only=["scores", "config_is_plain_values", "gradients"])
    assert [line.partition(":")[0] for line in lines] == ["scores"]


def test_an_unknown_check_names_the_nearest(clip: vp.Clip) -> None:
    with pytest.raises(UsageError, match="did you mean 'gradients'"):
        check_learner(Plain, backbone=clip, only=["gradient"])
