"""The committed experiments can be read and run."""

from pathlib import Path

import pytest

from benchmarks.accuracy.__main__ import HERE
from vlprompt import methods
from vlprompt.data.features import FeatureStore
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.sweep.experiment import read
from vlprompt.report.published import read_paper

COMMITTED = sorted(path.stem for path in HERE.glob("*.toml"))


@pytest.mark.parametrize("name", COMMITTED)
def test_files_are_correct(name: str) -> None:
    """They can be read; their comments state the command and its time; they contain no absolute path."""
    text = (HERE / f"{name}.toml").read_text()
    read(HERE / f"{name}.toml")
    comment = text.partition("protocol = ")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert f"python -m benchmarks.accuracy {name}\n" in comment
    assert "minutes on 2 cores" in comment or "hour" in comment
    assert '"/' not in text
    assert 'augment = "none"' in text


def test_they_cover_every_learner_of_images() -> None:
    parts = [part for name in COMMITTED for part in read(HERE / f"{name}.toml").parts()]
    used = {each.method for part in parts for spec in part.specs() for each in spec.parts}
    images = {name for name in methods.names() if not methods.learner_class(name).needs.input.of_texts}
    assert images <= used, images - used


@pytest.mark.parametrize("name", [name for name in COMMITTED if name.startswith("digits")])
def test_digits_experiments_fit_the_tiny_clip(name: str, tmp_path: Path) -> None:
    """Every learner can be built with its settings: deep prompts are no deeper than the towers."""
    experiment = read(HERE / f"{name}.toml")
    runner = Runner(experiment.open_backbone(), tmp_path, FeatureStore(tmp_path / "store"), experiment.training)
    (task,) = experiment.open_tasks()
    base_to_new = experiment.protocol == "base_to_new"
    tests = dict(zip(("base", "new"), task.base_and_new(), strict=True)) if base_to_new else {"": task}
    runner.check(experiment.specs(), tests["base"] if base_to_new else task, tests)


def test_published_numbers_exist_for_experiments_on_published_tasks() -> None:
    published = {(row.protocol, ours) for row in read_paper(HERE.parent / "paper.toml") for ours in row.ours}
    for name in ("caltech101_few_shot", "caltech101_base_to_new"):
        assert (read(HERE / f"{name}.toml").protocol, ("zero_shot", "")) in published
