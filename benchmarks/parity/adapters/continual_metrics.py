"""Average accuracy, forgetting, backward transfer, by l2p-pytorch's engine.py and CODA-Prompt's calc_forgetting.py."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.experiments import statistics

METHOD = r"average accuracy, forgetting.*continual.*"
INPUTS = ("accuracy",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """Every measure after every task; accuracy[i, t] is the accuracy on task i after task t, in percent."""
    stored = case.array("accuracy").T
    rows = [row[: t + 1].tolist() for t, row in enumerate(stored)]
    until = [rows[: t + 1] for t in range(len(rows))]
    return {
        "average_accuracy": np.array([statistics.average_accuracy(each) for each in until]),
        "forgetting": np.array([statistics.forgetting_max(each) for each in until]),
        "backward_transfer": np.array([statistics.backward_transfer(each) for each in until]),
        "coda_forgetting": np.array(statistics.forgetting_stepwise(rows)),
    }
