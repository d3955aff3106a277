"""Tip-Adapter-F: its training written out with torch's own schedule, and its choice of an epoch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlprompt import methods
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches, feature_batches
from vlprompt.errors import UsageError
from vlprompt.learners import tip_adapter_f
from vlprompt.learners.tip_adapter_f import TipAdapterF, TipAdapterFConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

SETTINGS = TrainConfig(
    epochs=4, batch_size=5, lr=0.01, optimizer="adamw", weight_decay=0.01, eps=1e-4, per_step=True, warmup="none"
)


@pytest.fixture
def train(batch: Batch) -> Batches:
    return feature_batches(batch.features, batch.labels, batch_size=5, seed=2)


@pytest.fixture
def val(batch: Batch) -> Batches:
    noise = torch.randn(40, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows = torch.arange(40) % 12
    return feature_batches(batch.features[rows] + 1.5 * noise, batch.labels[rows], batch_size=16)


def learner_of(small: Clip, names: tuple[str, ...]) -> TipAdapterF:
    return TipAdapterF(small, names, TipAdapterFConfig(views=1, alpha=3.0, beta=2.0)).double()


def test_training_written_out(small: Clip, names: tuple[str, ...], train: Batches) -> None:
    learner = learner_of(small, names)
    fit(learner, train, SETTINGS)
    start = learner_of(small, names)
    start.prepare(train, None)
    keys = start.cache.keys.detach().clone().requires_grad_()
    values = F.one_hot(start.cache.labels, 5).double()
    text = F.normalize(start.text, dim=-1)
    optimizer = torch.optim.AdamW([keys], lr=0.01, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4 * len(train))
    for epoch in range(4):
        for each in train.epoch(epoch):
            f = F.normalize(each.features, dim=-1)
            cached = ((-1) * (2 - 2 * (f @ keys.T))).exp() @ values
            loss = F.cross_entropy(small.logit_scale * f @ text.T + cached * 3, each.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    assert torch.allclose(learner.cache.keys, keys, atol=1e-10)
    assert learner.cache.weights.tolist() == [3, 2], "without validation images the published values stay"
    assert (keys - start.cache.keys).abs().max() > 1e-3


def test_the_best_epoch_on_validation_images_is_used(
    small: Clip, names: tuple[str, ...], train: Batches, val: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(small, names)
    seen: list[tuple[int, torch.Tensor]] = []
    end_epoch = learner.end_epoch
    held_out = [(b.features, b.labels) for b in val.epoch(0)]

    def watch(epoch: int, epochs: int) -> None:
        right = sum(int((learner.feature_scores(x).argmax(dim=-1) == y).sum()) for x, y in held_out)
        seen.append((right, learner.cache.keys.detach().clone()))
        end_epoch(epoch, epochs)

    monkeypatch.setattr(learner, "end_epoch", watch)
    fit(learner, train, replace(SETTINGS, epochs=8, lr=0.5), val=val)
    counts = [right for right, _ in seen]
    best = int(np.argmax(counts))
    assert best != len(seen) - 1, "the last epoch is the best, so this shows nothing"
    assert torch.equal(learner.cache.keys, seen[best][1])
    assert learner.cache.weights.tolist() != [3, 2], "alpha and beta were not searched"


def test_an_interrupted_training_ends_in_the_same_bytes(
    small: Clip, names: tuple[str, ...], train: Batches, val: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlprompt.training.resume.SAVE_SECONDS", 0.0)
    whole, broken, again = (learner_of(small, names) for _ in range(3))
    fit(whole, train, SETTINGS, val=val)

    class Halt:
        def epoch(self, number: int, **values: float) -> None:
            if number == 3:
                raise KeyboardInterrupt

        def close(self) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        fit(broken, train, SETTINGS, val=val, callbacks=[Halt()], state=tmp_path / "state")
    report = fit(again, train, SETTINGS, val=val, state=tmp_path / "state")
    assert report.resumed_from == 2
    assert torch.equal(whole.cache.keys, again.cache.keys)
    assert torch.equal(whole.cache.weights, again.cache.weights)


def test_only_the_keys_are_trained_and_the_file_holds_labels_and_weights(
    single: Clip, names: tuple[str, ...], batch: Batch, tmp_path: Path
) -> None:
    batch = replace(batch, features=batch.features.float())
    learner = TipAdapterF(single, names, TipAdapterFConfig(views=1))
    train = feature_batches(batch.features, batch.labels, batch_size=5, seed=2)
    fit(learner, train, SETTINGS, val=train)
    assert learner.trainable().keys() == {"cache.keys"}
    learner.save(tmp_path)
    assert torch.equal(methods.load(tmp_path, single).predict(batch), learner.predict(batch))


def test_settings(small: Clip, names: tuple[str, ...]) -> None:
    recipe = tip_adapter_f.recipe()
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.eps) == (20, 256, 1e-3, 1e-4)
    assert tip_adapter_f.recipe(16, "eurosat").epochs == 100
    with pytest.raises(UsageError, match="cache holds images of these classes"):
        TipAdapterF(small, names).set_classes(["x"])
    with pytest.raises(UsageError, match=r"beta is 0.0; it must be a number, above 0"):
        TipAdapterFConfig(beta=0)
