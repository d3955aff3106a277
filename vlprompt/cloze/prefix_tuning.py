"""Prefix-tuning: keys and values before every layer's own, from a network. Li and Liang, ACL 2021 (arXiv:2101.00190).

The network is dropped after training and the checkpoint holds keys and values only. The class is a word's score at the
blank, instead of generated text. The text's positions count on from the prefix, as in the authors' code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze.base import ClozeConfig, ClozeLearner
from vlprompt.cloze.prefix import Prefixes
from vlprompt.cloze.reparameterised import Reparameterised
from vlprompt.errors import UsageError
from vlprompt.init import seeded
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PrefixTuningConfig(ClozeConfig):
    """A prefix and the network that makes it."""

    length: int = 10  # P (gpt2/train_e2e.py: preseqlen 10)
    middle: int = 512  # hidden units of the network (table-to-text; 800 for summaries); 0: keys and values directly

    def __post_init__(self) -> None:
        """Raise UsageError for a prefix without positions."""
        super().__post_init__()
        if self.length < 1 or self.middle < 0:
            raise UsageError(f"length {self.length}, middle {self.middle}: length must be 1 or more, middle 0 or more.")


@final
class PrefixTuning(ClozeLearner):
    """P positions of keys and values before the text, in every layer of a frozen model."""

    config: PrefixTuningConfig

    def __init__(
        self,
        lm: LanguageModel,
        classes: Sequence[str],
        config: PrefixTuningConfig = PrefixTuningConfig(),
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        with seeded(seed):
            encoder = Prefixes(lm.prefix_shapes, config.length, lm.width, config.middle)
        self.prompt = Reparameterised(encoder).to(lm.device)

    @property
    def taken(self) -> int:
        """The prefix's positions."""
        return int(self.config.length)

    def steering(self) -> Steering:
        """The prefix; made once where nothing is trained."""
        return self.backbone.prefixed(self.once("prefix", self.prompt))

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Drop the network after the last epoch."""
        if epoch == epochs:
            self.prompt.drop()

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a checkpoint without a network."""
        self.prompt.make_room(tensors, "prompt")


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """gpt2/train_e2e.py: AdamW at 5e-5 falling in a line, no weight decay, batches of 10.

    Their 5 epochs are over 42,000 texts; few shots get 100.
    """
    return TrainConfig(
        epochs=100, batch_size=10, lr=5e-5, optimizer="adamw", weight_decay=0, schedule="linear", per_step=True,
        warmup="none", augment="none",
    )  # fmt: skip


SOURCE = "Li and Liang 2021 (arXiv:2101.00190)"
VARIANTS = {
    "table-to-text": Variant(PrefixTuningConfig(), recipe, f"{SOURCE}: P=10, 512 hidden units"),
    "summaries": Variant(PrefixTuningConfig(length=200, middle=800), recipe, f"{SOURCE}: P=200, 800 hidden units"),
}
