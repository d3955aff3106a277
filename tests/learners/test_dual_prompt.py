"""DualPrompt: its equations image by image, and the reshape of the port."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.learners.pools import build, check_equations, scored
from tests.learners.vits import NAMES, small_vit
from vlprompt.errors import UsageError
from vlprompt.learners import DualPrompt, DualPromptConfig


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


def plain(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    s = torch.stack([F.cosine_similarity(query, key[0], dim=0) for key in learner.keys])
    best = len(s) - 1 if learner.training else int(s.argmax())
    pairs = {0: learner.general[0], 1: learner.experts[best][0], 2: learner.experts[best][1]}
    return scored(learner, image, pairs), s[best] * learner.config.pull


@pytest.mark.parametrize("training", [True, False])
def test_scores_loss_and_gradients_are_those_of_the_equations(vit: vp.Vit, training: bool) -> None:
    check_equations(build("dual_prompt", vit, tasks=2).train(training), plain)


def test_the_reshape_of_the_port_mixes_images_and_ours_does_not(vit: vp.Vit) -> None:
    """reference: sample 0 is given sample 1's keys as its values."""
    learner = build("dual_prompt", vit, tasks=2, reference_quirks=True).eval()
    ids = torch.tensor([[0, 1, 1, 0]])  # of one expert for each of four images
    keys, values = learner.prompt(ids[..., None]).prefixes[1]
    k, v = (torch.stack([each[0, part] for each in learner.experts]) for part in (0, 1))
    assert torch.equal(keys, torch.stack([k[0], k[1], v[0], v[1]]))
    assert torch.equal(values, torch.stack([k[1], k[0], v[1], v[0]]))
    right = build("dual_prompt", vit, tasks=2).eval().prompt(ids[..., None]).prefixes[1]
    assert torch.equal(right[0], k[ids[0]])
    assert torch.equal(right[1], v[ids[0]])


def test_with_two_experts_an_image_gets_the_keys_and_values_of_both(vit: vp.Vit) -> None:
    learner = build("dual_prompt", vit, tasks=2, top=2)
    assert len(learner.experts) == len(learner.keys) == 4
    queries = torch.randn(3, vit.embed_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ids, similarity = learner.train().choose(queries)
    assert ids.tolist() == [[[2, 3]] * 3], "training uses the task's own"
    nearest = learner.eval().choose(queries)[0]
    assert torch.equal(nearest, similarity.argsort(dim=-1, descending=True)[..., :2])
    keys, values = learner.prompt(ids).prefixes[1]
    for got, part in ((keys, 0), (values, 1)):
        both = torch.cat([learner.experts[2][0, part], learner.experts[3][0, part]])
        assert torch.equal(got, both.expand_as(got))
    assert torch.allclose(learner.usage(queries).sum(dim=1), torch.ones(3, dtype=torch.float64))


def test_two_experts_a_task_are_saved_and_opened(vit: vp.Vit) -> None:
    learner, other = build("dual_prompt", vit, tasks=2, top=2), build("dual_prompt", vit, tasks=1, top=2)
    other.restore({name: value.detach().clone() for name, value in learner.saved_tensors().items()}, "a test")
    assert all(torch.equal(a, b) for a, b in zip(learner.experts, other.experts, strict=True))


def test_what_cannot_work_is_refused(vit: vp.Vit) -> None:
    with pytest.raises(UsageError, match="no layer both kinds"):
        DualPromptConfig((0, 1), (1,))
    with pytest.raises(UsageError, match="layer 4, the image tower has 3"):
        DualPrompt(vit, NAMES)
