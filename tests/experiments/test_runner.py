"""The runner: what a result states, where prompts are stored, and what is refused before anything runs."""

from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.experiments.test_spec import OWN
from vlprompt.errors import UsageError
from vlprompt.experiments import runner as runners
from vlprompt.experiments.plan import joint_hash, without_path
from vlprompt.experiments.protocols import few_shot
from vlprompt.experiments.results import read
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.training.config import TrainConfig, Variant


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::30])


def test_a_method_of_a_file_trains_and_its_prompt_opens_with_its_class(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    runner, spec = make_runner(), LearnerSpec.parse("my_methods.py:NearestMean")
    (result,) = few_shot.run(runner, task, [spec], (2,), (1,))
    assert (result.learner, result.variant) == ("my_methods:NearestMean", "")
    assert result.metrics["top1"] > 0.3
    folder = runner.out / "prompts" / "few_shot" / "digits" / "my_methods-NearestMean-2shot-seed1"
    learner = vp.load(folder, runner.backbone, learner=spec.kind)
    assert vp.evaluate(learner, task, store=runner.store).metrics["top1"] == result.metrics["top1"]
    assert list(few_shot.run(runner, task, [spec], (2,), (1,))) == [result], "a run with a result is not repeated"


def test_published_settings_follow_the_data_set_not_the_name_of_the_task(
    task: vp.Task, make_runner: MakeRunner
) -> None:
    """A half of the classes has another name, and the same data set."""
    asked: list[tuple[int, str]] = []

    def recipe(shots: int, dataset: str) -> TrainConfig:
        asked.append((shots, dataset))
        return TrainConfig(epochs=1)

    spec = LearnerSpec.parse("coop", {"coop": {"n_ctx": 2}})
    spec = replace(spec, published=Variant(spec.config, recipe))
    drawn = replace(task.few_shot(1, 1), name="my/part")
    make_runner().run("few_shot", spec, drawn, shots=1, seed=1)
    assert asked == [(1, "digits")]


def test_fresh_runs_are_repeated_and_results_may_go_elsewhere(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = replace(make_runner(), results=tmp_path / "elsewhere.jsonl")
    spec = LearnerSpec.parse("zero_shot")
    first = runner.run("zero_shot", spec, task, shots=0, seed=0)
    monkeypatch.setattr(runners, "evaluate", None)
    assert runner.run("zero_shot", spec, task, shots=0, seed=0) == first
    monkeypatch.undo()
    again = replace(runner, fresh=True).run("zero_shot", spec, task, shots=0, seed=0)
    assert (again.key, again.metrics) == (first.key, first.metrics)
    assert len(read(tmp_path / "elsewhere.jsonl")) == 2
    assert not (runner.out / "results.jsonl").exists()


def test_what_cannot_run_is_refused(task: vp.Task, make_runner: MakeRunner) -> None:
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        make_runner(epoch=1)
    runner, (base, new) = make_runner(), task.base_and_new()
    with pytest.raises(UsageError, match="linear_probe cannot be evaluated on classes it was not trained for"):
        runner.check([LearnerSpec.parse("coop"), LearnerSpec.parse("linear_probe")], base, {"new": new})
    with pytest.raises(UsageError, match="digits has no test images"):
        runner.check([LearnerSpec.parse("coop")], replace(task, test=()))


def test_names_and_hashes_do_not_depend_on_the_machine(task: vp.Task) -> None:
    assert without_path("ViT-B-16/openai") == "ViT-B-16/openai"
    assert without_path("local-dir:/disk/me/clip") == "clip"
    assert without_path("local-dir:/disk/me/clip/random") == "clip/random"
    assert joint_hash([task, task]) == task.split_hash
    base, new = task.base_and_new()
    assert joint_hash([base, new]) != joint_hash([new, base])
