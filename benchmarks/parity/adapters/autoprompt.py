"""AutoPrompt's search: ucinlp/autoprompt, create_trigger.py, with the slots that it drew."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.texts import labelled
from vlprompt.cloze import AutoPrompt, AutoPromptConfig
from vlprompt.data.batches import text_batches

METHOD = r"AutoPrompt trigger search \(.*\)"
INPUTS = ("slots",)
DIGITS = 4  # of the training metric, which is read from the log


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Triggers, candidates and gradients of every iteration, and the metrics of the accepted triggers."""
    lm, words, slots = models.lm(case.backbone), case.hyper["label_words"], case.tensor("slots").tolist()
    count = str(case.hyper["template"]).count("[T]")
    template = f"{{text}} {{soft:{count}}} {{mask}} ."
    config = AutoPromptConfig(
        template, words, candidates=int(case.hyper["num_cand"]), filter=bool(case.hyper["filter"])
    )
    learner = AutoPrompt(lm, words, config)
    sets = (labelled([(text, words.index(word)) for text, word in case.hyper[name]]) for name in ("train", "dev"))
    train, dev = (text_batches(rows, batch_size=int(case.hyper["bsz"])) for rows in sets)
    learner.prepare(train, dev)
    found: dict[str, list[Any]] = {name: [] for name in ("triggers", "candidates", "slot_gradient", "train_metric")}
    dev_metric = [-float(learner.best_loss)]
    for number, slot in enumerate(slots):
        learner.draw_slot = lambda _, slot=slot: slot
        before = learner.trigger.clone()
        _epoch(learner, train, 2 * number + 1)
        found["triggers"].append(before)
        found["candidates"].append(learner.tried.clone())
        found["slot_gradient"].append(learner.gradient[slot] / len(train.labels))
        losses = _epoch(learner, train, 2 * number + 2)
        if not torch.equal(before, learner.trigger):
            found["train_metric"].append(-losses[1:].min() / len(train.labels))
            dev_metric.append(-learner.validation_loss())
    answers: dict[str, Any] = {name: torch.stack(values) for name, values in found.items()}
    answers["train_metric"] = Answer(np.round(answers["train_metric"].numpy(), DIGITS), note=f"{DIGITS} digits")
    return answers | {"dev_metric": np.array(dev_metric)}


def _epoch(learner: AutoPrompt, train: Any, number: int) -> torch.Tensor:
    """Run one epoch; return the summed losses (1 + K,) before the search uses them."""
    for batch in train.epoch(number):
        learner.backward(batch)
    losses: torch.Tensor = learner.losses.clone()
    learner.end_epoch(number, 10**6)
    return losses
