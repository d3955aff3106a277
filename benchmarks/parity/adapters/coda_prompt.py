"""CODA-Prompt by GT-RIPL/CODA-Prompt: models/zoo.py, models/vit.py and learners/prompt.py.

Theirs has the components of all tasks from the start, ours those of the tasks so far; the others get no gradient.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.data.batch import features_of
from vlprompt.learners.coda_prompt import CODAPrompt, CODAPromptConfig

METHOD = r"coda-?prompt.*"
PARTS = ("keys", "attention", "prompts")
INPUTS = ("images", "labels", *PARTS, *vision.HEAD)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Weights, keys and values, penalty, scores, loss and gradients of a step, then a test."""
    learner, batch = build(case, models), vision.with_features(vision.batch_of(case), models)
    query = features_of(batch)
    vision.at_task(learner.train().head, case)
    found = gradients(learner, batch)
    with torch.no_grad():
        penalty = learner.config.ortho * learner.overlap()
        prefixes = learner.prompt(query).prefixes.values()
        keys, values = (torch.stack([pair[i] for pair in prefixes]) for i in (0, 1))
        answers: dict[str, Any] = {
            "query": query,
            "weights": learner.weights(query),
            "key_prefix": keys,
            "value_prefix": values,
            "eval_key_prefix": keys,
            "eval_value_prefix": values,
            "ortho_loss_per_layer": penalty,
            "ortho_loss": penalty.sum()[None],
            "loss": learner.loss(batch),
            "logits": learner.eval()(batch),
            "eval_logits": learner.predict(batch),
            "grad_head_weight": found["head.weight"],
            "grad_head_bias": found["head.bias"],
        }
    task, count = int(case.hyper["task_index"]), learner.config.components
    for name in PARTS:
        whole = torch.zeros_like(case.tensor(name))
        whole[:, task * count : (task + 1) * count] = found[f"{name}.{task}"]
        answers[f"grad_{name}"] = whole
    return answers


def build(case: Case, models: Models) -> CODAPrompt:
    """The learner with the case's components of the tasks so far, and its head."""
    parts: dict[str, Tensor] = {name: case.tensor(name) for name in PARTS}
    count = int(case.hyper["components_per_task"])
    config = CODAPromptConfig(
        components=count,
        length=parts["prompts"].shape[2],
        layers=tuple(range(len(parts["keys"]))),
        ortho=float(case.hyper.get("ortho_mu", 0.0)),
    )
    learner = CODAPrompt(models.vit, vision.classes(case), config)
    tensors = vision.tensors_of(case, vision.HEAD)
    for task in range(int(case.hyper["task_index"]) + 1):
        own = slice(task * count, (task + 1) * count)
        tensors |= {f"{name}.{task}": part[:, own] for name, part in parts.items()}
    learner.restore(tensors, case.file)
    return learner
