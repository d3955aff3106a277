"""DualPrompt as re-implemented by GT-RIPL/CODA-Prompt (models/zoo.py): every expert layer has its own keys.

Its loss adds 1 - cos(q, key) for every image and layer; ours subtracts pull * cos, averaged over images. With a pull of
B the two differ by the number of images times that of layers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.adapters.dual_prompt import expert_order
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.data.batch import features_of
from vlprompt.learners.dual_prompt import DualPrompt, DualPromptConfig

METHOD = r"dual-?prompt.* coda-prompt.*"
INPUTS = ("images", "labels", "g_prompt", "e_prompt", "e_keys", *vision.HEAD)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Keys and values, scores, loss and gradients of a step with the task's expert, then a test with the nearest."""
    own, count = int(case.hyper["task_index"]), case.array("e_keys").shape[1]
    order = expert_order(own, count)
    learner = build(case, models, order)
    batch = vision.with_features(vision.batch_of(case), models)
    query = features_of(batch)
    vision.at_task(learner.train().head, case)
    found = gradients(learner, batch)
    with torch.no_grad():
        ids, similarity = learner.choose(query)
        prompt_loss = (1 - similarity.gather(2, ids)).sum()
        loss = learner.loss(batch) + similarity[..., 0].numel()
        answers = _prefixes(learner, ids, len(batch), "")
        nearest = learner.eval().choose(query)[0]
        answers |= _prefixes(learner, nearest, len(batch), "eval_")
        logits = learner.scores(batch, ids)
    experts, keys = torch.zeros_like(case.tensor("e_prompt")), torch.zeros_like(case.tensor("e_keys"))
    experts[:, own] = found[f"experts.{count - 1}"].flatten(1, 2)
    keys[:, own] = found[f"keys.{count - 1}"]
    return answers | {
        "query": query,
        "prompt_loss": prompt_loss[None],
        "logits": logits,
        "loss": loss,
        "grad_g_prompt": found["general"].flatten(1, 2),
        "grad_e_prompt": experts,
        "grad_e_keys": keys,
        "grad_head_weight": found["head.weight"],
        "grad_head_bias": found["head.bias"],
        "eval_ids": order[nearest[..., 0]],
        "eval_logits": learner.predict(batch),
    }


def _prefixes(learner: DualPrompt, ids: Tensor, images: int, prefix: str) -> dict[str, Tensor]:
    """Keys and values of general and expert layers, (layers, B, n, D) each."""
    found, config = learner.prompt(ids).prefixes, learner.config
    answers = {}
    for kind, layers in (("g", config.general_layers), ("e", config.expert_layers)):
        for which, name in enumerate(("key", "value")):
            each = [found[layer][which] for layer in layers]
            stacked = torch.stack([part.expand(images, *part.shape[-2:]) for part in each])
            answers[f"{prefix}{name}_prefix_{kind}"] = stacked
    return answers


def build(case: Case, models: Models, order: Tensor) -> DualPrompt:
    """The learner with the case's prompts, keys and head."""
    general, experts = (halved(case.tensor(name)) for name in ("g_prompt", "e_prompt"))
    config = DualPromptConfig(
        general_layers=tuple(case.hyper["g_layers"]),
        expert_layers=tuple(case.hyper["e_layers"]),
        general_length=general.shape[-2],
        expert_length=experts.shape[-2],
        pull=float(len(case.array("images"))),
        layer_keys=True,
    )
    learner = DualPrompt(models.vit, vision.classes(case), config)
    tensors = {"general": general} | vision.tensors_of(case, vision.HEAD)
    for ours, theirs in enumerate(order.tolist()):
        tensors |= {f"experts.{ours}": experts[:, theirs], f"keys.{ours}": case.tensor("e_keys")[:, theirs]}
    learner.restore(tensors, case.file)
    return learner


def halved(prompts: Tensor) -> Tensor:
    """(..., 2 n, D), keys then values -> (..., 2, n, D)."""
    return prompts.unflatten(-2, (2, -1))
