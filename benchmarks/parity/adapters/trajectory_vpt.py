"""VPT and its baselines over a whole training, by KMnP/vpt's trainer.py, optimizer.py and lr_scheduler.py."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import Learner, OrderedBatches, trace
from vlprompt.data.batch import Batch
from vlprompt.learners import VPT, Adapter, AdapterConfig, Bias, Linear, Partial, PartialConfig, VPTConfig
from vlprompt.prompts.headed import by_adamw, by_sgd
from vlprompt.training.config import TrainConfig

METHOD = r"training trajectory: (vpt|linear|bias|partial|adapter).*"
INPUTS = ("images", "labels", "order", r"init\..*")
PROMPTS, DEEP = "enc.transformer.prompt_embeddings", "enc.transformer.deep_prompt_embeddings"
RENAMED = (  # patterns of their names, and ours
    (r"head\.last_layer\.(\w+)", r"head.\1"),
    (r"enc\.transformer\.encoder\.layer\.(\d+)\.adapter_(down|up)sample\.(\w+)", r"bottlenecks.\1.\2.\3"),
)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Loss and rate of every step, what is learned, and the scores at the end."""
    learner, images, labels = build(case, models), case.tensor("images").float(), case.tensor("labels")
    index = torch.arange(len(images))
    whole = Batch(labels, index, images=images, features=models.vit.encode_image(images))
    config, order = config_of(case), case.tensor("order")
    order = order.reshape(config.epochs, -1, order.shape[1])
    steps = trace(learner, OrderedBatches(labels, order, lambda chosen, _: whole.part(chosen)), config)
    return {
        "losses": torch.stack(steps.losses),
        "rates": torch.tensor(steps.rates, dtype=torch.float64),
        "final_logits": learner.predict(whole),
        **{f"end.{name}": value for name, value in under_their_names(learner.trainable()).items()},
    }


def config_of(case: Case) -> TrainConfig:
    """Our recipe for the method's group, with the case's numbers."""
    hyper, lr = case.hyper, float(case.hyper["lr"])
    recipe = by_sgd(lr) if str(hyper["optimizer"]).startswith("SGD") else by_adamw(lr)
    return replace(
        recipe,
        lr=lr,
        epochs=int(hyper["epochs"]),
        batch_size=int(hyper["batch_size"]),
        weight_decay=float(hyper["weight_decay"]),
        warmup_epochs=int(hyper["warmup_epochs"]),
        warmup_lr=0.0,
    )


def build(case: Case, models: Models) -> Learner:
    """The learner with the case's start."""
    vit, names, kind = models.vit, vision.classes(case), str(case.hyper["transfer_type"])
    start = {name.removeprefix("init."): case.tensor(name) for name in case.arrays if name.startswith("init.")}
    learner: Learner
    if kind == "prompt":
        tokens = int(case.hyper["MODEL.PROMPT.NUM_TOKENS"])
        learner = VPT(vit, names, VPTConfig(n_prompts=tokens, depth=0 if case.hyper["MODEL.PROMPT.DEEP"] else 1))
    elif kind == "adapter":
        reduction = vit.vision_width // len(next(each for name, each in start.items() if "down" in name))
        learner = Adapter(vit, names, AdapterConfig(reduction=reduction))
    elif kind.startswith("partial"):
        learner = Partial(vit, names, PartialConfig(k=int(kind.partition("-")[2])))
    else:
        learner = Bias(vit, names) if "bias" in kind else Linear(vit, names)
    own = {ours(name): value for name, value in start.items() if name not in (PROMPTS, DEEP)}
    if PROMPTS in start:
        own["prompts"] = torch.cat([start[name] for name in (PROMPTS, DEEP) if name in start])
    vision.begin(learner, own, case.file)
    return learner


def ours(name: str) -> str:
    """Our name of one of their tensors."""
    for pattern, form in RENAMED:
        name = re.sub(pattern, form, name)
    return name


def under_their_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is learned of the head and the prompts, as they name it."""
    found = {f"head.last_layer.{part}": tensors[f"head.{part}"] for part in ("weight", "bias")}
    if "prompts" in tensors:
        found |= {PROMPTS: tensors["prompts"][:1], DEEP: tensors["prompts"][1:]}
    return found
