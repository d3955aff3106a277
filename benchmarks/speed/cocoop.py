"""CoCoOp's training step on cached image features: ours against a loop over the images of a batch.

    python -m benchmarks.speed.cocoop [--quick]

The loop is the authors' (CoOp, trainers/cocoop.py): every image runs all 77 positions of every class through the text
tower. Both sides must agree in the loss and in the gradients of the context and of the Meta-Net. Activation memory is
what autograd keeps from the forward pass for the backward pass. The loop here goes back after every image, since the
authors' one graph of 8 images would take 15 GB; that costs no time, and what the images keep is added up.
"""

import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.measure import Record, in_turn, kept_bytes, main, misses
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from benchmarks.speed.plain import PlainTexts, difference
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.learners import CoCoOp

AGREEMENT = 1e-4  # of the largest entry


@dataclass(frozen=True)
class Setting:
    """Numbers of classes and images, repetitions, and the targets (memory: our share of the plain side's; 1: none)."""

    classes: int
    batch: int
    rounds: int
    faster: float = 0.0
    memory: float = 1.0


@dataclass(frozen=True)
class Step:
    """What a training step left behind.

    Attributes:
        loss: Mean over the batch.
        gradients: Of what is learned, by name.
        kept: Bytes that autograd kept for the backward pass.
    """

    loss: float
    gradients: dict[str, Tensor]
    kept: int


# One image with 500 classes already keeps 10 GB on the plain side; 8 would go through it for many minutes.
FULL = (
    Setting(100, 1, rounds=1, faster=12),
    Setting(100, 8, rounds=1, faster=12, memory=0.1),
    Setting(500, 1, rounds=1, faster=12, memory=0.1),
)
QUICK = (Setting(20, 1, rounds=1), Setting(20, 3, rounds=1))


def run(quick: bool = False) -> Iterator[Record]:
    """Measure every setting."""
    clip = model(quick)
    for setting in QUICK if quick else FULL:
        yield measured(clip, setting)


def measured(clip: Clip, setting: Setting) -> Record:
    """Both sides in turn, at one setting."""
    learner = CoCoOp(clip, names(setting.classes))
    plain, batch = Plain(learner), examples(clip, setting)
    ours(learner, batch)  # the warm-up
    sides = [(lambda: ours(learner, batch), 3), (lambda: plain.step(batch), 1)]
    (own, found), (plain_seconds, plain_found) = in_turn(sides, setting.rounds)
    figures = {
        "ours_s": own,
        "plain_s": plain_seconds,
        "times_faster": plain_seconds / own,
        "ours_kept_gb": found.kept / 1e9,
        "plain_kept_gb": plain_found.kept / 1e9,
        "share_of_memory": found.kept / plain_found.kept,
        "loss_apart": abs(found.loss / plain_found.loss - 1),
        "gradient_apart": max(difference(found.gradients[name], g) for name, g in plain_found.gradients.items()),
    }
    about = {"model": clip.name, "classes": setting.classes, "batch": setting.batch, "rounds": setting.rounds}
    most = {"share_of_memory": setting.memory, "loss_apart": AGREEMENT, "gradient_apart": AGREEMENT}
    return Record("cocoop", about, figures, misses(figures, least={"times_faster": setting.faster}, most=most))


def examples(clip: Clip, setting: Setting) -> Batch:
    """Random features and labels."""
    random = torch.Generator().manual_seed(1)
    features = torch.randn(setting.batch, clip.embed_dim, generator=random)
    labels = torch.randint(setting.classes, (setting.batch,), generator=random)
    return Batch(labels=labels, index=torch.arange(setting.batch), features=features)


def ours(learner: CoCoOp, batch: Batch) -> Step:
    """A training step through vlprompt, up to the gradients."""
    learner.zero_grad()
    loss, kept = kept_bytes(lambda: learner.loss(batch), apart=[*learner.parameters(), *learner.buffers()])
    loss.backward()  # type: ignore[no-untyped-call]
    return Step(float(loss.detach()), _gradients(learner.trainable()), kept)


class Plain(nn.Module):
    """CoCoOp as its authors wrote it."""

    def __init__(self, learner: CoCoOp) -> None:
        super().__init__()
        self.clip = learner.backbone
        self.context = nn.Parameter(learner.context.detach().clone())
        self.meta_net = copy.deepcopy(learner.meta_net)
        self.texts = PlainTexts(self.clip, learner.classes, len(self.context))

    def step(self, batch: Batch) -> Step:
        """A training step, up to the gradients: image by image."""
        assert batch.features is not None
        self.zero_grad()
        weights = [*self.parameters(), *self.buffers()]
        total, kept = 0.0, 0
        for image, label in zip(batch.features, batch.labels, strict=True):
            loss, of_image = kept_bytes(lambda x=image, y=label: self.loss(x, y) / len(batch), apart=weights)
            loss.backward()  # type: ignore[no-untyped-call]
            total, kept = total + float(loss.detach()), kept + of_image
        learned = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return Step(total, _gradients(learned), kept)

    def loss(self, image: Tensor, label: Tensor) -> Tensor:
        """(E,) features of an image and its label () -> cross-entropy ()."""
        image = F.normalize(image, dim=-1)
        text = self.texts.encode(self.context + self.meta_net(image))
        return F.cross_entropy(self.clip.logit_scale * F.normalize(text, dim=-1) @ image, label)


def _gradients(learned: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in learned.items() if parameter.grad is not None}


if __name__ == "__main__":
    sys.exit(main(run))
