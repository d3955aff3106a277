"""L2P: its equations image by image, the vote of a batch, and the prompt mask."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.learners.pools import build, check_equations
from tests.learners.vits import NAMES, batch_for, small_vit, task
from vlprompt.errors import UsageError
from vlprompt.learners import L2P, L2PConfig
from vlprompt.prompts.pool import cosine


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


def plain(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    s = torch.stack([F.cosine_similarity(query, key, dim=0) for key in learner.keys])
    best = sorted(range(len(s)), key=lambda m: -float(s[m].detach()))[: learner.config.top]
    prompts = torch.cat([learner.pool[m] for m in best])
    net = learner.backbone.model
    x = net._pos_embed(net.patch_embed(image[None]))
    x = torch.cat([x[:, :1], prompts[None], x[:, 1:]], dim=1)
    x = net.norm(net.blocks(x))[0, 1 : 1 + len(prompts)].mean(dim=0)
    return learner.head.weight @ x + learner.head.bias, sum(s[m] for m in best) * learner.config.pull


@pytest.mark.parametrize("training", [True, False])
def test_scores_loss_and_gradients_are_those_of_the_equations(vit: vp.Vit, training: bool) -> None:
    check_equations(build("l2p", vit, tasks=2).train(training), plain)


def test_the_batch_votes_only_when_asked(vit: vp.Vit) -> None:
    learner = build("l2p", vit, vote="batch").eval()
    batch = batch_for(vit)
    assert batch.features is not None
    ids, similarity = learner.choose(batch.features)
    votes = similarity.topk(2, dim=1).indices.flatten().tolist()
    wanted = sorted(range(6), key=lambda m: (-votes.count(m), m))[:2]
    assert ids.tolist() == [wanted] * len(batch)
    assert L2PConfig().vote == "image"


@pytest.mark.filterwarnings("ignore:a task has a single class")
def test_a_prompt_mask_gives_each_task_its_own_prompts_while_there_are_some(vit: vp.Vit) -> None:
    learner = L2P(vit, NAMES, L2PConfig(pool=4, length=2, top=2, prompt_mask=True, share=True)).train()
    queries = torch.randn(5, 24, generator=torch.Generator().manual_seed(1))
    assert learner.choose(queries)[0].tolist() == [[0, 1]] * 5
    learner.begin_task(task(NAMES, 0))
    assert learner.choose(queries)[0].tolist() == [[2, 3]] * 5
    assert torch.equal(learner.pool[2:], learner.pool[:2])
    learner.begin_task(task(NAMES, 1))
    nearest = cosine(queries, learner.keys).topk(2, dim=1).indices
    assert torch.equal(learner.choose(queries)[0], nearest)
    assert torch.equal(learner.eval().choose(queries)[0], nearest)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"top": 11}, "from 1 to pool 10"),
        ({"vote": "all"}, r"unknown L2PConfig\.vote"),
        ({"start": (1.0,)}, "two in all"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        L2PConfig(**values)
