"""Side-tuning: the blend, and images that AlexNet cannot take."""

from pathlib import Path

import pytest
import torch
import torchvision

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit
from vlprompt.data import FeatureBatches
from vlprompt.errors import VlpromptError
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


def test_a_saved_prompt_opens_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, fetched = torchvision.models.alexnet, []

    def absent(weights: str | None = None) -> torch.nn.Module:
        if weights and fetched:
            raise OSError("no network")
        fetched.extend([weights] * bool(weights))
        return whole()

    monkeypatch.setattr(torchvision.models, "alexnet", absent)
    vit = small_vit(torch.float32)
    learner, batch = Side(vit, NAMES), batch_for(vit, 3)
    assert not fetched, "nothing is fetched before training begins"
    assert batch.features is not None
    images = FeatureBatches(batch.features, batch.labels, batch_size=3)
    learner.prepare(images, None)
    learner.prepare(images, None)
    assert len(fetched) == 1
    learner.eval().save(tmp_path)
    assert torch.equal(vp.load(tmp_path, vit).predict(batch), learner.predict(batch))
    with pytest.raises(VlpromptError, match=r"no network.*side.pretrained=false"):
        Side(vit, NAMES).prepare(images, None)
