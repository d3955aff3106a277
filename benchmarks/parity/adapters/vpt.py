"""VPT, shallow and deep, with and without a projection, by KMnP/vpt's vit_prompt/vit.py and vit_models.py."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.learners.vpt import VPT, VPTConfig, init_range

METHOD = r"vpt-(shallow|deep).*"
PROJECTION = {"proj_weight": "projection.weight", "proj_bias": "projection.bias"}
INPUTS = ("images", "labels", "prompts", "deep_prompts", *vision.HEAD, *PROJECTION)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The start's range, every token, features, scores, loss and gradients."""
    learner, batch = build(case, models), vision.batch_of(case)
    names = {**vision.HEAD, **(PROJECTION if learner.config.projection else {}), "prompts": "prompts"}
    answers = vision.at_start(learner, batch, names)
    gradient = answers.pop("grad_prompts")  # (J, P, D), the first layer's and the others'
    assert batch.images is not None
    with torch.no_grad():
        prompt = learner.prompt(len(batch))
        image, prompts = models.vit.image_tokens.outputs(batch.images, prompt)
        lead = models.vit.image_tokens.tower.lead
        tokens = torch.cat([image[:, :lead], prompts, image[:, lead:]], dim=1)
        features = models.vit.encode_image(batch.images, prompt)
    patch = models.vit.image_tokens.tower.patch
    return answers | {
        "init_range": torch.tensor(init_range(patch, learner.prompts.shape[-1])),
        "tokens_out": tokens,
        "features": features,
        "grad_prompts": gradient[:1],
        "grad_deep_prompts": gradient[1:],
    }


def build(case: Case, models: Models) -> VPT:
    """The learner with the case's prompts, projection and head."""
    prompts: Tensor = case.tensor("prompts")
    if "deep_prompts" in case.arrays:
        prompts = torch.cat([prompts, case.tensor("deep_prompts")])
    config = VPTConfig(
        n_prompts=prompts.shape[1],
        depth=len(prompts),
        projection=max(0, int(case.hyper.get("project", -1))),
        dropout=float(case.hyper.get("dropout", 0.0)),
    )
    learner = VPT(models.vit, vision.classes(case), config)
    given = {**vision.HEAD, **(PROJECTION if config.projection else {})}
    tensors = {ours: case.tensor(theirs) for theirs, ours in given.items()}
    vision.begin(learner, {**tensors, "prompts": prompts}, case.file)
    return learner
