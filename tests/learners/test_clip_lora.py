"""CLIP-LoRA: against merged weights, with the shared model left alone, and its training by steps."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import clip_lora
from vlprompt.learners.clip_lora import CLIPLoRA, CLIPLoRAConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit
from vlprompt.training.optimizer import learning_rate


class Repeated:
    """One batch, three times an epoch."""

    waited = 0.0

    def __init__(self, batch: Batch) -> None:
        self.batch, self.size = batch, 3 * len(batch)

    def __len__(self) -> int:
        return 3

    def epoch(self, number: int) -> list[Batch]:
        return [self.batch] * 3


def merged(learner: CLIPLoRA, small: Clip) -> nn.Module:
    """The library's own model with B A added to its weights."""
    model = copy.deepcopy(small.model)
    towers = {"both": (model.transformer, model.visual.transformer), "text": (model.transformer,)}
    towers["vision"] = (model.visual.transformer,)
    blocks = [block for tower in towers[learner.config.towers] for block in tower.resblocks]
    assert len(blocks) == len(learner.layers)
    for block, layer in zip(blocks, learner.layers, strict=True):
        change = torch.cat([up @ down for up, down in zip(layer.up, layer.down, strict=True)])
        rank = layer.down.shape[1]
        block.attn.in_proj_weight.data += learner.config.alpha / math.sqrt(rank) * change.detach()
    return model


@pytest.mark.parametrize("towers", ["both", "text", "vision"])
def test_scores_are_those_of_merged_weights(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None], towers: str
) -> None:
    learner = CLIPLoRA(small, names, CLIPLoRAConfig(rank=3, alpha=1.5, towers=towers)).eval()
    plain = learner.predict(batch)
    stir(learner)
    model = merged(learner, small)
    texts = small.tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in names])
    image, text = model.encode_image(batch.images, normalize=True), model.encode_text(texts, normalize=True)
    wanted = small.logit_scale * image @ text.T
    assert torch.allclose(learner.predict(batch), wanted, atol=1e-9)
    assert (wanted - plain).abs().max() > 0.1, "the change shows nothing"


def test_at_the_start_it_is_the_frozen_model(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = CLIPLoRA(small, names).double()
    text = small.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names])
    assert torch.allclose(learner(batch), small.scores(batch.features, text), atol=1e-9)
    bounds = [float(layer.down.detach().abs().max()) * layer.down.shape[-1] ** 0.5 for layer in learner.layers]
    assert all(0.5 < bound <= 1 for bound in bounds), "A starts as torch starts a Linear"


