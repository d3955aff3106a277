"""Dassl's learning-rate schedules: cosine with a constant or linear warm-up, stepped per epoch or per iteration."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from vlprompt.training.config import TrainConfig
from vlprompt.training.optimizer import learning_rate

METHOD = r".*\blearning[- ]rate schedules?"
INPUTS: tuple[str, ...] = ()


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """`learning_rate` at every epoch (or iteration) of every run."""
    return {f"lr_{name}": _rates(run) for name, run in case.hyper["runs"].items()}


def _rates(run: Mapping[str, Any]) -> torch.Tensor:
    """The learning rates of one run, (n,) float64."""
    if not run.get("warmup_recount", True) or run.get("lr_scheduler", "cosine") != "cosine":
        raise CaseError(f"vlprompt has only cosine schedules that start after the warm-up, not {dict(run)}")
    warmup = str(run.get("warmup_type") or "constant") if run.get("warmup_epoch", 0) > 0 else "none"
    first = run.get("warmup_cons_lr", run.get("warmup_min_lr", 1e-5))
    config = TrainConfig(
        epochs=int(run["max_epoch"]),
        lr=float(run["lr"]),
        warmup=warmup,  # type: ignore[arg-type]
        warmup_epochs=int(run.get("warmup_epoch", 0)),
        warmup_lr=float(first),
    )
    return torch.tensor([learning_rate(config, epoch) for epoch in range(int(run["n"]))], dtype=torch.float64)
