"""P-tuning v2: keys and values before every layer's own, learned directly. Liu et al., ACL 2022 (arXiv:2110.07602).

The class is read by a linear layer on the first token's last state (the last token's, of a causal model), or with
readout="words" by label words in the blank. A masked language model brings no pooler, so there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final, get_args

from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.cloze.prefix import Prefixes
from vlprompt.cloze.reparameterised import Reparameterised
from vlprompt.cloze.template import Template, without_words
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, unknown
from vlprompt.init import seeded
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig

ReadOut = Literal["head", "words"]


@dataclass(frozen=True)
class PTuningV2Config(ClozeConfig):
    """A prefix and how the class is read."""

    length: int = 8  # P (run_script/run_boolq_roberta.sh; 8 to 128 by task)
    middle: int = 0  # hidden units of a network that makes the prefix (arguments.py: 512 with --prefix_projection)
    dropout: float = 0.1  # on keys and values (arguments.py)
    readout: ReadOut = "head"

    def __post_init__(self) -> None:
        """Raise UsageError for a prefix without positions, or a read-out that is not known."""
        super().__post_init__()
        if self.readout not in get_args(ReadOut):
            raise unknown("readout", self.readout, get_args(ReadOut))
        if self.length < 1 or self.middle < 0 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"length {self.length}, middle {self.middle}, dropout {self.dropout}: length must be 1 or more, middle "
                "0 or more, dropout from 0 to below 1."
            )


@final
class PTuningV2(ClozeLearner):
    """P positions of keys and values in every layer of a frozen model, and a linear layer or label words."""

    config: PTuningV2Config

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PTuningV2Config = PTuningV2Config(), *, seed: int = 0
    ) -> None:
        if config.readout == "head":
            config = replace(config, template=without_words(Template(config.template or NULL_TEMPLATE)))
        super().__init__(lm, classes, config, seed=seed)
        with seeded(seed):
            encoder = Prefixes(lm.prefix_shapes, config.length, lm.width, config.middle)
            head = nn.Linear(lm.model.config.hidden_size, len(self.classes)) if config.readout == "head" else None
        self.prompt = Reparameterised(encoder).to(lm.device)
        self.head = None if head is None else head.to(lm.device)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def has_blank(self) -> bool:
        """A linear layer needs none."""
        return bool(self.config.readout == "words")

    @property
    def keeps_classes(self) -> str:
        """The linear layer has a row for each class."""
        return "its head has a row for each class; train with readout='words'" if self.config.readout == "head" else ""

    @property
    def taken(self) -> int:
        """The prefix's positions."""
        return int(self.config.length)

    def steering(self) -> Steering:
        """The prefix, thinned out while it is trained."""
        return self.backbone.prefixed(self.dropout(self.once("prefix", self.prompt)))

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.head is None:
            return super().forward(batch)
        return self.head(self.backbone.hidden(self.sequences(batch), self.steering()))  # type: ignore[no-any-return]

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