def test_learners_on_one_model_do_not_touch_each_other(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    before = {name: value.clone() for name, value in small.model.state_dict().items()}
    types = [type(module) for module in small.model.modules()]
    first, second = CLIPLoRA(small, names).double().eval(), CLIPLoRA(small, names, seed=1).double().eval()
    untouched = second.predict(batch)
    stir(first)
    fit(first, Repeated(batch), TrainConfig(epochs=1, lr=0.1))
    assert torch.equal(second.predict(batch), untouched)
    assert (first.predict(batch) - untouched).abs().max() > 0.1
    assert torch.equal(small.encode_image(batch.images), batch.features)
    assert [type(module) for module in small.model.modules()] == types
    assert all(torch.equal(value, before[name]) for name, value in small.model.state_dict().items())
    assert {id(p) for p in small.parameters()} <= {id(p) for p in first.adapted.parameters()}, "weights were copied"


def fixed_loss(learner: CLIPLoRA, batch: Batch) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return learner.loss(batch)


@pytest.mark.parametrize("chunk_tokens", [2048, 6])  # with 6 texts are encoded one by one, and again going backward
def test_the_gradient_with_dropout_is_the_slope(
    make_small: Callable[..., Clip],
    names: tuple[str, ...],
    batch: Batch,
    stir: Callable[[nn.Module], None],
    chunk_tokens: int,
) -> None:
    learner = CLIPLoRA(make_small(chunk_tokens=chunk_tokens), names, CLIPLoRAConfig(dropout=0.5)).train()
    stir(learner)
    loss = fixed_loss(learner, batch)
    loss.backward()
    assert (loss - learner.eval().loss(batch)).abs() > 1e-3, "there is no dropout"
    learner.train()
    for name, parameter in learner.trainable().items():
        place = int(parameter.grad.abs().argmax())
        slope = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter.view(-1)[place] += step
                slope.append(float(fixed_loss(learner, batch)))
                parameter.view(-1)[place] -= step
        wanted = (slope[0] - slope[1]) / 2e-5
        assert float(parameter.grad.view(-1)[place]) == pytest.approx(wanted, rel=1e-5), name


def test_queries_keys_and_values_have_separate_dropout(small: Clip, names: tuple[str, ...]) -> None:
    layer = CLIPLoRA(small, names, CLIPLoRAConfig(rank=1, dropout=0.5)).layers[0].double()
    layer.down.data[:], layer.up.data[:] = 1.0, 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        q, k, v = layer.train()(torch.ones(50, 24, dtype=torch.float64)).detach().chunk(3, dim=-1)
    assert not torch.equal(q, k)
    assert not torch.equal(k, v)
    assert q.mean() == pytest.approx(24, rel=0.1)
    assert layer.eval()(torch.ones(1, 24, dtype=torch.float64)).tolist() == [[24.0] * 72]


def test_evaluation_has_no_dropout(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = CLIPLoRA(small, names)
    stir(learner)
    assert not torch.equal(learner.train()(batch), learner(batch))
    assert torch.equal(learner.eval()(batch), learner(batch))


def test_a_tower_without_such_attention_is_refused(make_small: Callable[..., Clip], names: tuple[str, ...]) -> None:
    resnet = make_small(vision={"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None})
    with pytest.raises(UsageError, match=r"vision tower \(ModifiedResNet\) has no attention"):
        CLIPLoRA(resnet, names)
    assert len(CLIPLoRA(resnet, names, CLIPLoRAConfig(towers="text")).layers) == 2


def test_new_names_use_the_same_weights(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = CLIPLoRA(small, names).eval()
    stir(learner)
    before = learner.predict(batch)
    learner.set_classes([names[2], names[0]])
    assert torch.allclose(learner.predict(batch), before[:, [2, 0]])


def test_training_is_limited_by_steps_and_the_rate_falls_with_each(
    small: Clip, names: tuple[str, ...], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = CLIPLoRA(small, names)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7, eta_min=1e-6)
    wanted = []
    for _ in range(7):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    used: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW) -> None:
        used.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    config = replace(clip_lora.recipe(16), steps=7)
    report = fit(learner, Repeated(batch), config)
    assert used == pytest.approx(wanted, rel=1e-9)
    assert len(report.losses) == 3, "two epochs of three steps and one of one"
    assert learning_rate(config, 0, 7 / 3) == 2e-4
    used.clear()
    fit(learner, Repeated(batch), replace(config, epochs=1))
    assert len(used) == 3, "fewer epochs come first"


def test_the_loss_falls(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = CLIPLoRA(small, names).double()
    losses = fit(learner, Repeated(batch), replace(clip_lora.recipe(1), lr=2e-2, steps=30)).losses
    assert losses[-1] < 0.7 * losses[0]
    assert F.cross_entropy(learner.predict(batch), batch.labels) < losses[0]


def test_settings() -> None:
    recipe = clip_lora.recipe(4)
    assert (recipe.steps, recipe.lr, recipe.weight_decay, recipe.lr_end) == (2000, 2e-4, 0.01, 1e-6)
    for wrong in ({"rank": 0}, {"dropout": 1.0}, {"alpha": 0.0}, {"towers": "visin"}, {"template": "a photo"}):
        with pytest.raises(UsageError, match=rf"CLIPLoRAConfig.{next(iter(wrong))}( is|.*did you mean)"):
            CLIPLoRAConfig(**wrong)
