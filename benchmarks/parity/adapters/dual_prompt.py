"""DualPrompt by JH-LEE-KR/dualprompt-pytorch: prompt.py, attention.py, vision_transformer.py and engine.py.

Theirs has a pool of experts from the start, ours those of the tasks so far; those of the case's task are the last.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.data.batch import features_of, images_of
from vlprompt.learners.dual_prompt import DualPrompt, DualPromptConfig

METHOD = r"dual-?prompt(?!.* coda-prompt).*"
INPUTS = ("images", "labels", "task_classes", "g_prompt", "e_prompt", "keys", *vision.HEAD)
FIXED = {"use_prompt_mask": True, "batchwise_prompt": False, "embedding_key": "cls"}


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """A step with the task's expert, a test with the nearest, and the effect of the wrong reshape on a batch."""
    top = int(case.hyper.get("top_k", 1))
    order = expert_order(int(case.hyper.get("task_id", 0)), len(case.array("keys")), top)
    learner, mixed = build(case, models, order), build(case, models, order, reference_quirks=True)
    batch = vision.with_features(vision.batch_of(case), models)
    query = features_of(batch)
    vision.at_task(learner.train().head, case)
    found = gradients(learner, batch)
    with torch.no_grad():
        ids, similarity = learner.choose(query)
        features = models.vit.encode_image(images_of(batch), learner.prompt(ids))
        loss = learner.loss(batch)
        nearest = learner.eval().choose(query)[0]
    experts, heads = torch.zeros_like(case.tensor("e_prompt")), case.tensor("g_prompt").shape[-2:]
    keys = torch.zeros_like(case.tensor("keys"))
    for number in range(len(order) - top, len(order)):
        experts[:, :, order[number]] = found[f"experts.{number}"].unflatten(-1, heads)
        keys[order[number]] = found[f"keys.{number}"][0]
    return {
        "query": query,
        "similarity": similarity[0][:, order.argsort()],
        "prompt_idx": order[ids[0]],
        "reduce_sim": similarity.gather(2, ids).sum() / len(batch),
        "pre_logits": features,
        "logits": learner.head(features),
        "loss": loss,
        "grad_g_prompt": found["general"].unflatten(-1, heads),
        "grad_e_prompt": experts,
        "grad_keys": keys,
        "grad_head_weight": found["head.weight"],
        "grad_head_bias": found["head.bias"],
        "eval_prompt_idx": order[nearest[0]],
        "eval_logits": learner.predict(batch),
        "batched_quirk_logits": mixed.eval().scores(batch, ids),
    }


def expert_order(task: int, count: int, top: int = 1) -> Tensor:
    """Their numbers of the experts in our order: the `top` experts of the task are the last.

    Raises:
        CaseError: The pool has none of its own for the task, or is no multiple of `top`.
    """
    own = range(task * top, (task + 1) * top)
    if own.stop > count or count % top:
        raise CaseError(f"a pool of {count} experts has no {top} of its own for each task up to {task}")
    return torch.tensor([number for number in range(count) if number not in own] + list(own))


def build(case: Case, models: Models, order: Tensor, *, reference_quirks: bool = False) -> DualPrompt:
    """The learner with the case's prompts, keys and head."""
    hyper = case.hyper
    for name, only in FIXED.items():
        if hyper.get(name, only) != only:
            raise CaseError(f"vlprompt's DualPrompt has {name} {only!r} only, not {hyper[name]!r}")
    general, experts = case.tensor("g_prompt").flatten(-2), case.tensor("e_prompt").flatten(-2)
    config = DualPromptConfig(
        general_layers=tuple(hyper["g_layers"]),
        expert_layers=tuple(hyper["e_layers"]),
        general_length=general.shape[2],
        expert_length=experts.shape[3],
        top=int(hyper.get("top_k", 1)),
        pull=float(hyper.get("pull_constraint_coeff", 1.0)),
        reference_quirks=reference_quirks,
    )
    learner = DualPrompt(models.vit, vision.classes(case), config)
    tensors = {"general": general} | vision.tensors_of(case, vision.HEAD)
    for ours, theirs in enumerate(order.tolist()):
        tensors |= {f"experts.{ours}": experts[:, :, theirs], f"keys.{ours}": case.tensor("keys")[theirs][None]}
    learner.restore(tensors, case.file)
    return learner
