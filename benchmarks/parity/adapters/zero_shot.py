"""Zero-shot CLIP with one template or an ensemble: ZeroshotCLIP and ZeroshotCLIP2 of CoOp's trainers/zsclip.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of
from vlprompt.data.templates import Template
from vlprompt.learners import ZeroShot, ZeroShotConfig

METHOD = r"zero-?shot.*"
INPUTS = ("classnames", "templates", "images")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Ids, features and logits of the ZeroShot learner with the case's templates."""
    clip, names = models.clip, case.words("classnames")
    templates = tuple(case.words("templates") if "templates" in case.arrays else case.hyper["templates"])
    learner = ZeroShot(clip, names, ZeroShotConfig(templates=templates))
    batch = batch_of(clip, learner, case.tensor("images"))
    ids = torch.stack([clip.tokenizer([Template(text)(name) for name in names]) for text in learner.templates])
    with torch.no_grad():
        return {
            "tokenized_prompts": ids,  # (T, C, L)
            "image_features": batch.features,
            "text_features": learner.class_features(),
            "logits": learner.predict(batch),
        }
