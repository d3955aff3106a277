"""TrainConfig and the learning rate of every epoch."""

import dataclasses
import itertools
import math
from typing import Any

import pytest

from vlprompt.data.transforms import views_per_image
from vlprompt.errors import UsageError
from vlprompt.training.config import TrainConfig
from vlprompt.training.optimizer import learning_rate


def test_constant_warmup_gives_the_logged_rates() -> None:
    """Epochs 1, 2, 3 and 50 of 50 as a user's log of the official CoOp prints them (CoOp issue 26)."""
    config = TrainConfig(epochs=50, lr=0.002)
    rates = [learning_rate(config, epoch) for epoch in range(50)]
    assert [rates[0], rates[1]] == [1e-5, 0.002]
    assert rates[2] == pytest.approx(1.998027e-03, rel=1e-6)
    assert rates[49] == pytest.approx(7.885299e-06, rel=1e-6)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[1:]))


@pytest.mark.parametrize(("epochs", "lr", "last"), [(10, 0.002, 1.9e-4), (5, 0.0026, None), (2, 0.0026, 0.0026)])
def test_few_epochs_end_high(epochs: int, lr: float, last: float | None) -> None:
    config = TrainConfig(epochs=epochs, lr=lr)
    wanted = 0.5 * lr * (1 + math.cos(math.pi * (epochs - 2) / epochs))
    assert learning_rate(config, epochs - 1) == pytest.approx(wanted)
    if last is not None:
        assert wanted == pytest.approx(last, rel=0.02)


def test_linear_warmup() -> None:
    config = TrainConfig(epochs=20, lr=0.01, warmup="linear", warmup_epochs=4, warmup_lr=1e-5)
    rates = [learning_rate(config, epoch) for epoch in range(20)]
    assert rates[:5] == pytest.approx([1e-5, 0.0025, 0.005, 0.0075, 0.01])
    assert rates[5] == pytest.approx(0.005 * (1 + math.cos(math.pi / 20)))


def test_a_long_constant_warmup_puts_the_cosine_off() -> None:
    config = TrainConfig(epochs=20, lr=0.01, warmup_epochs=3)
    assert [learning_rate(config, epoch) for epoch in range(4)] == [1e-5, 1e-5, 1e-5, 0.01]


def test_no_warmup_and_no_schedule() -> None:
    assert learning_rate(TrainConfig(lr=0.01, warmup="none"), 0) == 0.01
    assert learning_rate(TrainConfig(lr=0.01, warmup_epochs=0), 0) == 0.01
    flat = TrainConfig(lr=0.01, schedule="constant", warmup="none")
    assert {learning_rate(flat, epoch) for epoch in range(50)} == {0.01}


def test_the_cosine_may_end_elsewhere_and_sooner() -> None:
    config = TrainConfig(epochs=10, lr=0.01, lr_end=0.002, warmup="none")
    assert learning_rate(config, 10) == pytest.approx(0.002)
    assert learning_rate(config, 5) == pytest.approx(0.006)
    assert learning_rate(config, 1.5, epochs=3) == pytest.approx(0.006)  # half of a training cut to 3 epochs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optimizer": "sdg"}, "unknown TrainConfig.optimizer 'sdg'; did you mean 'sgd'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"warmup": "const"}, "did you mean 'constant'"),
        ({"epochs": -1}, "TrainConfig.epochs is -1; it must be a whole number, 0 or more."),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, 1 or more"),
        ({"lr": 0.0}, "lr is 0.0; it must be a number, above 0"),
        ({"lr": math.nan}, "lr is nan; it must be"),
        ({"momentum": -0.1}, "momentum is -0.1; it must be a number, 0 or more"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; it must be"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1; it must be"),
        ({"warmup_lr": math.nan}, "warmup_lr is nan; it must be"),
        ({"clip_norm": -1.0}, "clip_norm is -1.0; it must be"),
        ({"crop": 0.0}, "crop is 0.0; it must be a number, above 0 and at most 1"),
        ({"augment": "cached"}, "augment 'cached' is not known"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**given)
    assert said in str(caught.value)


def test_settings_are_values() -> None:
    assert TrainConfig() == TrainConfig(**dataclasses.asdict(TrainConfig()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().lr = 1  # type: ignore[misc]
    assert TrainConfig(epochs=0).epochs == 0


def test_views() -> None:
    assert [views_per_image(augment) for augment in ("paper", "none", "cached:1", "cached:8")] == [0, 1, 1, 8]
    for wrong in ("", "cached:", "cached:0", "cached:-2", "cached:2.5", "cached:²", "Paper", "cached:x"):
        with pytest.raises(UsageError, match="give 'paper', 'none' or 'cached:K'"):
            views_per_image(wrong)


def test_a_quarter_of_a_cosine_is_coda_prompts() -> None:
    """utils/schedulers.py, one epoch late: epochs 0 and 1 at the full rate, then cos(99 pi (e - 1) / (200 (K - 1)))."""
    config = TrainConfig(epochs=20, lr=0.001, schedule="quarter-cosine", warmup="none")
    for epoch in range(20):
        wanted = 0.001 * math.cos(99 * math.pi * max(epoch - 1, 0) / (200 * 19))
        assert learning_rate(config, epoch) == pytest.approx(wanted)
