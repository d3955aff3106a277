"""L2P, DualPrompt and CODA-Prompt: their equations image by image, growth, masks, and what freezes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit, stirred
from vlprompt import learners
from vlprompt.backbones.prompts import VisualPrompt
from vlprompt.data import Example, Task
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import (
    L2P,
    CODAPrompt,
    CODAPromptConfig,
    DualPrompt,
    DualPromptConfig,
    L2PConfig,
    Linear,
    PromptLearner,
)
from vlprompt.pool import Pooled, cosine, orthonormal

FIRST, ALL = NAMES[:2], NAMES[:4]
CONFIGS: dict[str, Any] = {
    "l2p": L2PConfig(pool=6, length=3, top=2),
    "dual_prompt": DualPromptConfig((0,), (1, 2), 2, 3),
    "coda_prompt": CODAPromptConfig(components=3, length=4, layers=(0, 2), ortho=0.3),
}


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


@pytest.fixture(params=CONFIGS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def task(classes: tuple[str, ...], *labels: int) -> Task:
    return Task("stream", classes, train=tuple(Example(i, label) for i, label in enumerate(labels)))


def build(method: str, vit: vp.Vit, tasks: int = 1, **changes: Any) -> Any:
    """A learner at its second task if there are two, every tensor stirred."""
    config = type(CONFIGS[method])(**{**vars(CONFIGS[method]), **changes})
    learner = learners.learner_class(method)(vit, FIRST if tasks > 1 else ALL, config)
    if tasks > 1:
        learner.begin_task(task(ALL, 2, 3))
    stirred(learner)
    for tensor in learner.found().values():
        tensor.data = tensor.data.double()
    return learner


def by_l2p(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One image's scores and what its loss takes off, in words of the paper."""
    s = torch.stack([F.cosine_similarity(query, key, dim=0) for key in learner.keys])
    best = sorted(range(len(s)), key=lambda m: -float(s[m].detach()))[: learner.config.top]
    prompts = torch.cat([learner.pool[m] for m in best])
    net = learner.backbone.model
    x = net._pos_embed(net.patch_embed(image[None]))
    x = torch.cat([x[:, :1], prompts[None], x[:, 1:]], dim=1)
    x = net.norm(net.blocks(x))[0, 1 : 1 + len(prompts)].mean(dim=0)
    return learner.head.weight @ x + learner.head.bias, sum(s[m] for m in best) * learner.config.pull


