"""The linear head: scores of a few units before training, however few the classes."""

import pytest
import torch

from vlprompt.head import linear_head


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_scores_start_small_whatever_the_number_of_classes(classes: int) -> None:
    head = linear_head(192, classes, seed=0)
    features = torch.randn(50, 192, generator=torch.Generator().manual_seed(1)) * 4  # the norm of ViT-Tiny's, 55
    scores = (head(features) - head.bias).detach()
    assert 0.3 < float(scores.std()) < 0.8
    assert float(head.bias.detach().softmax(0).max()) == pytest.approx(1 / classes)


def test_the_seed_decides() -> None:
    a, b, c = (linear_head(8, 3, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
