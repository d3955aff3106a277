"""Results as JSON lines: exact numbers, the key of a run, no torch."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from vlprompt.errors import VlpromptError
from vlprompt.experiments import results
from vlprompt.experiments.results import Result

RUN = Result(
    protocol="few_shot",
    learner="coop",
    backbone="tiny",
    fingerprint="0123456789abcdef",
    task="digits",
    split_hash="fedcba",
    classes=10,
    shots=16,
    seed=1,
    config={"n_ctx": 4, "betas": (0.9, 0.999)},
    train_config={"lr": 0.002, "epochs": 50},
    metrics={"top1": 1 / 3, "ece_15_equal_width": 1e-17},
    train_seconds=12.34567890123,
    versions=results.versions(),
    extra={"classes": ["größer\nzwei", "\ud800"]},
)

finite = st.floats(allow_nan=False, allow_infinity=False)


@hypothesis.given(metrics=st.dictionaries(st.text(), finite), seconds=finite, text=st.text())
def test_a_line_restores_every_bit(metrics: dict[str, float], seconds: float, text: str) -> None:
    run = replace(RUN, metrics=metrics, train_seconds=seconds, variant=text, config={text: [text, {"deep": (1, 2)}]})
    line = run.to_json()
    assert "\n" not in line
    back = Result.from_json(line)
    assert back == run
    assert back.key == run.key
    assert {name: value.hex() for name, value in back.metrics.items()} == {n: v.hex() for n, v in metrics.items()}


IDENTITY: dict[str, Any] = {
    "protocol": "base_to_new",
    "learner": "cocoop",
    "variant": "paper",
    "backbone": "b",
    "fingerprint": "f",
    "precision": "bf16",
    "task": "t",
    "split_hash": "s",
    "data_hash": "d",
    "classes": 2,
    "shots": 4,
    "seed": 9,
    "config": {"n_ctx": 8},
    "train_config": {},
    "augment": "paper",
}
MEASURED: dict[str, Any] = {
    "metrics": {},
    "examples": 5,
    "trainable_parameters": 5,
    "backbone_parameters": 5,
    "train_seconds": 5.0,
    "eval_seconds": 5.0,
    "peak_memory_mb": 5.0,
    "versions": {},
    "extra": {},
}


def test_the_key_depends_on_the_identity_of_a_run_only() -> None:
    assert set(Result.__dataclass_fields__) == IDENTITY.keys() | MEASURED.keys()
    assert set(results.MEASURED) == MEASURED.keys()
    keys = {RUN.key} | {replace(RUN, **{name: value}).key for name, value in IDENTITY.items()}
    assert len(keys) == len(IDENTITY) + 1
    for name, value in MEASURED.items():
        assert replace(RUN, **{name: value}).key == RUN.key
    shuffled = replace(RUN, config=dict(reversed(RUN.config.items())))
    assert shuffled.key == RUN.key


def test_the_key_does_not_depend_on_how_a_number_is_written() -> None:
    whole = {"lr": 1, "layers": [0, 2], "train": {"decay": 0}}
    point = {"lr": 1.0, "layers": [0, 2.0], "train": {"decay": 0.0}}
    assert replace(RUN, config=whole).key == replace(RUN, config=point).key
    assert replace(RUN, config={"on": True}).key != replace(RUN, config={"on": 1}).key


def test_the_key_does_not_depend_on_the_process() -> None:
    """Another process, with another hash seed, finds a run by its key."""
    assert replace(RUN, config={}, train_config={}, variant="é").key == "3cc22834314daff5"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(VlpromptError, match=r"metric 'top1' of coop on digits is .*not finite"):
        replace(RUN, metrics={"top1": value})
    with pytest.raises(VlpromptError, match="field 'config'"):
        replace(RUN, config={"lr": value})
    with pytest.raises(VlpromptError, match="field 'train_seconds'"):
        replace(RUN, train_seconds=value)


def test_results_and_statistics_need_no_torch() -> None:
    names = "defaults, results_file, statistics"
    work = f"import sys; from vlprompt.experiments import {names}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_versions_and_memory_of_this_process() -> None:
    found = results.versions()
    assert set(found) == {"python", "vlprompt", "torch", "open_clip"}
    assert found["torch"][0].isdigit()
    assert 20 < results.peak_memory_mb() < 100_000
