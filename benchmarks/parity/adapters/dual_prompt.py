"""DualPrompt by JH-LEE-KR/dualprompt-pytorch: prompt.py, attention.py, vision_transformer.py and engine.py.

Theirs has a pool of experts from the start, ours one for each task so far; the expert of the case's task goes last.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.learners.dual_prompt import DualPrompt, DualPromptConfig

METHOD = r"dual-?prompt(?!.* coda-prompt).*"
INPUTS = ("images", "labels", "task_classes", "g_prompt", "e_prompt", "keys", *vision.HEAD)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """A step with the task's expert, a test with the nearest, and what the mixed-up reshape makes of a batch."""
    order = _order(case)
    learner, mixed = build(case, models, order), build(case, models, order, reference_quirks=True)
    batch = vision.with_features(vision.batch_of(case), models)
    assert batch.images is not None
    assert batch.features is not None
    vision.at_task(learner.train().head, case)
    found = gradients(learner, batch)
    last = len(order) - 1
    with torch.no_grad():
        ids, similarity = learner.choose(batch.features)
        features = models.vit.encode_image(batch.images, learner.prompt(ids))
        loss = learner.loss(batch)
        nearest = learner.eval().choose(batch.features)[0]
    experts, heads = case.tensor("e_prompt"), case.tensor("g_prompt").shape
    grown = torch.zeros_like(experts)
    grown[:, :, order[last]] = found[f"experts.{last}"].unflatten(-1, heads[-2:])
    keys = torch.zeros_like(case.tensor("keys"))
    keys[order[last]] = found[f"keys.{last}"][0]
    return {
        "query": batch.features,
        "similarity": similarity[0][:, order.argsort()],
        "prompt_idx": order[ids[0]][:, None],
        "reduce_sim": similarity.gather(2, ids[..., None]).sum() / len(batch),
        "pre_logits": features,
        "logits": learner.head(features),
        "loss": loss,
        "grad_g_prompt": found["general"].unflatten(-1, heads[-2:]),
        "grad_e_prompt": grown,
        "grad_keys": keys,
        "grad_head_weight": found["head.weight"],
        "grad_head_bias": found["head.bias"],
        "eval_prompt_idx": order[nearest[0]][:, None],
        "eval_logits": learner.predict(batch),
        "batched_quirk_logits": mixed.eval().scores(batch, ids),
    }


def _order(case: Case) -> Tensor:
    """Their numbers of the experts in our order."""
    own, count = int(case.hyper.get("task_id", 0)), len(case.array("keys"))
    return torch.tensor([number for number in range(count) if number != own] + [own])


def build(case: Case, models: Models, order: Tensor, *, reference_quirks: bool = False) -> DualPrompt:
    """The learner with the case's prompts, keys and head."""
    hyper = case.hyper
    offered = {"top_k": 1, "use_prompt_mask": True, "batchwise_prompt": False, "embedding_key": "cls"}
    for name, only in offered.items():
        if hyper.get(name, only) != only:
            raise CaseError(f"{name} {hyper[name]!r} is not offered by vlprompt's DualPrompt, only {only!r}")
    general, experts = case.tensor("g_prompt").flatten(-2), case.tensor("e_prompt").flatten(-2)
    config = DualPromptConfig(
        general_layers=tuple(hyper["g_layers"]),
        expert_layers=tuple(hyper["e_layers"]),
        general_length=general.shape[2],
        expert_length=experts.shape[3],
        pull=float(hyper.get("pull_constraint_coeff", 1.0)),
        reference_quirks=reference_quirks,
    )
    learner = DualPrompt(models.vit, vision.classes(case), config)
    tensors = {"general": general} | {ours: case.tensor(theirs) for theirs, ours in vision.HEAD.items()}
    tensors |= {f"experts.{ours}": experts[:, :, theirs] for ours, theirs in enumerate(order.tolist())}
    tensors |= {f"keys.{ours}": case.tensor("keys")[theirs][None] for ours, theirs in enumerate(order.tolist())}
    learner.restore(tensors, case.file)
    return learner
