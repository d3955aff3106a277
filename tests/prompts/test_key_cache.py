"""The key cache: how it is filled, and its search for alpha and beta."""

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


def at_the_end(alpha: float, beta: float) -> tuple[KeyCache, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A cache, and held-out images that only a cache of at least this weight and sharpness classifies correctly.

    Two keys of class 0 are near the image, one of class 1 is the image itself; zero-shot names class 2 by `alpha`.
    """
    cache = KeyCache(3, 2, 1, 1)
    cache.resize(3)
    angle = torch.tensor([0.5, 0.5, 0.0])
    with torch.no_grad():
        cache.keys.copy_(torch.stack([angle.cos(), angle.sin()], dim=1))
    cache.labels.copy_(torch.tensor([0, 0, 1]))
    away = float(1 - angle[0].cos())  # class 1 has more votes where 2 exp(-beta * away) < 1
    cache.keys.data[:2, 0] = 1 - (1 - cache.keys.data[:2, 0]) * (np.log(2) / away / beta)
    return cache, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0, alpha]]), torch.tensor([1])


@pytest.mark.parametrize(("alpha", "beta"), [(10.0, 3.0), (1.0, 40.0), (100.0, 200.0), (2.0, 2.0)])
def test_a_range_becomes_wider_until_the_best_values_lie_inside(alpha: float, beta: float) -> None:
    cache, features, base, labels = at_the_end(alpha, beta)
    cache.search(features, base, labels, (7, 3), widen=True)
    found_alpha, found_beta = cache.weights.tolist()
    assert found_alpha > alpha - 0.01
    assert found_beta > beta - 0.01
    assert int((base + cache(features)).argmax()) == 1


def test_a_published_range_is_not_left() -> None:
    cache, features, base, labels = at_the_end(10.0, 3.0)
    cache.search(features, base, labels, (7, 3))
    assert float(cache.weights[0]) <= 3


def test_a_range_does_not_become_wider_without_end() -> None:
    """More weight is always better by one image here: the search ends all the same, at its best values."""
    cache = KeyCache(2, 2, 1, 1)
    cache.resize(1)
    cache.keys.data[0, 0] = 1
    base = torch.stack([torch.zeros(60), 2.0 ** torch.arange(60)], dim=1)
    cache.search(torch.tensor([[1.0, 0.0]]).expand(60, 2), base, torch.zeros(60, dtype=torch.int64), (7, 3), widen=True)
    assert 3 * 2**11 < float(cache.weights[0]) < 3 * 2**12


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
