"""Options that several commands share."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from vlprompt.commands.options import RunOptions, TextRunOptions
from vlprompt.errors import UsageError, VlpromptWarning

PROTOCOLS = {
    "adapt": "domain_adaptation",
    "base_to_new": "base_to_new",
    "continual": "continual",
    "cross_dataset": "cross_dataset",
    "domain_shift": "domain_shift",
    "few_shot": "few_shot",
    "probe": "knowledge_probing",
    "sensitivity": "template_sensitivity",
    "test_time": "test_time",
}


@pytest.mark.parametrize(("command", "protocol"), PROTOCOLS.items())
def test_defaults_are_those_of_the_protocol(command: str, protocol: str) -> None:
    ours, theirs = (
        inspect.signature(import_module(module).run).parameters
        for module in (f"vlprompt.commands.{command}", f"vlprompt.experiments.protocols.{protocol}")
    )
    for name in {"shots", "seeds", "tasks", "tau", "test_shots"} & ours.keys() & theirs.keys():
        if theirs[name].default is not inspect.Parameter.empty:
            assert ours[name].default == theirs[name].default, name


def test_a_template_replaces_those_of_the_data_set() -> None:
    assert RunOptions().open_task().templates != ("the digit {}.",)
    assert RunOptions(template="the digit {}.").open_task().templates == ("the digit {}.",)


def test_label_words_and_unlabelled_texts_change_the_task() -> None:
    plain = TextRunOptions(task="reviews").open_task()
    task = TextRunOptions(task="reviews", words=("bad,awful", "good"), unlabelled=10).open_task()
    assert task.words == (("bad", "awful"), ("good",))
    assert len(task.unlabelled) == 10
    assert len(task.train) == len(plain.train) - 10


def test_settings_belong_to_the_learners_of_the_run(tmp_path: Path) -> None:
    options = RunOptions(set=("coop.n_ctx=4", "train.epochs=3"), out=tmp_path)
    (spec,) = options.specs(["coop"])
    assert spec.config.n_ctx == 4
    with pytest.raises(UsageError, match="unknown owner of settings 'coop'"):
        options.specs(["zero_shot"])


def test_training_settings_need_a_learner_that_is_trained(tmp_path: Path) -> None:
    options = RunOptions(augment="none", out=tmp_path)
    assert options.runner(options.specs(["zero_shot", "coop"])).training == {"augment": "none"}
    assert options.runner(options.specs(["zero_shot", "tip_adapter"])).training == {"augment": "none"}, "its views"
    views = RunOptions(augment="paper", out=tmp_path)
    with pytest.raises(UsageError, match="augment cannot be set"):
        views.runner(views.specs(["zero_shot", "linear_probe"]))


def test_a_template_that_some_learners_do_not_read_is_reported(tmp_path: Path) -> None:
    options = RunOptions(template="the digit {}.", out=tmp_path)
    with pytest.warns(VlpromptWarning, match="--template has no effect on coop, linear_probe"):
        options.runner(options.specs(["zero_shot", "coop", "linear_probe", "tip_adapter"]))


def test_training_settings_without_effect_are_refused_or_reported(tmp_path: Path) -> None:
    steps = RunOptions(set=("train.lr=5", "train.epochs=7"), out=tmp_path)
    with pytest.raises(UsageError, match="no learner of this run is trained in steps, so epochs, lr cannot be set"):
        steps.runner(steps.specs(["linear_probe"]))
    with pytest.warns(VlpromptWarning, match="linear_probe: not trained in steps, so epochs, lr cannot be set there"):
        steps.runner(steps.specs(["linear_probe", "coop"]))
    views = RunOptions(augment="none", out=tmp_path)
    for learner in ("tip_adapter", "linear_probe", "coop"):
        assert views.runner(views.specs([learner])).training == {"augment": "none"}

