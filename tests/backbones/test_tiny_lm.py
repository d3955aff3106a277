"""The bundled language model: its zero-shot accuracy, its README, and errors."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig
from vlprompt.data import catalog
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError

FOLDER = Path(str(files("vlprompt.backbones") / "tiny_lm"))
RIGHT, SWAPPED = (("terrible",), ("great",)), (("great",), ("terrible",))


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return vp.load_lm("tiny")


@pytest.fixture(scope="module")
def task() -> Task:
    return catalog.load_task("reviews")


def accuracy(lm: LanguageModel, task: Task, template: str, words: tuple[tuple[str, ...], ...]) -> float:
    learner = HardPrompt(lm, task.classes, HardPromptConfig(template=template, words=words))
    return vp.evaluate(learner, task, ("top1",)).metrics["top1"]


def test_it_separates_good_from_bad_without_training_and_swaps_with_the_words(tiny: LanguageModel, task: Task) -> None:
    """A falling loss would prove nothing; accuracies do. Chance is 50 %, its deviation 2 points."""
    for template in task.templates:
        right = accuracy(tiny, task, template, RIGHT)
        assert right > 0.75, template
        assert accuracy(tiny, task, template, SWAPPED) == pytest.approx(1 - right, abs=1e-9)
        assert accuracy(tiny, task, template, (("bad",), ("good",))) > 0.75, template
        assert 0.42 < accuracy(tiny, task, template, (("dog",), ("cat",))) < 0.58, "unrelated words"


def test_the_task_shares_no_text_with_another_split_and_has_half_of_each_class(task: Task) -> None:
    texts = [{example.item for example in split} for split in (task.train, task.val, task.test)]
    assert [len(own) for own in texts] == [200, 100, 600]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    assert sum(example.label for example in task.test) == 300


def test_it_is_small_and_states_its_limits(tiny: LanguageModel) -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3 * 2**20
    readme = (FOLDER / "README.md").read_text()
    assert "made-up language" in readme
    assert "says nothing about English" in readme
    assert tiny.name == "tiny"
    assert (tiny.kind, tiny.head) == ("masked", "rows only")
    assert tiny.model.dtype == torch.float32


def test_it_takes_every_kind_of_prompt(tiny: LanguageModel, task: Task) -> None:
    few = replace(task.few_shot(4, seed=1), test=task.test[:20])
    for kind, config in (
        (vp.cloze.PromptTuning, vp.cloze.PromptTuningConfig(length=3)),
        (vp.cloze.PrefixTuning, vp.cloze.PrefixTuningConfig(length=3, middle=8)),
        (vp.cloze.PTuningV2, vp.cloze.PTuningV2Config(length=3)),
    ):
        learner = kind.for_task(tiny, few, config)  # type: ignore[attr-defined]
        vp.fit(learner, few, replace(vp.cloze.prompt_tuning.RECIPE, epochs=1, batch_size=4))
        assert vp.evaluate(learner, few).scores.isfinite().all()


def test_a_word_outside_its_vocabulary_is_refused(tiny: LanguageModel) -> None:
    with pytest.raises(UsageError, match="' computer' of class 'no' is not in the vocabulary of tiny"):
        HardPrompt(tiny, ["no", "yes"], HardPromptConfig(words=(("computer",), ("great",))))


def test_a_damaged_copy_is_one_line(tmp_path: Path) -> None:
    for file in FOLDER.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(VlpromptError, match="could not be loaded") as caught:
        vp.load_lm(f"local-dir:{tmp_path}")
    assert "\n" not in str(caught.value)
