"""Comparison of arrays, and their tolerances."""

import numpy as np
import pytest
import torch

from benchmarks.parity.compare import Answer, compare, kind_of


def test_an_answer_can_exclude_entries_or_replace_the_stored_array() -> None:
    stored = np.array([1.0, 2.0])
    ours = torch.tensor([1.0, 5.0])
    assert not compare("ctx", stored, ours).ok
    assert compare("ctx", stored, Answer(ours, where=np.array([True, False]))).ok
    assert compare("ctx", stored, Answer(ours, stored=np.array([1.0, 5.0]))).ok
    assert not compare("ctx", stored, torch.tensor([1.0, torch.nan])).ok
    assert compare("loss_u", np.array([np.nan]), torch.tensor([torch.nan])).ok


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("grad.meta_net.linear1.weight", "gradient"),
        ("grad_ctx_steps", "gradient"),
        ("lr_iterations", "learning rate"),
        ("loss_x_steps", "loss"),
        ("entropy_views", "loss"),
        ("logits_final", "logits"),
        ("image_features", "features"),
        ("meta_bias", "features"),
        ("step1.meta_net.linear1.bias", "trainable"),
        ("ctx_steps", "trainable"),
    ],
)
def test_tolerances_depend_on_names(name: str, kind: str) -> None:
    assert kind_of(name, np.zeros(1, np.float32)).name == kind
    assert kind_of(name, np.zeros(1, np.int32)).name == "exact"
