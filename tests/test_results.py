"""Results survive files: exact numbers, torn lines, full disks, several writers."""

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

from vlprompt import results
from vlprompt.errors import VlpromptError, VlpromptWarning
from vlprompt.results import Result

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
def test_a_line_gives_back_every_bit(metrics: dict[str, float], seconds: float, text: str) -> None:
    run = replace(RUN, metrics=metrics, train_seconds=seconds, variant=text, config={text: [text, {"deep": (1, 2)}]})
    line = run.to_json()
    assert "\n" not in line
    back = Result.from_json(line)
    assert back == run
    assert back.key == run.key
    assert {name: value.hex() for name, value in back.metrics.items()} == {n: v.hex() for n, v in metrics.items()}


def test_files_grow_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    for seed in range(3):
        results.append(path, replace(RUN, seed=seed))
    before = path.read_bytes()
    results.append(path, RUN)
    assert path.read_bytes().startswith(before)
    assert [result.seed for result in results.read(path)] == [0, 1, 2, 1]
    assert all(json.loads(line)["key"] for line in path.read_text().splitlines())


DECIDING: dict[str, Any] = {
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
OUTCOME: dict[str, Any] = {
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


def test_the_key_is_what_decides_the_outcome() -> None:
    assert set(Result.__dataclass_fields__) == DECIDING.keys() | OUTCOME.keys()
    keys = {RUN.key} | {replace(RUN, **{name: value}).key for name, value in DECIDING.items()}
    assert len(keys) == len(DECIDING) + 1
    for name, value in OUTCOME.items():
        assert replace(RUN, **{name: value}).key == RUN.key
    shuffled = replace(RUN, config=dict(reversed(RUN.config.items())))
    assert shuffled.key == RUN.key


def test_the_key_does_not_depend_on_the_process() -> None:
    """Runs are found again by key in another process, with another hash seed, perhaps next year."""
    assert replace(RUN, config={}, train_config={}, variant="é").key == "6ab52818a9976c62"


def test_latest_is_the_last_with_its_key() -> None:
    again = replace(RUN, metrics={"top1": 0.9})
    other = replace(RUN, seed=7)
    assert results.latest([RUN, again, other], RUN.key) is again
    assert results.latest([other], RUN.key) is None
    assert results.latest(iter([again]), RUN.key) is again


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(VlpromptError, match=r"metric 'top1' of coop on digits is .*no finite number"):
        replace(RUN, metrics={"top1": value})
    with pytest.raises(VlpromptError, match="field 'config'"):
        replace(RUN, config={"lr": value})
    with pytest.raises(VlpromptError, match="field 'train_seconds'"):
        replace(RUN, train_seconds=value)


@pytest.mark.parametrize("cut", [1, 2, 50, 400])
def test_a_torn_last_line_costs_itself_only(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "runs.jsonl"
    results.append(path, RUN)
    whole = len(path.read_bytes())
    results.append(path, replace(RUN, seed=2))
    with path.open("r+b") as file:
        file.truncate(2 * whole - cut)
    if cut == 1:  # only the end of the line is missing
        assert len(results.read(path)) == 2
    else:
        with pytest.warns(VlpromptWarning, match=r"runs\.jsonl, line 2 is torn"):
            assert results.read(path) == [RUN]
    results.append(path, replace(RUN, seed=3))
    kept = [1, 2, 3] if cut == 1 else [1, 3]
    with pytest.warns(VlpromptWarning) if cut > 1 else contextlib.nullcontext():
        assert [result.seed for result in results.read(path)] == kept


def test_bytes_that_are_no_text_are_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\xff\xfe\x00{\n" + RUN.to_json().encode())
    with pytest.warns(VlpromptWarning, match="line 1 is torn"):
        assert results.read(tmp_path / "r") == [RUN]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 1, "loss": 2.0}', "unknown field 'loss'"),
        ("[1, 2]", "a JSON object, not list"),
        ('{"protocol": "few_shot"}', "missing 8 required"),
        ('{"metrics": 3, ' + RUN.to_json().partition('"metrics": ')[0][1:].rstrip(", ") + "}", "not a result"),
        (RUN.to_json().replace("1e-17", "NaN"), "no finite number"),
    ],
)
def test_a_line_of_another_program_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "other.jsonl").write_text(RUN.to_json() + "\n" + line + "\n")
    with pytest.raises(VlpromptError) as error:
        results.read(tmp_path / "other.jsonl")
    assert "other.jsonl, line 2: " in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"none\.jsonl could not be read \(No such file"):
        results.read(tmp_path / "none.jsonl")


def write_many(path: Path, writer: int) -> None:
    for number in range(40):
        results.append(path, replace(RUN, seed=1000 * writer + number, extra={"long": "x" * 20_000}))


def test_writers_side_by_side_lose_nothing(tmp_path: Path) -> None:
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


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    results.append(path, RUN)
    work = """
import resource, sys
from pathlib import Path
from vlprompt import results
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
    assert done.stdout.startswith(f"VlpromptError {path} could not take a result (File too large); it is unchanged.")
    assert path.read_bytes() == before


def test_versions_and_memory_of_this_process() -> None:
    found = results.versions()
    assert set(found) == {"python", "vlprompt", "torch", "open_clip"}
    assert found["torch"][0].isdigit()
    assert 20 < results.peak_memory_mb() < 100_000
