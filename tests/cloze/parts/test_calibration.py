"""Calibration is the division of probabilities by a prior."""

import torch

from vlprompt.cloze.parts import calibration


def test_a_uniform_prior_changes_nothing_and_a_constant_does_not_matter() -> None:
    scores = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(calibration.divide(scores, uniform).softmax(1), scores.softmax(1))
    prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    torch.testing.assert_close(calibration.divide(scores + 5, prior), calibration.divide(scores, prior))
    fair = scores.softmax(1) / prior
    torch.testing.assert_close(calibration.divide(scores, prior).softmax(1), fair / fair.sum(1, keepdim=True))
    torch.testing.assert_close(calibration.subtract(scores, prior), scores.softmax(1) - prior)
