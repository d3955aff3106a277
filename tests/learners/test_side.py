"""Side-tuning: the blend, and images that AlexNet cannot take."""

import torch

from tests.learners.vits import NAMES, batch_for, small_vit
from vlprompt.learners import Side, SideConfig


def test_it_blends_two_features_in_learned_shares() -> None:
    vit = small_vit(torch.float32)
    learner, batch = Side(vit, NAMES, SideConfig(pretrained=False)).eval(), batch_for(vit, 3)
    assert batch.images is not None
    assert batch.features is not None
    side = learner.beside(batch.images)
    assert side.shape == batch.features.shape
    half = learner.head((batch.features + side) / 2)
    assert torch.allclose(learner(batch), half, atol=1e-5), "alpha starts at 0: half and half"
    with torch.no_grad():
        learner.alpha.fill_(50.0)
    assert torch.allclose(learner(batch), learner.head(batch.features), atol=1e-5)
    assert learner.alpha.ndim == 0
