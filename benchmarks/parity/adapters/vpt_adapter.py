"""VPT's adapter baseline, by KMnP/vpt's vit_adapter/vit.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batch import images_of
from vlprompt.learners.adapter import Adapter, AdapterConfig

METHOD = r"adapter baseline of vpt.*"
PARTS = {f"{half}_{part}": f"{half}.{part}" for half in ("down", "up") for part in ("weight", "bias")}
INPUTS = ("images", "labels", *vision.HEAD, *PARTS)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The features with the official initialisation; features, scores, loss and gradients with the given weights."""
    style, reduction = str(case.hyper.get("style", "pfeiffer")).lower(), int(case.hyper["reduction_factor"])
    config = AdapterConfig(position=style, reduction=reduction, reference_quirks=True)  # type: ignore[arg-type]
    learner, batch = Adapter(models.vit, vision.classes(case), config), vision.batch_of(case)
    with torch.no_grad():
        at_init = learner.adapted.encode_image(images_of(batch))
    layers = range(len(learner.bottlenecks))
    tensors = {f"bottlenecks.{i}.{ours}": case.tensor(theirs)[i] for theirs, ours in PARTS.items() for i in layers}
    tensors |= vision.tensors_of(case, vision.HEAD)
    vision.begin(learner, tensors, case.file)
    each = {name: name for name in learner.trainable()}
    answers = vision.at_start(learner, batch, {**each, **vision.HEAD})
    with torch.no_grad():
        features = learner.adapted.encode_image(images_of(batch))
    stacked = {
        f"grad_{theirs}": torch.stack([answers[f"grad_bottlenecks.{i}.{ours}"] for i in layers])
        for theirs, ours in PARTS.items()
    }
    return answers | stacked | {"features_at_init": at_init, "features": features}
