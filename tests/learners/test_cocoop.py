"""CoCoOp: the authors' numbers, and whole batches against one image at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import load_clip
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import cocoop
from vlprompt.learners.cocoop import CoCoOp, CoCoOpConfig

NAMED = {"ctx": "context"} | {
    f"meta_net.linear{i + 1}.{kind}": f"meta_net.{2 * i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")
}


@pytest.mark.parametrize("case", ["cocoop_m4_init_words", "cocoop_m4_batch1"])
def test_the_authors_numbers(shared: Path, case: str) -> None:
    golden = np.load(shared / "goldens" / "clip" / f"{case}.npz", allow_pickle=False)
    clip = load_clip(f"local-dir:{shared / 'goldens' / 'tiny_clip'}")
    learner = CoCoOp(clip, [str(name) for name in golden["classnames"]])

    def close(got: Tensor, key: str, tolerance: float) -> None:
        assert torch.allclose(got.detach(), torch.tensor(golden[key]), rtol=0, atol=tolerance), key

    close(learner.context, "init.ctx", 0)
    own = learner.trainable()
    with torch.no_grad():
        for theirs, ours in NAMED.items():
            own[ours].copy_(torch.tensor(golden[f"init.{theirs}"]))
    features = clip.encode_image(torch.tensor(golden["images"]))
    batch = Batch(torch.tensor(golden["labels"]).long(), torch.arange(len(features)), features=features)
    close(learner.shift(features), "meta_bias", 1e-6)
    close(learner.predict(batch), "logits", 1e-4)
    optimizer = torch.optim.SGD(own.values(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    losses = []
    for step in (1, 2, 3):
        optimizer.zero_grad()
        losses.append(learner.backward(batch))
        if step == 1:
            for theirs, ours in NAMED.items():
                largest = float(np.abs(golden[f"grad.{theirs}"]).max())
                close(own[ours].grad, f"grad.{theirs}", 1e-4 * largest)
        if step < 3:
            optimizer.step()
            for theirs, ours in NAMED.items():
                close(own[ours], f"step{step}.{theirs}", 5e-6)
    close(torch.stack(losses), "loss_steps", 2e-5)
    close(learner.predict(batch), "logits_final", 1e-4)


def test_a_batch_equals_its_images_one_at_a_time(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = CoCoOp(small, names)
    stir(learner)
    together = learner(batch)
    for i, feature in enumerate(batch.features):
        text = small.encode_text(learner.layout.fill((learner.context + learner.shift(feature[None]))[None]))[0]
        wanted = small.logit_scale * F.cosine_similarity(feature[None], text, dim=-1)
        assert torch.allclose(together[i], wanted, atol=1e-10)
    spread = together.std(dim=0).max()
    without = small.scores(batch.features, small.encode_text(learner.layout.fill(learner.context[None])))
    assert (together - without).abs().max() > 0.01 * spread, "the images shift nothing"


def test_few_images_at_once_at_test_time_change_nothing(
    small: Clip,
    names: tuple[str, ...],
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
    stir: Callable[[nn.Module], None],
) -> None:
    learner = CoCoOp(small, names)
    stir(learner)
    wanted = learner(batch)
    seen: list[int] = []
    text = learner.text
    monkeypatch.setattr(cocoop, "TEXTS_AT_ONCE", 3 * len(names) + 1)
    monkeypatch.setattr(learner, "text", lambda features: seen.append(len(features)) or text(features))
    assert torch.allclose(learner.predict(batch), wanted, atol=1e-10)
    assert seen == [3, 3, 3, 3]


def test_the_length_of_a_feature_does_not_matter(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = CoCoOp(small, names).double()
    assert torch.allclose(learner.shift(batch.features), learner.shift(17 * batch.features))


def test_new_names_use_the_same_prompt(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = CoCoOp(small, names)
    stir(learner)
    before = learner.predict(batch)
    learner.set_classes(names[:2])
    assert torch.allclose(learner.predict(batch), before[:, :2])


def test_the_network_depends_on_the_seed_and_the_global_state_stays(small: Clip, names: tuple[str, ...]) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (CoCoOp(small, names, CoCoOpConfig(words=""), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in a.trainable().items():
        assert torch.equal(value, b.trainable()[name])
        assert not torch.equal(value, c.trainable()[name])
    bound = 1 / small.embed_dim**0.5  # torch's default for a Linear
    assert 0.5 * bound < a.meta_net[0].weight.abs().max() <= bound


def test_sizes_and_refusals(small: Clip, names: tuple[str, ...]) -> None:
    learner = CoCoOp(small, names)
    assert [tuple(p.shape) for p in learner.meta_net.parameters()] == [(2, 32), (2,), (24, 2), (24,)]
    assert learner.context.shape == (4, 24)
    assert (cocoop.RECIPE.epochs, cocoop.RECIPE.batch_size, cocoop.RECIPE.lr) == (10, 1, 0.002)
    with pytest.raises(UsageError, match="n_ctx is -1"):
        CoCoOpConfig(n_ctx=-1)