def by_dual(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    s = torch.stack([F.cosine_similarity(query, key[0], dim=0) for key in learner.keys])
    best = len(s) - 1 if learner.training else int(s.argmax())
    pairs = {0: learner.general[0], 1: learner.experts[best][0], 2: learner.experts[best][1]}
    return scored(learner, image, pairs), s[best] * learner.config.pull


def by_coda(learner: Any, image: torch.Tensor, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pairs, penalty = {}, torch.zeros((), dtype=torch.float64)
    for j, layer in enumerate(learner.config.layers):
        k, a, p = (torch.cat([each[j] for each in part]) for part in (learner.keys, learner.attention, learner.prompts))
        w = [F.cosine_similarity(query * a[m], k[m], dim=0) for m in range(len(k))]
        whole = sum(w[m] * p[m] for m in range(len(k)))
        pairs[layer] = (whole[:2], whole[2:])
        for rows in (k, a, p.flatten(1)):
            penalty += ((rows @ rows.T - torch.eye(len(rows))) ** 2).mean()
    return scored(learner, image, pairs), -learner.config.ortho * penalty


def scored(learner: Any, image: torch.Tensor, pairs: Any) -> torch.Tensor:
    prompt = VisualPrompt(prefixes={layer: (pair[0], pair[1]) for layer, pair in pairs.items()})
    return learner.head.weight @ learner.backbone.encode_image(image[None], prompt)[0] + learner.head.bias


PLAIN: dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
    "l2p": by_l2p, "dual_prompt": by_dual, "coda_prompt": by_coda
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_scores_loss_and_gradients_are_those_of_the_equations(method: str, vit: vp.Vit, training: bool) -> None:
    learner = build(method, vit, tasks=2).train(training)
    batch = batch_for(vit)
    batch = Batch(2 + batch.labels % 2, batch.index, images=batch.images, features=batch.features)
    assert batch.images is not None
    assert batch.features is not None
    each = [PLAIN[method](learner, image, q) for image, q in zip(batch.images, batch.features, strict=True)]
    scores = torch.stack([row for row, _ in each])
    if training:
        scores = torch.cat([torch.full_like(scores[:, :2], -torch.inf), scores[:, 2:]], dim=1)
    assert torch.allclose(learner(batch), scores, rtol=1e-9, atol=1e-9)
    wanted = F.cross_entropy(scores, batch.labels) - torch.stack([off for _, off in each]).mean()
    loss = learner.loss(batch)
    assert torch.allclose(loss, wanted, rtol=1e-9)
    parameters = list(learner.trainable().values())
    ours, theirs = (
        torch.autograd.grad(each, parameters, allow_unused=True, materialize_grads=True) for each in (loss, wanted)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_answer_does_not_depend_on_the_batch(method: str, vit: vp.Vit, size: int) -> None:
    learner = build(method, vit, tasks=2).eval()
    batch = batch_for(vit, 64)
    assert batch.images is not None
    assert batch.features is not None
    whole = learner.predict(batch)
    assert len({tuple(row.tolist()) for row in learner.usage(batch.features)}) > 1, "all images choose alike"
    for first in range(0, 64, size):
        rows = slice(first, first + size)
        part = Batch(batch.labels[rows], batch.index[rows], batch.images[rows], batch.features[rows])
        assert torch.allclose(learner.predict(part), whole[rows], rtol=1e-9, atol=1e-9)


def test_a_task_grows_what_it_needs_and_freezes_the_rest(method: str, vit: vp.Vit) -> None:
    learner: Any = learners.learner_class(method)(vit, FIRST, CONFIGS[method])
    before = {name: tensor.detach().clone() for name, tensor in learner.trainable().items()}
    learner.head.weight.data.fill_(0.5)
    learner.begin_task(task(ALL, 3, 2, 2))
    assert learner.classes == ALL
    assert learner.head.present.tolist() == [False, False, True, True]
    assert torch.equal(learner.head.weight[:2], torch.full_like(learner.head.weight[:2], 0.5))
    assert not learner.head.weight[2:].any()
    for name, tensor in learner.found().items():
        assert torch.equal(tensor, before[name])
        assert not tensor.requires_grad
    assert bool(learner.found()) == (method != "l2p")
    with pytest.raises(UsageError, match="cannot change its classes"):
        learner.begin_task(task(("boat", "dog")))
    learner.begin_task(task(ALL, 0, 1, 2, 3))  # another domain of the same classes
    assert learner.head.present.all()


def test_a_grown_learner_is_saved_and_loaded(method: str, vit: vp.Vit, tmp_path: Any) -> None:
    single = small_vit(torch.float32)
    learner: Any = learners.learner_class(method)(single, FIRST, CONFIGS[method])
    learner.begin_task(task(ALL, 2, 3))
    learner.begin_task(task(NAMES, 4))
    learner.head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    learner.save(tmp_path)
    again = vp.load(tmp_path, single)
    batch = batch_for(single)
    assert torch.equal(again.predict(batch), learner.eval().predict(batch))
    assert again.trainable().keys() == learner.trainable().keys()
    assert isinstance(again, Pooled)


def test_the_batch_votes_only_when_asked(vit: vp.Vit) -> None:
    learner = build("l2p", vit, vote="batch").eval()
    batch = batch_for(vit)
    assert batch.features is not None
    ids, similarity = learner.choose(batch.features)
    votes = similarity.topk(2, dim=1).indices.flatten().tolist()
    wanted = sorted(range(6), key=lambda m: (-votes.count(m), m))[:2]
    assert ids.tolist() == [wanted] * len(batch)
    assert L2PConfig().vote == "image"


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


def test_the_reshape_of_the_port_mixes_images_and_ours_does_not(vit: vp.Vit) -> None:
    """reference: sample 0 is given sample 1's keys as its values."""
    learner = build("dual_prompt", vit, tasks=2, reference_quirks=True).eval()
    ids = torch.tensor([[0, 1, 1, 0]])
    keys, values = learner.prompt(ids).prefixes[1]
    k, v = (torch.stack([each[0, part] for each in learner.experts]) for part in (0, 1))
    assert torch.equal(keys, torch.stack([k[0], k[1], v[0], v[1]]))
    assert torch.equal(values, torch.stack([k[1], k[0], v[1], v[0]]))
    right = build("dual_prompt", vit, tasks=2).eval().prompt(ids).prefixes[1]
    assert torch.equal(right[0], k[ids[0]])
    assert torch.equal(right[1], v[ids[0]])


def test_components_start_at_right_angles_to_all_before(vit: vp.Vit) -> None:
    learner = CODAPrompt(vit, FIRST, CODAPromptConfig(components=3, length=4, layers=(0, 2)))
    learner.begin_task(task(ALL, 2))
    assert learner.overlap().max() < 1e-10
    few = orthonormal(torch.eye(4)[:3], 3, seed=0)
    assert torch.allclose(few @ few.T, torch.eye(3), atol=1e-6)
    assert torch.allclose(orthonormal(torch.zeros(0, 4), 6, seed=0).norm(dim=1), torch.ones(6))


def test_a_head_of_any_method_grows_and_is_masked() -> None:
    vit = small_vit(torch.float32)
    learner: PromptLearner[Any] = Linear(vit, FIRST)
    learner.begin_stream(masked=True)
    assert not any(tensor.any() for tensor in learner.trainable().values())
    learner.begin_task(task(ALL, 2, 3))
    batch = batch_for(vit, 2)
    assert learner.train()(batch)[:, :2].isinf().all()
    assert learner.eval()(batch).isfinite().all()
    with pytest.raises(UsageError, match="no linear head"):
        vp.learners.CoOp(vp.load_clip("tiny"), ["circle", "square"]).begin_stream(masked=True)


def test_a_clip_gives_its_image_tower(method: str) -> None:
    clip = vp.load_clip("tiny")
    layers = {"dual_prompt": {"general_layers": (0,), "expert_layers": (1,)}, "coda_prompt": {"layers": (0, 1)}}
    config = type(CONFIGS[method])(**layers.get(method, {}))
    learner = learners.learner_class(method)(clip, FIRST, config)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert learner.eval().predict(learner.batch_of(images)).shape == (3, 2)


def test_what_cannot_work_is_refused(vit: vp.Vit) -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: L2PConfig(top=11), "from 1 to pool 10"),
        (lambda: L2PConfig(vote="all"), "unknown vote"),  # type: ignore[arg-type]
        (lambda: L2PConfig(start=(1.0,)), "two numbers"),
        (lambda: DualPromptConfig((0, 1), (1,)), "no layer both kinds"),
        (lambda: CODAPromptConfig(length=3), "even"),
        (lambda: DualPrompt(vit, NAMES), "layer 4, the image tower has 3"),
        (lambda: CODAPrompt(vit, NAMES), "layer 4, the image tower has 3"),
    ]
    for make, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            make()
