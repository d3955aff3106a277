"""The key cache: how it is filled, and its search for alpha and beta."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.prompts.key_cache import GRID, PUBLISHED, KeyCache


def test_shuffled_batches_fill_the_same_cache(batch: Batch) -> None:
    caches = []
    for seed in (None, 3):
        cache = KeyCache(5, 32, 1.0, 1.0).double()
        cache.fill(feature_batches(batch.features, batch.labels, batch_size=6, seed=seed), 2)
        caches.append(cache)
    assert torch.allclose(caches[0].keys, caches[1].keys)
    assert torch.equal(caches[0].labels, caches[1].labels)


def test_labels_and_weights_are_saved_and_the_keys_are_trained(batch: Batch) -> None:
    cache = KeyCache(5, 32, 2.0, 0.5).double()
    cache.fill(feature_batches(batch.features, batch.labels, batch_size=12), 1)
    assert {name: tuple(each.shape) for name, each in cache.state_dict().items()} == {
        "keys": (12, 32),
        "labels": (12,),
        "weights": (2,),
    }
    assert [name for name, _ in cache.named_parameters()] == ["keys"]


def test_the_search_is_the_authors_double_loop(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    cache = KeyCache(5, 32, 1.0, 1.0).double()
    cache.fill(feature_batches(batch.features, batch.labels, batch_size=12), 1)
    held_out = batch.features[torch.arange(40) % 12] + 2 * torch.randn(40, 32, generator=generator).double()
    labels = batch.labels[torch.arange(40) % 12]
    base = 3 * torch.randn(40, 5, generator=generator).double()
    f = F.normalize(held_out, dim=-1)
    best, chosen = 0.0, (0.0, 0.0)
    betas = [i * (7 - 0.1) / GRID[0] + 0.1 for i in range(GRID[0])]
    alphas = [i * (3 - 0.1) / GRID[1] + 0.1 for i in range(GRID[1])]
    for beta in betas:
        votes = ((-1) * (beta - beta * (f @ cache.keys.detach().T))).exp() @ F.one_hot(cache.labels, 5).double()
        for alpha in alphas:
            accuracy = float(((base + votes * alpha).argmax(dim=-1) == labels).double().mean())
            if accuracy > best:
                best, chosen = accuracy, (alpha, beta)
    for at_once in (2**22, 100):  # all held-out images together, and eight at once
        monkeypatch.setattr("vlprompt.prompts.key_cache.AT_ONCE", at_once)
        cache.search(held_out, base, labels, (7, 3))
        assert np.allclose(cache.weights, chosen, atol=1e-5)
    assert chosen not in {(alphas[0], betas[0]), (0.0, 0.0)}, "the search has nothing to find"


def test_there_are_published_values_for_the_eleven_data_sets() -> None:
    assert len(PUBLISHED) == 11


def by_weight(alpha: float) -> tuple[KeyCache, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A cache with one key, and 40 images equal to it, which zero-shot confuses by 0 to `alpha`."""
    cache = KeyCache(2, 2, 1, 1)
    cache.resize(1)
    cache.keys.data[0, 0] = 1
    base = torch.stack([torch.zeros(40), torch.logspace(-2, math.log10(alpha), 40)], dim=1)
    return cache, torch.tensor([[1.0, 0.0]]).expand(40, 2), base, torch.zeros(40, dtype=torch.int64)


def by_sharpness(beta: float) -> tuple[KeyCache, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A cache with a key of class 1 for each of 10 images, and two of class 0 so near that they win below some beta."""
    cosines = 1 - math.log(2) / torch.logspace(0.5, math.log10(beta), 10)
    planes, eye = torch.zeros(10, 10, 2), torch.eye(10)
    planes[eye.bool()] = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    images = torch.stack([eye, torch.zeros(10, 10)], dim=2).flatten(1)
    cache = KeyCache(2, 20, 1, 1)
    cache.resize(30)
    cache.keys.data.copy_(torch.cat([images, planes.flatten(1), planes.flatten(1)]))
    cache.labels.copy_(torch.tensor([1] * 10 + [0] * 20))
    return cache, images, torch.zeros(10, 2), torch.ones(10, dtype=torch.int64)


@pytest.mark.parametrize("alpha", [2.0, 10.0, 100.0, 1000.0])
def test_the_range_of_alpha_becomes_wider_until_the_best_value_lies_inside(alpha: float) -> None:
    cache, features, base, labels = by_weight(alpha)
    cache.search(features, base, labels, (7, 3), widen=True)
    assert 0.9 * alpha < float(cache.weights[0]) < 1.2 * alpha
    assert float((base + cache(features)).argmax(dim=1).eq(labels).double().mean()) > 0.9


@pytest.mark.parametrize("beta", [6.0, 20.0, 50.0, 300.0])
def test_the_range_of_beta_becomes_wider_until_the_best_value_lies_inside(beta: float) -> None:
    cache, features, base, labels = by_sharpness(beta)
    cache.search(features, base, labels, (7, 3), widen=True)
    assert 0.9 * beta < float(cache.weights[1]) < 1.2 * beta


def test_a_published_range_is_not_left() -> None:
    for cache, features, base, labels in (by_weight(10.0), by_sharpness(20.0)):
        cache.search(features, base, labels, (7, 3))
        assert float(cache.weights[0]) <= 3
        assert float(cache.weights[1]) <= 7


def test_a_range_does_not_become_wider_without_end() -> None:
    """With equal answers everywhere, the first values count; none is better than they are."""
    cache, features, base, labels = by_weight(1.0)
    cache.search(features, base * 0, labels, (7, 3), widen=True)
    assert cache.weights.tolist() == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize(("alpha", "beta"), [(3, 5), (1, 1.5), (2.5, 1)])
def test_whole_numbers_do_not_change_the_search(batch: Batch, alpha: float, beta: float) -> None:
    found = []
    for values in ((alpha, beta), (float(alpha), float(beta))):
        cache = KeyCache(5, 32, *values)
        cache.fill(feature_batches(batch.features, batch.labels, batch_size=12), 1)
        assert cache.weights.dtype == torch.float32
        features = batch.features.float().roll(1, 0)
        cache.search(features, torch.zeros(12, 5), batch.labels, (7, 3))
        found.append(cache.weights.clone())
    assert torch.equal(*found)
