"""Results in files: exact numbers, incomplete lines, full disks, several writers, no torch."""

import contextlib
import json
import math
import multiprocessing
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from vlprompt.errors import VlpromptError, VlpromptWarning
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


def test_results_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    for seed in range(3):
        results.append(path, replace(RUN, seed=seed))
    before = path.read_bytes()
    results.append(path, RUN)
    assert path.read_bytes().startswith(before)
    assert [result.seed for result in results.read(path)] == [0, 1, 2, 1]
    assert all(json.loads(line)["key"] for line in path.read_text().splitlines())


IDENTITY: dict[str, Any] = {
    "protocol": "base_to_new",
    "learner": "cocoop",
    "variant": "paper",
    "backbone": "b",
    "fingerprint": "f",
    "precision": "bf16",
    "task": "t",
    "split_hash": "s",
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
    assert replace(RUN, config={}, train_config={}, variant="é").key == "6ab52818a9976c62"


def test_latest_is_the_last_with_its_key() -> None:
    again = replace(RUN, metrics={"top1": 0.9})
    other = replace(RUN, seed=7)
    assert results.latest([RUN, again, other], RUN.key) is again
    assert results.latest([other], RUN.key) is None
    assert results.latest(iter([again]), RUN.key) is again


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(VlpromptError, match=r"metric 'top1' of coop on digits is .*not finite"):
        replace(RUN, metrics={"top1": value})
    with pytest.raises(VlpromptError, match="field 'config'"):
        replace(RUN, config={"lr": value})
    with pytest.raises(VlpromptError, match="field 'train_seconds'"):
        replace(RUN, train_seconds=value)


@pytest.mark.parametrize("cut", [1, 2, 50, 400])
def test_an_incomplete_last_line_loses_that_line_only(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "runs.jsonl"
    results.append(path, RUN)
    whole = len(path.read_bytes())
    results.append(path, replace(RUN, seed=2))
    with path.open("r+b") as file:
        file.truncate(2 * whole - cut)
    if cut == 1:  # only the end of the line is missing
        assert len(results.read(path)) == 2
    else:
        with pytest.warns(VlpromptWarning, match=r"runs\.jsonl, line 2 is incomplete"):
            assert results.read(path) == [RUN]
    results.append(path, replace(RUN, seed=3))
    left = [1, 2, 3] if cut == 1 else [1, 3]
    with pytest.warns(VlpromptWarning) if cut > 1 else contextlib.nullcontext():
        assert [result.seed for result in results.read(path)] == left


def test_bytes_that_are_not_text_are_an_incomplete_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\xff\xfe\x00{\n" + RUN.to_json().encode())
    with pytest.warns(VlpromptWarning, match="line 1 is incomplete"):
        assert results.read(tmp_path / "r") == [RUN]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 1, "loss": 2.0}', "unknown field 'loss'"),
        ("[1, 2]", "a JSON object, not list"),
        ('{"protocol": "few_shot"}', "missing 8 required"),
        ('{"metrics": 3, ' + RUN.to_json().partition('"metrics": ')[0][1:].rstrip(", ") + "}", "not a result"),
        (RUN.to_json().replace("1e-17", "NaN"), "not finite"),
    ],
)
def test_a_line_of_another_program_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "other.jsonl").write_text(RUN.to_json() + "\n" + line + "\n")
    with pytest.raises(VlpromptError) as error:
        results.read(tmp_path / "other.jsonl")
    assert "other.jsonl, line 2: " in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"none\.jsonl could not be read \(No such file"):
        results.read(tmp_path / "none.jsonl")


def write_many(path: Path, writer: int) -> None:
    for number in range(40):
        results.append(path, replace(RUN, seed=1000 * writer + number, extra={"long": "x" * 20_000}))


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seeds = [result.seed for result in results.read(path)]
    assert sorted(seeds) == [1000 * writer + number for writer in range(3) for number in range(40)]
    for writer in range(3):  # and each writer's are in order
        assert [seed % 1000 for seed in seeds if seed // 1000 == writer] == list(range(40))


def test_a_full_disk_leaves_the_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    results.append(path, RUN)
    work = """
import resource, sys
from pathlib import Path
from vlprompt.experiments import results
path = Path(sys.argv[1])
run = results.read(path)[0]
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100,) * 2)
try:
    results.append(path, run)
except Exception as error:
    print(type(error).__name__, error)
"""
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", work, str(path)], capture_output=True, text=True, check=True)
    message = f"VlpromptError the result could not be written to {path} (File too large); the file is unchanged."
    assert done.stdout.startswith(message)
    assert path.read_bytes() == before


def test_results_and_statistics_need_no_torch() -> None:
    work = "import sys; from vlprompt.experiments import defaults, results, statistics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_versions_and_memory_of_this_process() -> None:
    found = results.versions()
    assert set(found) == {"python", "vlprompt", "torch", "open_clip"}
    assert found["torch"][0].isdigit()
    assert 20 < results.peak_memory_mb() < 100_000
