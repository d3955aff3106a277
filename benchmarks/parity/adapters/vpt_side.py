"""VPT's side-tuning baseline, by KMnP/vpt's src/models/vit_models.py.

AlexNet needs larger images than the goldens have, so the side network's features are an input; the blend of both
features, the scores, the loss and alpha's gradient are ours.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batch import images_of
from vlprompt.learners.side import Side, SideConfig

METHOD = r"side-tuning baseline of vpt.*"
INPUTS = ("images", "labels", "side_projected", "side_alpha", *vision.HEAD)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Both features, their blend, scores, loss and gradients."""
    learner = Side(models.vit, vision.classes(case), SideConfig(pretrained=False))
    vision.begin(learner, vision.tensors_of(case, {"side_alpha": "alpha", **vision.HEAD}), case.file)
    batch = vision.batch_of(case)
    with torch.no_grad():
        base = models.vit.encode_image(images_of(batch))
    blended = learner.blend(base, case.tensor("side_projected"))
    logits = learner.head(blended)
    loss = F.cross_entropy(logits, batch.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return {
        "base_features": base,
        "features": blended,
        "logits": logits,
        "loss": loss,
        "grad_side_alpha": learner.alpha.grad,
        "grad_head_weight": learner.head.weight.grad,
        "grad_head_bias": learner.head.bias.grad,
    }
