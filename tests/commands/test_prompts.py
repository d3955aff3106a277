"""A saved prompt is opened with the frozen model that it names."""

from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt.commands.prompts import PromptOptions
from vlprompt.errors import UsageError, VlpromptError


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    vp.learners.CoOp(vp.load_clip("tiny"), ["one", "two"]).save(tmp_path / "coop")
    return tmp_path / "coop"


def test_the_model_is_found_by_its_name_or_given(prompt: Path) -> None:
    assert PromptOptions().load_prompt(prompt).classes == ("one", "two")
    learner = PromptOptions(backbone="tiny").load_prompt(prompt, ["three", "star"])
    assert (learner.method(), learner.classes) == ("coop", ("three", "star"))


def test_weights_need_a_model(prompt: Path) -> None:
    with pytest.raises(UsageError, match="give both"):
        PromptOptions(pretrained="openai").load_prompt(prompt)


def test_a_class_of_another_module_can_be_given(prompt: Path) -> None:
    assert PromptOptions(learner=("vlprompt.learners.coop:CoOp",)).load_prompt(prompt).method() == "coop"
    with pytest.raises(VlpromptError, match="no module 'nowhere'"):
        PromptOptions(learner=("nowhere:Mine",)).load_prompt(prompt)
