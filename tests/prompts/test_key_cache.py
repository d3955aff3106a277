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
