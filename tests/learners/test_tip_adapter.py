"""Tip-Adapter: its equation written out, and its cache after `fit`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlprompt import methods
from vlprompt.backbones.clip import Clip
from vlprompt.data import feed
from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.data.catalog import load_task
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.data.transforms import train_transform
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.learners import tip_adapter
from vlprompt.learners.tip_adapter import TipAdapter, TipAdapterConfig
from vlprompt.training.fit import fit


@pytest.fixture
def digits() -> Task:
    task = load_task("digits").few_shot(2, seed=1)
    return replace(task, classes=tuple("abcdefghij"), test=task.test[:30])


@pytest.fixture
def views() -> torch.Tensor:
    """Three views of twelve images, (3, 12, 32)."""
    return torch.randn(3, 12, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_cache_and_equation_written_out(small: Clip, names: tuple[str, ...], batch: Batch, views: torch.Tensor) -> None:
    learner = TipAdapter(small, names, TipAdapterConfig(views=3, alpha=2.5, beta=1.5)).double()
    learner.prepare(feature_batches(views, batch.labels, batch_size=5), None)
    x, f = views.numpy(), batch.features.numpy()
    keys = x.mean(axis=0)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    assert np.allclose(learner.cache.keys.detach(), keys, atol=1e-12)
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    votes = np.exp(-1.5 * (1 - f @ keys.T)) @ np.eye(5)[batch.labels.numpy()]
    text = small.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names]).numpy()
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    wanted = float(small.logit_scale) * f @ text.T + 2.5 * votes
    assert np.allclose(learner.predict(batch), wanted, atol=1e-6)  # alpha and beta are in float32
    normalised_first = F.normalize(F.normalize(views, dim=-1).mean(dim=0), dim=-1)
    assert not np.allclose(keys, normalised_first, atol=1e-3), "the order of mean and norm makes no difference here"


def test_validation_images_choose_the_weights(single: Clip, digits: Task, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    with_val, without = (TipAdapter.for_task(single, task, TipAdapterConfig()) for task in (digits, digits))
    fit(with_val, digits, tip_adapter.RECIPE, store=store)
    fit(without, replace(digits, val=()), tip_adapter.RECIPE, store=store)
    assert without.cache.weights.tolist() == pytest.approx([1.17, 1])
    assert with_val.cache.weights.tolist() != without.cache.weights.tolist()
    batch = next(iter(feed.test_batches(with_val.needs, with_val.backbone, digits, digits.val, store).epoch(0)))
    right = [float((x.predict(batch).argmax(dim=-1) == batch.labels).sum()) for x in (with_val, without)]
    assert right[0] >= right[1]


def test_keys_are_the_mean_of_ten_random_crops(single: Clip, digits: Task, tmp_path: Path) -> None:
    learner = TipAdapter.for_task(single, digits, TipAdapterConfig())
    fit(learner, digits, tip_adapter.RECIPE, store=FeatureStore(tmp_path))
    store, crop = FeatureStore(tmp_path / "own"), train_transform(single.preprocess, 0.5)
    space = [store.get(feed.encoder(single), "x", crop, digits.images, digits.train, seed=k) for k in range(10)]
    assert torch.allclose(learner.cache.keys, F.normalize(torch.stack(space).mean(dim=0), dim=-1), atol=1e-5)
    assert learner.cache.labels.tolist() == [example.label for example in digits.train]
    plain = TipAdapter.for_task(single, digits, TipAdapterConfig())
    fit(plain, digits, replace(tip_adapter.RECIPE, augment="none"), store=store)
    (seen,) = feed.test_batches(plain.needs, plain.backbone, digits, digits.train, store).epoch(0)
    assert torch.allclose(plain.cache.keys, F.normalize(seen.features, dim=-1), atol=1e-5)


def test_a_saved_prompt_opens_with_the_same_number_of_keys(
    single: Clip, names: tuple[str, ...], batch: Batch, tmp_path: Path
) -> None:
    batch = replace(batch, features=batch.features.float())
    learner = TipAdapter(single, names, TipAdapterConfig(views=1, dataset="dtd"))
    learner.prepare(feature_batches(batch.features, batch.labels, batch_size=12), None)
    learner.cache.weights.copy_(torch.tensor([0.7, 4.5]))
    learner.save(tmp_path)
    again = methods.load(tmp_path, single)
    assert again.cache.weights.tolist() == pytest.approx([0.7, 4.5])
    assert torch.equal(again.predict(batch), learner.predict(batch))
    other = TipAdapter(single, names[:3])
    with pytest.raises(VlpromptError, match=r"holds \['cache.keys'\]"):
        other.restore({"cache.keys": learner.cache.keys.detach()}, "here")


def test_published_values_are_chosen_by_the_data_set(small: Clip, names: tuple[str, ...]) -> None:
    task = Task("flowers", names, templates=("a photo of a {}, a type of flower.",), dataset="oxford_flowers")
    learner = TipAdapter.for_task(small, task, TipAdapterConfig())
    assert learner.cache.weights.tolist() == [10, 1]
    assert learner.limits == (50, 50)
    assert TipAdapter.for_task(small, task, TipAdapterConfig(alpha=2)).cache.weights.tolist() == [2, 1]
    other = replace(task, name="oxford_flowers", dataset="")
    assert TipAdapter.for_task(small, other, TipAdapterConfig()).limits == (7, 3), "the name alone decides nothing"


def test_classes_are_fixed_and_wrong_settings_are_refused(small: Clip, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cache holds images of these classes"):
        TipAdapter(small, names).set_classes(["x"])
    for wrong, allowed in (({"views": 0}, "1 or more"), ({"alpha": -1.0}, "0 or more"), ({"beta": 0.0}, "above 0")):
        with pytest.raises(UsageError, match=f"TipAdapterConfig.{next(iter(wrong))} is .*{allowed}"):
            TipAdapterConfig(**wrong)
    assert isinstance(TipAdapterConfig(alpha=2).alpha, float), "a whole number must not make the weights integers"
