"""Experiments as TOML files: parts, streams, mistakes, variables."""

from dataclasses import replace
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt import checkpoint
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.experiments import results_file
from vlprompt.experiments.protocols import few_shot
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.sweep.experiment import Experiment, expand, read

FILES = Path(__file__).parents[2] / "experiment_files"
SMALL = (FILES / "small.toml").read_text()
STREAM = (FILES / "stream.toml").read_text()


def read_text(text: str, folder: Path) -> Experiment:
    file = folder / "wrong.toml"
    file.write_text(text)
    return read(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learners", "learner", "did you mean 'learners'"),
        ('"few_shot"', '"few_shots"', "did you mean 'few_shot'"),
        ('"coop"', '"coopp"', "did you mean 'coop'"),
        ('"coop"', '"coop:cocop-paper"', "did you mean 'cocoop-paper'"),
        ("n_ctx", "n_ctxx", "did you mean 'n_ctx'"),
        ("coop = {", "kgcoop = {", "did you mean 'coop'"),
        ("epochs", "epoch", "did you mean 'epochs'"),
        ("epochs = 1", "epochs = -1", "TrainConfig.epochs is -1"),
        ('augment = "none"', 'augment = "much"', "'cached:K'"),
        ("[1, 2]", "3", "a list of numbers"),
        ('"few_shot"', '"base_to_new"', "one number"),
        ("seeds = [1]", 'seeds = ["1"]', "a list, each a whole number"),
        ("seeds = [1]", 'targets = ["digits"]', "takes no targets"),
        ("seeds = [1]", 'pseudo = ["coop"]', "few_shot takes no pseudo"),
        ('"few_shot"', '"cross_dataset"', "needs targets"),
        ('task = "digits"\n', "", "'task'"),
        ('task = "digits"', "task digits", "not TOML"),
        ("seeds = [1]", "grid.lr = 0.1", "a list of values for each setting"),
    ],
)
def test_a_mistake_is_a_one_line_error(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in SMALL
    with pytest.raises(UsageError) as error:
        read_text(SMALL.replace(old, new, 1), tmp_path)
    assert str(error.value).startswith("wrong.toml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("[[part]]\nshots = [1]", "part is {'shots': [1]}; it must be a table of learners"),
        ('[[part]]\nlearners = ["coop"]\ntask = "digits-c"', "it must be a table of learners"),
        ('[[part]]\nlearners = ["coop"]\nset.kgcoop.n_ctx = 2', "unknown owner of settings 'kgcoop'"),
        ('[[part]]\nlearners = ["coop"]\nshots = 1', "shots is 1"),
    ],
)
def test_a_wrong_part_is_refused(part: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read_text(f"{SMALL}\n{part}\n", tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tasks = 2", "task = 2", "unknown setting of a stream 'task'; did you mean 'tasks'"),
        ("tasks = 2", 'tasks = "2"', "stream.tasks is '2'; it must be of type int"),
        ('"continual"', '"zero_shot"', "takes no joint"),
        ('masked = ["linear"]', 'masked = ["linea"]', "did you mean 'linear'"),
        ("shots = 2", "shots = [2]", "one number"),
    ],
)
def test_a_wrong_stream_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read_text(STREAM.replace(old, new, 1), tmp_path)
    assert message in str(error.value)


def test_experiments_in_python_are_checked_too() -> None:
    with pytest.raises(UsageError, match="did you mean 'base_to_new'"):
        Experiment("base_to_now", "digits", ("coop",))
    with pytest.raises(UsageError, match="shots is 1; for domain_adaptation it must be left out"):
        Experiment("domain_adaptation", "photos", ("coop",), shots=1)


def test_variables_have_the_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLPROMPT_SHARED", raising=False)
    with pytest.raises(VlpromptError, match="a variable that is not set"):
        expand("$VLPROMPT_SHARED/data")
    monkeypatch.setenv("VLPROMPT_SHARED", "/there")
    assert expand("local-dir:${VLPROMPT_SHARED}/models/lit_tiny") == "local-dir:/there/models/lit_tiny"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("local-dir:../away/models/lit_tiny", "lit_tiny"),
        ("local-dir:/away/random_models/lit_tiny/", "lit_tiny"),
        ("local-dir:/away/lit_tiny/random", "lit_tiny/random"),
        ("ViT-B-16/openai", "ViT-B-16/openai"),
        ("hf-hub:org/model", "hf-hub:org/model"),
        ("tiny", "tiny"),
    ],
)
def test_results_name_a_local_backbone_without_its_path(name: str, shown: str, tmp_path: Path) -> None:
    clip = vp.load_clip("tiny")
    clip.name = name
    file = tmp_path / "elsewhere" / "results.jsonl"
    runner = Runner(clip, tmp_path / "out", FeatureStore(tmp_path / "store"), {}, quiet=True, results=file)
    task = vp.load_task("digits")
    task = replace(task, test=task.test[:20])
    (result,) = few_shot.run(runner, task, [LearnerSpec.parse("zero_shot")])
    assert results_file.read(file) == [result]
    assert result.backbone == shown
    (prompt,) = (tmp_path / "out" / "prompts").rglob("prompt.json")
    assert checkpoint.load(prompt.parent)[1]["backbone"] == name, "so that the prompt finds its backbone again"
