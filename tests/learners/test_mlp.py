"""MLP-k: the saved statistics of batch norm, the number of layers, and batches of one image."""

from pathlib import Path

import pytest
import torch

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit
from vlprompt.data.batches import feature_batches
from vlprompt.errors import UsageError
from vlprompt.learners import MLP, MLPConfig


def test_running_statistics_are_saved_and_loaded(tmp_path: Path) -> None:
    vit = small_vit(torch.float32)
    learner, batch = MLP(vit, NAMES), batch_for(vit)
    assert batch.features is not None
    data = feature_batches(batch.features, batch.labels, batch_size=4)
    vp.fit(learner, data, vp.TrainConfig(epochs=2, augment="none"))
    assert learner.hidden[0][2].running_mean.any()
    learner.save(tmp_path)
    assert torch.equal(vp.load(tmp_path, vit).predict(batch), learner.predict(batch))


def test_k_counts_the_linear_layers() -> None:
    vit = small_vit(torch.float32)
    for k in (1, 2, 5):
        learner = MLP(vit, NAMES, MLPConfig(k=k))
        assert sum(isinstance(module, torch.nn.Linear) for module in (*learner.hidden.modules(), learner.head)) == k


def test_batch_normalisation_cannot_learn_from_one_image() -> None:
    vit = small_vit(torch.float32)
    with pytest.raises(UsageError, match="2 images or more"):
        MLP(vit, NAMES).train()(batch_for(vit, 1))
    assert MLP(vit, NAMES).eval()(batch_for(vit, 1)).shape == (1, len(NAMES))
    assert MLP(vit, NAMES, MLPConfig(k=1)).train()(batch_for(vit, 1)).isfinite().all()
