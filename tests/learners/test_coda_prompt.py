"""CODA-Prompt: its equations image by image, and components that are orthogonal to earlier ones."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.learners.pools import ALL, FIRST, build, check_equations, scored
from tests.learners.vits import NAMES, small_vit, task
from vlprompt.errors import UsageError
from vlprompt.learners import CODAPrompt, CODAPromptConfig


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


def plain(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pairs, penalty = {}, torch.zeros((), dtype=torch.float64)
    for j, layer in enumerate(learner.config.layers):
        k, a, p = (torch.cat([each[j] for each in part]) for part in (learner.keys, learner.attention, learner.prompts))
        w = [F.cosine_similarity(query * a[m], k[m], dim=0) for m in range(len(k))]
        whole = sum(w[m] * p[m] for m in range(len(k)))
        pairs[layer] = (whole[:2], whole[2:])
        for rows in (k, a, p.flatten(1)):
            penalty += ((rows @ rows.T - torch.eye(len(rows))) ** 2).mean()
    return scored(learner, image, pairs), -learner.config.ortho * penalty


@pytest.mark.parametrize("training", [True, False])
def test_scores_loss_and_gradients_are_those_of_the_equations(vit: vp.Vit, training: bool) -> None:
    check_equations(build("coda_prompt", vit, tasks=2).train(training), plain)


@pytest.mark.filterwarnings("ignore:a task has a single class")
def test_components_start_orthogonal_to_all_earlier_ones(vit: vp.Vit) -> None:
    learner = CODAPrompt(vit, FIRST, CODAPromptConfig(components=3, length=4, layers=(0, 2)))
    learner.begin_task(task(ALL, 2))
    assert learner.overlap().max() < 1e-10


def test_what_cannot_work_is_refused(vit: vp.Vit) -> None:
    with pytest.raises(UsageError, match="even"):
        CODAPromptConfig(length=3)
    with pytest.raises(UsageError, match="layer 4, the image tower has 3"):
        CODAPrompt(vit, NAMES)
