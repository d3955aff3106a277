"""Pools of prompts: what L2P, DualPrompt and CODA-Prompt share, and the vectors that components start from."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.learners.pools import ALL, CONFIGS, FIRST, build
from tests.learners.vits import NAMES, batch_for, small_vit, task
from vlprompt import methods
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.prompts.pool import Pooled, orthonormal, rows


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


@pytest.fixture(params=CONFIGS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rows_are_those_of_the_pool_and_their_gradient_is_the_same_every_time() -> None:
    pool, ids = torch.randn(6, 5, 384, requires_grad=True), torch.randint(6, (64, 4))
    assert torch.equal(rows(pool, ids), pool[ids])
    factors = torch.randn(64, 4, 5, 384)
    first, *others = (torch.autograd.grad((rows(pool, ids) * factors).sum(), pool)[0] for _ in range(5))
    assert all(torch.equal(each, first) for each in others)
    wanted = torch.stack([factors[ids == row].sum(dim=0) for row in range(6)])
    assert torch.allclose(first, wanted, rtol=1e-4, atol=1e-4)


def test_images_differ_in_the_prompts_that_they_use(method: str, vit: vp.Vit) -> None:
    usage = build(method, vit, tasks=2).eval().usage(batch_for(vit, 64).features)
    assert len(usage) == 64
    assert len({tuple(row.tolist()) for row in usage}) > 1


def test_a_task_grows_what_it_needs_and_freezes_the_rest(method: str, vit: vp.Vit) -> None:
    learner: Any = methods.learner_class(method)(vit, FIRST, CONFIGS[method])
    before = {name: tensor.detach().clone() for name, tensor in learner.trainable().items()}
    learner.head.weight.data.fill_(0.5)
    learner.begin_task(task(ALL, 3, 2, 2))
    assert learner.classes == ALL
    assert learner.head.present.tolist() == [False, False, True, True]
    assert torch.equal(learner.head.weight[:2], torch.full_like(learner.head.weight[:2], 0.5))
    assert not learner.head.weight[2:].any()
    frozen = {name: each for name, each in learner.saved_tensors().items() if name not in learner.trainable()}
    for name, tensor in frozen.items():
        assert torch.equal(tensor, before[name])
        assert not tensor.requires_grad
    assert bool(frozen) == (method != "l2p")
    with pytest.raises(UsageError, match="cannot change its classes"):
        learner.begin_task(task(("boat", "dog")))
    learner.begin_task(task(ALL, 0, 1, 2, 3))  # another domain of the same classes
    assert learner.head.present.all()


@pytest.mark.filterwarnings("ignore:a task has a single class")
def test_a_grown_learner_is_saved_and_loaded(method: str, tmp_path: Path) -> None:
    single = small_vit(torch.float32)
    learner: Any = methods.learner_class(method)(single, FIRST, CONFIGS[method])
    learner.begin_task(task(ALL, 2, 3))
    learner.begin_task(task(NAMES, 4))
    learner.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    learner.save(tmp_path)
    again = vp.load(tmp_path, single)
    batch = batch_for(single)
    assert torch.equal(again.predict(batch), learner.eval().predict(batch))
    assert again.trainable().keys() == learner.trainable().keys()
    assert isinstance(again, Pooled)


def test_a_clip_gives_its_image_tower(method: str) -> None:
    clip = vp.load_clip("tiny")
    layers = {"dual_prompt": {"general_layers": (0,), "expert_layers": (1,)}, "coda_prompt": {"layers": (0, 1)}}
    config = type(CONFIGS[method])(**layers.get(method, {}))
    learner = methods.learner_class(method)(clip, FIRST, config)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(3, dtype=torch.int64), torch.arange(3), images, clip.encode_image(images))
    assert learner.eval().predict(batch).shape == (3, 2)


def test_vectors_are_orthonormal_as_far_as_the_width_allows() -> None:
    past = torch.eye(8)[:3]
    new = orthonormal(past, 3, seed=0)
    every = torch.cat([past, new])
    assert torch.allclose(every @ every.T, torch.eye(6), atol=1e-6)
    few = orthonormal(torch.eye(4)[:3], 3, seed=0)
    assert torch.allclose(few @ few.T, torch.eye(3), atol=1e-6)
    assert torch.allclose(orthonormal(torch.zeros(0, 4), 6, seed=0).norm(dim=1), torch.ones(6))
