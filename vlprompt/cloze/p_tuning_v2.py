"""P-tuning v2: keys and values before every layer's own, learned directly. Liu et al., ACL 2022 (arXiv:2110.07602).

The class is read by a linear layer on the first token's last state (the last token's, of a causal model), or with
readout="words" by label words in the blank. The shallow baseline of the paper is `prompt_tuning:head`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze.headed import HeadedCloze, HeadedConfig, Reading
from vlprompt.cloze.prefix import Prefixes
from vlprompt.cloze.reparameterised import Reparameterised
from vlprompt.errors import UsageError
from vlprompt.init import seeded
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PTuningV2Config(HeadedConfig):
    """A prefix and how the class is read."""

    length: int = 8  # P (run_script/run_boolq_roberta.sh; 8 to 128 by task)
    middle: int = 0  # hidden units of a network that makes the prefix (arguments.py: 512 with --prefix_projection)
    dropout: float = 0.1  # on keys and values (arguments.py)
    readout: Reading = "head"

    def __post_init__(self) -> None:
        """Raise UsageError for a prefix without positions."""
        super().__post_init__()
        if self.length < 1 or self.middle < 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"length {self.length}, middle {self.middle}, dropout {self.dropout}: length must be 1 or more, middle "
                "0 or more, dropout from 0 to below 1."
            )


@final
class PTuningV2(HeadedCloze):
    """P positions of keys and values in every layer of a frozen model, and a linear layer or label words."""

    config: PTuningV2Config

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PTuningV2Config = PTuningV2Config(), *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, replace(config, template=config.shown), seed=seed)
        with seeded(seed):
            encoder = Prefixes(lm.prefix_shapes, config.length, lm.width, config.middle)
            self.head = self.linear_layer()
        self.prompt = Reparameterised(encoder).to(lm.device)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def taken(self) -> int:
        """The prefix's positions."""
        return int(self.config.length)

    def steering(self) -> Steering:
        """The prefix, thinned out while it is trained."""
        return self.backbone.prefixed(self.dropout(self.once("prefix", self.prompt)))

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Drop the network, if there is one, after the last epoch."""
        if epoch == epochs and self.config.middle:
            self.prompt.drop()

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a checkpoint without a network."""
        self.prompt.make_room(tensors, "prompt")


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """run_script/run_boolq_roberta.sh: lr 7e-3, batches of 32, 100 epochs; the rest as transformers' Trainer has it.

    Their lengths and learning rates differ tenfold between tasks, so these are a start and no more.
    """
    return TrainConfig(
        epochs=100, batch_size=32, lr=7e-3, optimizer="adamw", weight_decay=0, schedule="linear", per_step=True,
        warmup="none", clip_norm=1.0, augment="none",
    )  # fmt: skip


SOURCE = "Liu et al. 2022 (arXiv:2110.07602)"
VARIANTS = {
    "head": Variant(PTuningV2Config(), recipe, f"{SOURCE}: keys and values directly, a linear head"),
    "projection": Variant(PTuningV2Config(middle=512), recipe, f"{SOURCE}: --prefix_projection, 512 hidden units"),
    "words": Variant(PTuningV2Config(readout="words"), recipe, f"{SOURCE}, its ablation: label words, no head"),
}
