"""The learning rates of CODA-Prompt, by GT-RIPL/CODA-Prompt's utils/schedulers.py."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.learners.coda_prompt import recipe
from vlprompt.training.optimizer import learning_rate

METHOD = r"learning rates of coda-prompt"
INPUTS: tuple[str, ...] = ()


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """The rate of every epoch of our recipe, for each stored number of epochs."""
    answers = {}
    for name in case.arrays:
        if stored := re.fullmatch(r"lr_(\d+)", name):
            config = replace(recipe(), lr=float(case.hyper["lr"]), epochs=int(stored[1]))
            rates = [learning_rate(config, epoch) for epoch in range(config.epochs)]
            answers[name] = torch.tensor(rates, dtype=torch.float64)
    return answers
