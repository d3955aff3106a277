"""Forgetting and backward transfer as mammoth, avalanche and CODA-Prompt compute them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.experiments import statistics

METHOD = r"continual metrics of mammoth.*"
INPUTS = ("matrices",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """Each measure of every matrix, whose entries after the diagonal are missing; avalanche's sign is the other one."""
    stored = [[row[~np.isnan(row)].tolist() for row in matrix] for matrix in case.array("matrices")]
    matrices = [[row for row in rows if row] for rows in stored]
    transfer = np.array([statistics.backward_transfer(rows) for rows in matrices])
    return {
        "mammoth_forgetting": np.array([statistics.forgetting_max(rows) for rows in matrices]),
        "mammoth_backward_transfer": transfer,
        "avalanche_forgetting": -transfer,
        "coda_forgetting": np.array([statistics.forgetting_stepwise(rows) for rows in matrices]),
    }
