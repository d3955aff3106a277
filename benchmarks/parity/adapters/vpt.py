"""VPT, shallow and deep, with and without a projection, by KMnP/vpt's vit_prompt/vit.py and vit_models.py."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.data.batch import images_of
from vlprompt.learners.vpt import VPT, VPTConfig, init_range

METHOD = r"vpt-(shallow|deep).*"
PROJECTION = {"proj_weight": "projection.weight", "proj_bias": "projection.bias"}
INPUTS = ("images", "labels", "prompts", "deep_prompts", *vision.HEAD, *PROJECTION)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The range of the initialisation, every token, features, scores, loss and gradients."""
    learner, batch = build(case, models), vision.batch_of(case)
    names = {**vision.HEAD, **(PROJECTION if learner.config.projection else {}), "prompts": "prompts"}
    answers = vision.at_start(learner, batch, names)
    gradient = answers.pop("grad_prompts")  # (J, P, D), the first layer's and the others'
    with torch.no_grad():
        prompt = learner.prompt(len(batch))
        image, prompts = models.vit.image_tokens.outputs(images_of(batch), prompt)
        tower = models.vit.image_tokens.tower
        tokens = torch.cat([image[:, : tower.lead], prompts, image[:, tower.lead :]], dim=1)
        features = models.vit.encode_image(images_of(batch), prompt)
    return answers | {
        "init_range": torch.tensor(init_range(tower.patch, learner.prompts.shape[-1])),
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
    tensors = vision.tensors_of(case, vision.HEAD | (PROJECTION if config.projection else {}))
    vision.begin(learner, {**tensors, "prompts": prompts}, case.file)
    return learner
