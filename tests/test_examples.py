"""The examples run, on the command line, in a sweep, and from Python."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

import vlprompt as vp
from vlprompt import methods
from vlprompt.data import transforms
from vlprompt.experiments import results_file
from vlprompt.testing import check_learner

ROOT = Path(__file__).parents[1]
OWN = f"{ROOT / 'examples' / 'own_learner.py'}:NearestMean"


def vlprompt(*arguments: str, folder: Path) -> str:
    """Run a command; what it prints."""
    command = [sys.executable, "-m", "vlprompt", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_method_of_ones_own_is_short_and_passes_the_checks() -> None:
    assert len((ROOT / "examples" / "own_learner.py").read_text().splitlines()) < 40
    check_learner(methods.learner_class(OWN))


@pytest.mark.usefixtures("cache")
def test_it_runs_in_few_shot_and_its_prompt_opens(tmp_path: Path) -> None:
    rows = ["--learners", OWN, "zero_shot", "--shots", "4", "--seeds", "1", "--set", "NearestMean.shrink=0.1"]
    table = vlprompt("few-shot", "--task", "digits", *rows, "--augment", "none", folder=tmp_path)
    assert "NearestMean" in table
    found = {result.learner: result for result in results_file.read(tmp_path / "runs" / "results.jsonl")}
    own = found["own_learner:NearestMean"]
    assert own.config == {"shrink": 0.1}
    assert own.metrics["top1"] > 0.5
    (prompt,) = (tmp_path / "runs" / "prompts").rglob("*NearestMean*/prompt.json")
    task, kind = vp.load_task("digits"), methods.learner_class(OWN)
    learner = vp.load(prompt.parent, vp.load_clip("tiny"), learner=kind)
    assert vp.evaluate(learner, task).metrics["top1"] == own.metrics["top1"]
    image = tmp_path / "digit.png"
    task.images.open(task.test[0].item).save(image)
    answer = vlprompt("predict", str(prompt.parent), str(image), "--learner", OWN, folder=tmp_path)
    assert learner.classify([image])[0].label in answer


@pytest.mark.usefixtures("cache")
def test_it_runs_in_a_sweep_with_two_workers(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(
        f'protocol = "few_shot"\ntask = "digits"\nlearners = ["{OWN}"]\nshots = [1, 2]\nseeds = [1, 2]\n'
        'set.train = { augment = "none" }\n'
    )
    vlprompt("sweep", "grid.toml", "--workers", "2", "--out", "swept", folder=tmp_path)
    found = results_file.read(tmp_path / "swept" / "results.jsonl")
    assert sorted((each.shots, each.seed) for each in found) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert {each.learner for each in found} == {"own_learner:NearestMean"}


def test_fit_from_python_equals_the_definition() -> None:
    """Without the text features the class means are plain means of normalised features."""
    kind = methods.learner_class(OWN)
    clip, task = vp.load_clip("tiny"), vp.load_task("digits").few_shot(2, seed=1)
    learner = kind(clip, task.classes, kind.Config(shrink=0.0))
    vp.fit(learner, task, vp.TrainConfig(augment="none"))
    transform = transforms.test_transform(clip.preprocess)
    images = torch.stack([transform(task.images.open(example.item)) for example in task.train])
    features = normalize(clip.encode_image(images), dim=-1)
    labels = torch.tensor([example.label for example in task.train])
    wanted = torch.stack([features[labels == number].sum(0) for number in range(10)])
    torch.testing.assert_close(learner.means, normalize(wanted, dim=-1))
