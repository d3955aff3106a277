"""Tip-Adapter and Tip-Adapter-F by gaopengcuhk/Tip-Adapter's main.py and utils.py.

The authors choose Tip-Adapter-F's epoch on test images; the cases have validation images in their place, as ours does.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import OrderedBatches, after_steps, gradients, trace, train_config
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches, feature_batches
from vlprompt.learners import TipAdapter, TipAdapterConfig, TipAdapterF, TipAdapterFConfig
from vlprompt.prompts.cache_learner import CacheLearner

METHOD = r"tip-adapter(-f)?"
KEYS = "cache.keys"
INPUTS = ("classnames", "templates", "order", "(train|val|test)_(features|labels)")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The cache, the scores with it, and what the search finds."""
    tuned = case.method.lower().endswith("-f")
    kind, config = (TipAdapterF, TipAdapterFConfig) if tuned else (TipAdapter, TipAdapterConfig)
    hyper = case.hyper
    settings = config(
        views=int(hyper["augment_epoch"]),
        dataset=str(hyper["dataset_name"]),
        alpha=hyper["init_alpha"],
        beta=hyper["init_beta"],
        templates=tuple(case.words("templates")),
    )
    learner: CacheLearner[Any] = kind(models.clip, case.words("classnames"), settings)
    train, val = (_batches(case, split) for split in ("train", "val"))
    CacheLearner.prepare(learner, train, val)  # without Tip-Adapter's search
    with torch.no_grad():
        answers = {
            "text_features": learner.text,
            "cache_keys_features": learner.cache.keys.detach().clone(),
            "cache_values": F.one_hot(learner.cache.labels, len(learner.classes)).float(),
            "logits_val_zero_shot": models.clip.scores(case.tensor("val_features"), learner.text),
            "logits_val_init": learner.predict(_whole(val)),
        }
    if isinstance(learner, TipAdapterF):
        answers |= _trained(case, learner, train, val)
    else:
        learner.prepare(train, val)
        answers["logits_test"] = learner.predict(_whole(_batches(case, "test")))
    alpha, beta = learner.cache.weights
    return answers | {"search_alpha": alpha, "search_beta": beta}


def _trained(case: Case, learner: TipAdapterF, train: Batches, val: Batches) -> dict[str, Any]:
    """Every step, the epoch that is kept, and the scores at the end."""
    views, labels, size = case.tensor("train_features"), case.tensor("train_labels"), int(case.hyper["batch"])
    count = int(case.hyper["batches_per_epoch"])
    order = case.tensor("order")[:, : size * count].reshape(-1, count, size)

    def batch(index: Tensor, epoch: int) -> Batch:
        return Batch(labels[index], index, features=views[epoch % len(views)][index])

    gradient = gradients(learner, batch(order[0, 0], 0))[KEYS]
    prepare = learner.prepare
    learner.prepare = lambda *_: prepare(train, val)  # type: ignore[method-assign]  # the cache holds every image
    config = train_config(case, epochs=int(case.hyper["epochs"]), batch_size=size)
    steps = trace(learner, OrderedBatches(labels, order, batch), config, val=val)
    keys = steps.stacked(KEYS)
    kept, epochs = learner.cache.keys.detach(), keys[count - 1 :: count]
    return steps.per_step() | {
        "grad_keys": gradient,
        "keys_steps": after_steps(config, keys[: len(case.array("keys_steps"))], gradient),
        "keys_epochs": after_steps(config, epochs, gradient),
        "best_epoch": torch.tensor(1 + [bool((each == kept).all()) for each in epochs].index(True)),
        "keys_best": after_steps(config, kept, gradient),
        "logits_val_final": learner.predict(_whole(val)),
    }


def _batches(case: Case, split: str) -> Batches:
    """A split of the case, in order and in one batch."""
    labels = case.tensor(f"{split}_labels")
    return feature_batches(case.tensor(f"{split}_features"), labels, batch_size=len(labels))


def _whole(batches: Batches) -> Batch:
    return next(batches.epoch(0))
