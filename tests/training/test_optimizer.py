"""VPT's training: a cosine to the end, parameters without weight decay, and the eps of its AdamW."""

import math

import pytest
import torch
from torch import nn

from vlprompt.training.config import TrainConfig
from vlprompt.training.optimizer import learning_rate, make_optimizer


@pytest.mark.parametrize(("epochs", "warmup", "end"), [(7, 2, 0.0), (100, 10, 0.0), (5, 0, 1e-6)])
def test_the_cosine_to_the_end_spans_the_epochs_after_the_warm_up(epochs: int, warmup: int, end: float) -> None:
    config = TrainConfig(
        epochs=epochs,
        lr=0.1,
        schedule="cosine-to-end",
        warmup="linear",
        warmup_epochs=warmup,
        warmup_lr=0.0,
        lr_end=end,
    )
    rates = [learning_rate(config, epoch) for epoch in range(epochs + 1)]
    assert rates[:warmup] == pytest.approx([0.1 * epoch / warmup for epoch in range(warmup)])
    assert rates[warmup] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(end)
    assert all(a > b for a, b in zip(rates[warmup:], rates[warmup + 1 :], strict=False))


@pytest.mark.parametrize(
    ("no_decay", "spared"), [("", []), ("head.bias", ["head.bias"]), ("bias", ["head.bias", "copies.blocks-0-bias"])]
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "adamw-early-eps"])
def test_parameters_without_weight_decay(no_decay: str, spared: list[str], optimizer: str) -> None:
    """Without a gradient, weight decay alone moves a parameter."""
    named = {name: nn.Parameter(torch.ones(2)) for name in ("prompts", "head.bias", "copies.blocks-0-bias")}
    config = TrainConfig(lr=0.1, weight_decay=0.1, no_decay=no_decay, optimizer=optimizer)
    for parameter in named.values():
        parameter.grad = torch.zeros(2)
    make_optimizer(named, config).step()
    assert [name for name, parameter in named.items() if float(parameter.detach()[0]) == 1] == spared


def test_early_eps_is_added_before_the_second_moment_is_corrected() -> None:
    start, lr, eps, decay = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64), 0.01, 1e-3, 0.1
    parameter = nn.Parameter(start.clone())
    config = TrainConfig(lr=lr, eps=eps, weight_decay=decay, optimizer="adamw-early-eps")
    optimizer = make_optimizer({"prompts": parameter}, config)
    x, m, v = start.clone(), torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for step in range(1, 6):
        gradient = torch.tensor([1e-4, 1e-3, 1.0], dtype=torch.float64) * step
        parameter.grad = gradient.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        rate = lr * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        x = x * (1 - lr * decay) - rate * m / (v.sqrt() + eps)
        assert torch.allclose(parameter, x, rtol=1e-12)
