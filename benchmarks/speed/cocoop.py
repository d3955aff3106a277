"""CoCoOp's training step on stored image features: ours against a loop over the images of a batch.

The loop is the authors' (CoOp, trainers/cocoop.py): every image runs all 77 positions of every class through the text
tower. Both sides must agree in the loss and in the gradients of the context and of the Meta-Net. Activation memory is
what autograd saves in the forward pass for the backward pass. The loop here runs the backward pass after every image,
since the authors' one graph of 8 images would need 15 GB; this takes no extra time, and the images' memory is summed.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.common import models
from benchmarks.speed.common.baseline import FullTexts, difference
from benchmarks.speed.common.measure import compared, in_turn, kept_bytes
from benchmarks.speed.common.names import names
from benchmarks.speed.common.records import Record, misses
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch, features_of
from vlprompt.learners import CoCoOp

AGREEMENT = 1e-4  # of the largest entry


@dataclass(frozen=True)
class Setting:
    """Numbers of classes and images, and the targets (memory: our share of the baseline's; 1: none)."""

    classes: int
    batch: int
    faster: float = 0.0
    memory: float = 1.0


@dataclass(frozen=True)
class Step:
    """The outcome of a training step.

    Attributes:
        loss: Mean over the batch.
        gradients: Of the trainable parameters, by name.
        kept: Bytes that autograd saved for the backward pass.
    """

    loss: float
    gradients: dict[str, Tensor]
    kept: int


# The baseline needs 10 GB for one image with 500 classes; 8 images would take many minutes.
FULL = (Setting(100, 1, faster=12), Setting(100, 8, faster=12, memory=0.1), Setting(500, 1, faster=12, memory=0.1))
QUICK = (Setting(20, 1), Setting(20, 3))


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every setting."""
    clip = models.clip(quick)
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting)


def measured(clip: Clip, setting: Setting) -> Record:
    """Both sides in turn, at one setting."""
    learner = CoCoOp(clip, names(setting.classes))
    baseline, batch = Baseline(learner), examples(clip, setting)
    ours(learner, batch)  # warm-up
    sides = [(lambda: ours(learner, batch), 3), (lambda: baseline.step(batch), 1)]
    (own, found), (plain, expected) = in_turn(sides, rounds=1)
    figures = {
        **compared(own, plain),
        "ours_kept_gb": found.kept / 1e9,
        "plain_kept_gb": expected.kept / 1e9,
        "share_of_memory": found.kept / expected.kept,
        "loss_apart": abs(found.loss / expected.loss - 1),
        "gradient_apart": max(difference(found.gradients[name], g) for name, g in expected.gradients.items()),
    }
    about = {"model": clip.name, "classes": setting.classes, "batch": setting.batch, "rounds": 1}
    most = {"share_of_memory": setting.memory, "loss_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("cocoop", about, figures, misses(figures, least={"times_faster": setting.faster}, most=most))


def examples(clip: Clip, setting: Setting) -> Batch:
    """Random features and labels."""
    random = torch.Generator().manual_seed(1)
    features = torch.randn(setting.batch, clip.embed_dim, generator=random)
    labels = torch.randint(setting.classes, (setting.batch,), generator=random)
    return Batch(labels=labels, index=torch.arange(setting.batch), features=features)


def ours(learner: CoCoOp, batch: Batch) -> Step:
    """A training step by vlprompt, up to the gradients."""
    learner.zero_grad()
    loss, kept = kept_bytes(lambda: learner.loss(batch), exclude=[*learner.parameters(), *learner.buffers()])
    loss.backward()  # type: ignore[no-untyped-call]
    return Step(float(loss.detach()), _gradients(learner.trainable()), kept)


class Baseline(nn.Module):
    """CoCoOp as its authors wrote it."""

    def __init__(self, learner: CoCoOp) -> None:
        super().__init__()
        self.clip = learner.backbone
        self.context = nn.Parameter(learner.context.detach().clone())
        self.meta_net = copy.deepcopy(learner.meta_net)
        self.texts = FullTexts(self.clip, learner.classes, len(self.context))

    def step(self, batch: Batch) -> Step:
        """A training step, up to the gradients, image after image."""
        self.zero_grad()
        weights = [*self.parameters(), *self.buffers()]
        total, kept = 0.0, 0
        for image, label in zip(features_of(batch), batch.labels, strict=True):
            loss, of_image = kept_bytes(lambda x=image, y=label: self.loss(x, y) / len(batch), exclude=weights)
            loss.backward()  # type: ignore[no-untyped-call]
            total, kept = total + float(loss.detach()), kept + of_image
        return Step(total, _gradients({name: p for name, p in self.named_parameters() if p.requires_grad}), kept)

    def loss(self, image: Tensor, label: Tensor) -> Tensor:
        """(E,) features of an image and its label () -> cross-entropy ()."""
        image = F.normalize(image, dim=-1)
        text = self.texts.encode(self.context + self.meta_net(image))
        return F.cross_entropy(self.clip.logit_scale * F.normalize(text, dim=-1) @ image, label)


def _gradients(parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}
