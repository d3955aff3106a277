"""The ViT of the vision goldens without prompts: tokens, features and the stored classifier's scores."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.backbones.prompts import NONE

METHOD = r"none \(backbone parity\)"
INPUTS = ("images",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Every token after the last norm, the feature, and the scores."""
    vit, images, (weight, bias) = models.vit, case.tensor("images"), models.vit_head
    with torch.no_grad():
        features = vit.encode_image(images)
        tokens = vit.image_tokens.outputs(images, NONE)[0]
        return {"tokens": tokens, "pre_logits": features, "logits": features @ weight.T + bias}
