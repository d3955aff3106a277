"""vlprompt adapt, and domain-shift and report on the same folders."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vlprompt import cli
from vlprompt.experiments.results_file import read

BOTH = {"day": ["a", "b"], "night": ["a", "b"]}


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """A folder of domains with classes of ten images: photos(day=["bright", "dark"], ...)."""

    def make(**domains: list[str]) -> Path:
        for number, (domain, classes) in enumerate(domains.items()):
            (tmp_path / "photos" / domain).mkdir(parents=True)
            for name in classes:
                (tmp_path / "photos" / domain / name).mkdir()
                for shade in range(10):
                    level = 20 * shade + (30 if name == "bright" else 0) + number
                    Image.new("L", (32, 32), level).save(tmp_path / "photos" / domain / name / f"{shade}.png")
        return tmp_path / "photos"

    return make


@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # the tiny model does not know all words
def test_it_runs_on_the_users_folders(
    photos: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["bright", "dark"]
    task = ["--task", str(photos(day=names, night=names)), "--out", str(tmp_path / "run"), "--seeds", "1"]
    quick = ["--augment", "none", "--set", "train.epochs=1"]
    cli.main(["adapt", *task, *quick, "coop.n_ctx=2", "--pseudo", "coop", "--tau", "0"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("photos/transductive", "day:night", "night:day", "average", "labels=pseudo"))
    assert len(read(tmp_path / "run" / "results.jsonl")) == 8
    learners = ["--learners", "zero_shot", "dapl"]
    cli.main(["adapt", *task, *quick, "--pairs", "day:night", "--held-out", *learners, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["task"] for line in lines] == ["photos/held-out/day:night"] * 2
    assert [line["classes"] for line in lines] == [len(names)] * 2
    cli.main(["domain-shift", *task, "--shots", "1", "--learners", "zero_shot"])
    assert "photos/left-out" in capsys.readouterr().out
    cli.main(["report", str(tmp_path / "run" / "results.jsonl"), "--form", "markdown"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("photos/left-out", "photos/held-out", "photos/transductive"))


@pytest.mark.parametrize(
    ("domains", "arguments", "message", "code"),
    [
        (BOTH, ["--pairs", "day:nite"], "unknown domain of photos 'nite'; did you", 2),
        (BOTH, ["--pairs", "day"], "pair 'day' is not of the form SOURCE:TARGET", 2),
        ({"day": ["a", "b"], "night": ["a"]}, [], "'day' has 'b' and 'night' has", 1),
        ({"day": ["a", "b"], "night": []}, [], "domain folder", 1),
        ({"day": ["a", "b"]}, [], "photos has fewer than two domains", 2),
    ],
)
def test_mistakes_are_one_line(
    photos: Callable[..., Path],
    domains: dict[str, list[str]],
    arguments: list[str],
    message: str,
    code: int,
    tmp_path: Path,
    fails: Callable[..., str],
) -> None:
    command = ["adapt", "--task", str(photos(**domains)), "--out", str(tmp_path / "run"), *arguments]
    assert message in fails(command, code)


def test_a_least_confidence_needs_learners_that_use_it(fails: Callable[..., str]) -> None:
    assert "--tau is for the learners of --pseudo" in fails(["adapt", "--tau", "0.9"])
