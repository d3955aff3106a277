"""VPT: its initial values, its equations against prompts among all tokens, and both kinds of backbones."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.backbones.architectures import by_hooks
from tests.learners.vits import NAMES, batch_for, small_vit, stirred
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import VPT, CoOp, VPTConfig
from vlprompt.learners.vpt import init_range
from vlprompt.methods import variants


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


@pytest.mark.parametrize("config", [VPTConfig(4), VPTConfig(4, depth=1), VPTConfig(4, depth=2), VPTConfig(4, 0, 0, 6)])
def test_scores_and_gradients_are_those_of_prompts_among_all_tokens(vit: vp.Vit, config: VPTConfig) -> None:
    learner: Any = stirred(VPT(vit, NAMES, config)).eval()
    batch = batch_for(vit)
    tokens = dict(enumerate(learner.projection(learner.prompts)))
    assert batch.images is not None
    wanted = by_hooks(vit.model, batch.images, tokens) @ learner.head.weight.T + learner.head.bias
    assert torch.allclose(learner(batch), wanted, rtol=1e-9, atol=1e-9)
    parameters = list(learner.trainable().values())
    ours = torch.autograd.grad(learner.loss(batch), parameters)
    theirs = torch.autograd.grad(F.cross_entropy(wanted, batch.labels), parameters)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9 * float(b.abs().max()))
        assert b.any()


def test_prompts_from_a_later_layer_on_lose_no_patch(vit: vp.Vit) -> None:
    """The published code deletes the first P patches there."""
    learner: Any = stirred(VPT(vit, NAMES, VPTConfig(4, start=1))).eval()
    batch = batch_for(vit)
    net, x = vit.model, vit.image_tokens.tower.embed(batch.images)[0]
    x = net.blocks[0](x)
    for prompt, block in zip(learner.prompts, net.blocks[1:], strict=True):
        x = block(torch.cat([x, prompt.expand(len(x), -1, -1)], 1))[:, : x.shape[1]]
    assert torch.allclose(learner(batch), learner.head(net.norm(x)[:, 0]), rtol=1e-9, atol=1e-9)


def test_initial_values_are_in_the_range_of_the_patch_projection() -> None:
    assert init_range((16, 16), 768) == pytest.approx(0.0625)
    assert init_range((32, 32), 768) == pytest.approx(0.0395, abs=5e-5)
    learner = VPT(small_vit(torch.float32), NAMES, VPTConfig(200))
    spread = init_range((8, 8), 24)
    assert learner.prompts.shape == (3, 200, 24)
    assert 0.99 * spread < learner.prompts.detach().abs().max() <= spread
    assert abs(float(learner.prompts.detach().mean())) < spread / 20


def test_the_published_size_of_prompts() -> None:
    """ViT-B, 50 prompts, 12 layers: 460,800 numbers."""
    assert 12 * variants("vpt")["vpt-deep"].config.n_prompts * 768 == 460_800


def test_dropout_differs_by_image_and_is_off_in_evaluation() -> None:
    vit = small_vit(torch.float32)
    learner = VPT(vit, NAMES, VPTConfig(4, dropout=0.5))
    torch.manual_seed(0)
    learner.train()
    tokens = learner.prompt(3).tokens[1]
    assert tokens.shape == (3, 4, 24)
    assert ((tokens[0] == 0) != (tokens[1] == 0)).any()
    kept = tokens != 0
    assert torch.allclose(tokens[kept], (2 * learner.prompts[1]).expand(3, -1, -1)[kept])
    assert torch.equal(learner.eval().prompt(3).tokens[1], learner.prompts[1])


def test_on_a_clip_class_names_are_the_classifier() -> None:
    clip = vp.load_clip("tiny")
    learner = VPT(clip, ["circle", "square"], VPTConfig(3, depth=2))
    assert set(learner.trainable()) == {"prompts"}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(2, dtype=torch.int64), torch.arange(2), images=images)
    learner.eval()
    wanted = clip.scores(clip.encode_image(images, learner.prompt(2)), learner.text)
    assert torch.equal(learner.predict(batch), wanted)
    learner.set_classes(["star", "circle", "square"])
    assert torch.allclose(learner.predict(batch)[:, 1:], wanted, atol=1e-4)
    assert isinstance(learner.backbone, Clip)


def test_what_cannot_work_is_refused(vit: vp.Vit) -> None:
    for config, reason in ((VPTConfig(2, depth=4), "has 3"), (VPTConfig(2, start=3), "has 3")):
        with pytest.raises(UsageError, match=reason):
            VPT(vit, NAMES, config)
    for name, wrong in {"n_prompts": 0, "dropout": 1.0, "projection": -1, "templates": ["a {}", "a"]}.items():
        with pytest.raises(UsageError, match=f"VPTConfig.{name} is "):
            VPTConfig(**{name: wrong})
    with pytest.raises(UsageError, match=r"coop needs a CLIP.*small is a ViT"):
        CoOp(vit, NAMES)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bias needs a ViT"):
        vp.learners.Bias(vp.load_clip("tiny"), NAMES)  # type: ignore[arg-type]
