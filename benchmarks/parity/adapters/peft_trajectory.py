"""Trainings with peft's prompts and prefixes, step by step."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.texts import batch_of_pairs
from benchmarks.parity.training import trace, train_config
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    PrefixTuning,
    PrefixTuningConfig,
    PromptTuning,
    PromptTuningConfig,
    PTuning,
    PTuningConfig,
)
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches

METHOD = r"peft training trajectory, (prompt|ptuning_(mlp|lstm)|prefix(_proj)?)"
INPUTS = ("order", r"init\..*")
START = "init."


class GivenOrder(Batches):
    """Batches with given texts in each step.

    Args:
        batch: All texts.
        order: (steps, B) their positions.
        epochs: Into which the steps are divided.
    """

    def __init__(self, batch: Batch, order: torch.Tensor, epochs: int) -> None:
        super().__init__(batch.labels, batch_size=order.shape[1], seed=0)
        self.batch, self.steps = batch, order.chunk(epochs)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        return (self.batch.part(rows) for rows in self.steps[number])


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The loss before each step, and all scores after the last one."""
    learner, batch = _learner(case, models.lm(case.backbone)), batch_of_pairs(case.hyper["texts"])
    own = learner.trainable()
    for name in [name for name in case.arrays if name.startswith(START)]:
        own[name.removeprefix(START)].data.copy_(case.tensor(name))
    epochs, order = int(case.hyper["epochs"]), case.tensor("order")
    config = train_config(case, epochs=epochs, batch_size=int(case.hyper["batch_size"]))
    steps = trace(learner, GivenOrder(batch, order, epochs), config)
    return {"loss": torch.stack(steps.losses), "final_logits": learner.predict(batch)}


def _learner(case: Case, lm: LanguageModel) -> Any:
    """The method with the sizes of the stored start."""
    kind, template, words = case.method.rpartition(" ")[2], case.hyper["template"], case.hyper["label_words"]
    length = int(case.hyper["num_virtual_tokens"])
    soft = f"{{soft:{length}}}{template}"  # no space follows peft's tokens
    if kind == "prompt":
        return PromptTuning(lm, words, PromptTuningConfig(soft, words))
    if kind == "ptuning_mlp":
        return PTuning(lm, words, PTuningConfig(soft, words, encoder="peft-mlp"))
    if kind == "ptuning_lstm":
        return PTuning(lm, words, PTuningConfig(soft, words, encoder="peft-lstm"))
    if kind not in ("prefix", "prefix_proj"):
        raise CaseError(f"no method for {kind!r}")
    hidden = f"{START}prompt.encoder.stacks.0.mlp.0.bias"
    middle = len(case.array(hidden)) if hidden in case.arrays else 0
    return PrefixTuning(lm, words, PrefixTuningConfig(template, words, length=length, middle=middle))
