"""Training settings that several methods share."""

from vlprompt.training.config import TrainConfig


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """The CoOp paper's training: 50, 100 or 200 epochs by shots, ImageNet always 50 (CoOp, COOP.md)."""
    epochs = 50 if shots <= 1 or dataset == "imagenet" else 100 if shots <= 4 else 200
    return TrainConfig(epochs=epochs)
