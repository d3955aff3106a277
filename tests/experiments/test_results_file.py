"""Files of results: incomplete lines, other lines, full disks, several writers."""

import contextlib
import json
import multiprocessing
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vlprompt.errors import VlpromptError, VlpromptWarning
from vlprompt.experiments import results_file
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import ResultsFile

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
    metrics={"top1": 1 / 3, "ece_15_equal_width": 1e-17},
    extra={"classes": ["größer\nzwei", "\ud800"]},
)


def test_results_are_appended_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    for seed in range(3):
        results_file.append(path, replace(RUN, seed=seed))
    before = path.read_bytes()
    results_file.append(path, RUN)
    assert path.read_bytes().startswith(before)
    assert [result.seed for result in results_file.read(path)] == [0, 1, 2, 1]
    assert all(json.loads(line)["key"] for line in path.read_text().splitlines())


@pytest.mark.parametrize("cut", [1, 2, 50, 400])
def test_an_incomplete_last_line_loses_that_line_only(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "runs.jsonl"
    results_file.append(path, RUN)
    whole = len(path.read_bytes())
    results_file.append(path, replace(RUN, seed=2))
    with path.open("r+b") as file:
        file.truncate(2 * whole - cut)
    if cut == 1:  # only the end of the line is missing
        assert len(results_file.read(path)) == 2
    else:
        with pytest.warns(VlpromptWarning, match=r"runs\.jsonl, line 2 is incomplete"):
            assert results_file.read(path) == [RUN]
    results_file.append(path, replace(RUN, seed=3))
    left = [1, 2, 3] if cut == 1 else [1, 3]
    with pytest.warns(VlpromptWarning) if cut > 1 else contextlib.nullcontext():
        assert [result.seed for result in results_file.read(path)] == left


def test_bytes_that_are_not_text_are_an_incomplete_line(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\xff\xfe\x00{\n" + RUN.to_json().encode())
    with pytest.warns(VlpromptWarning, match="line 1 is incomplete"):
        assert results_file.read(tmp_path / "r") == [RUN]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"step": 1, "loss": 2.0}', "unknown field 'loss'"),
        ("[1, 2]", "a JSON object, not list"),
        ('{"protocol": "few_shot"}', "field 'learner' is missing"),
        (json.dumps(json.loads(RUN.to_json()) | {"metrics": 3}), "field 'metrics' is of type int"),
        (json.dumps(json.loads(RUN.to_json()) | {"task": ["a"]}), "field 'task' is of type list"),
        (json.dumps(json.loads(RUN.to_json()) | {"seed": True}), "field 'seed' is of type bool"),
        (RUN.to_json().replace("1e-17", "NaN"), "not finite"),
        ("[" * 100_000, "is incomplete"),
        ('{"seed": ' + "9" * 5000 + "}", "is incomplete"),
    ],
)
def test_a_line_of_another_program_is_skipped_and_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "other.jsonl").write_text(RUN.to_json() + "\n" + line + "\n" + RUN.to_json() + "\n")
    with pytest.warns(VlpromptWarning, match=r"other\.jsonl, line 2 ") as caught:
        assert results_file.read(tmp_path / "other.jsonl") == [RUN, RUN]
    assert len(caught) == 1
    assert message in str(caught[0].message)
    assert "\n" not in str(caught[0].message)


def test_several_lines_of_another_program_are_one_warning(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("{}\n[]\n" + RUN.to_json() + "\nno\n")
    with pytest.warns(VlpromptWarning, match=r"line 1 is not a result: .*it was skipped \(and 2 more\)") as caught:
        assert results_file.read(tmp_path / "r") == [RUN]
    assert len(caught) == 1


def test_only_what_was_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "r"
    file = ResultsFile(path)
    assert file.latest(RUN.key) is None
    results_file.append(path, RUN)
    first = file.latest(RUN.key)
    assert first == RUN
    again, other = replace(RUN, metrics={"top1": 0.9}), replace(RUN, seed=7)
    results_file.append(path, again)
    results_file.append(path, other)
    assert file.latest(RUN.key) == again
    assert file.latest(other.key) == other
    assert file.results[0] is first, "the first line is not parsed again"


def test_a_line_that_another_process_is_writing_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path, line = tmp_path / "r", RUN.to_json() + "\n"
    file = ResultsFile(path)
    path.write_text(line + line[:40])
    with pytest.warns(VlpromptWarning, match="line 2 is incomplete"):
        assert len(file.read()) == 1
    assert len(file.read()) == 1, "and it is reported once"
    path.write_text(line + line + line)
    assert len(file.read()) == 3


def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for seed in range(3):
        results_file.append(path, replace(RUN, seed=seed))
    file = ResultsFile(path)
    assert len(file.read()) == 3
    path.write_text(replace(RUN, seed=9).to_json() + "\n")
    assert [result.seed for result in file.read()] == [9]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"none\.jsonl could not be read \(No such file"):
        results_file.read(tmp_path / "none.jsonl")


def write_many(path: Path, writer: int) -> None:
    for number in range(40):
        results_file.append(path, replace(RUN, seed=1000 * writer + number, extra={"long": "x" * 20_000}))


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    seeds = [result.seed for result in results_file.read(path)]
    assert sorted(seeds) == [1000 * writer + number for writer in range(3) for number in range(40)]
    for writer in range(3):  # and each writer's are in order
        assert [seed % 1000 for seed in seeds if seed // 1000 == writer] == list(range(40))


def test_a_full_disk_leaves_the_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    results_file.append(path, RUN)
    work = """
import resource, sys
from pathlib import Path
from vlprompt.experiments import results_file
path = Path(sys.argv[1])
run = results_file.read(path)[0]
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100,) * 2)
try:
    results_file.append(path, run)
except Exception as error:
    print(type(error).__name__, error)
"""
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", work, str(path)], capture_output=True, text=True, check=True)
    message = f"VlpromptError the result could not be written to {path} (File too large); the file is unchanged."
    assert done.stdout.startswith(message)
    assert path.read_bytes() == before
