"""Fine-tuning: the whole model and a linear layer on its first token, without words. Devlin et al., NAACL 2019."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.cloze.template import Template, without_words
from vlprompt.cloze.text_classifier import TextClassifier
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class FineTuningConfig(ClozeConfig):
    """The baseline of every prompt: only the fields of a template are used, and no label words."""

    dropout: float = 0.1  # before the linear layer (BERT, run_classifier.py)

    def __post_init__(self) -> None:
        """Raise UsageError for a share that is none."""
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; it must be from 0 to below 1.")


@final
class FineTuning(ClozeLearner):
    """A copy of the model, all of it trained, and a linear layer (on the last token of a causal model)."""

    config: FineTuningConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: FineTuningConfig = FineTuningConfig(), *, seed: int = 0
    ) -> None:
        fields = without_words(Template(config.template or NULL_TEMPLATE))
        super().__init__(lm, classes, replace(config, template=fields), seed=seed)
        self.classifier = TextClassifier(lm, len(self.classes), config.dropout, seed)

    @property
    def has_blank(self) -> bool:
        """There is none."""
        return False

    @property
    def keeps_classes(self) -> str:
        """The linear layer has a row for each class."""
        return "its head has a row for each class"

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.classifier(self.sequences(batch))  # type: ignore[no-any-return]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """LM-BFF's fine-tuning: AdamW at 1e-5, batches of 8, 1,000 steps; theirs picks a checkpoint on the dev set."""
    return TrainConfig(
        epochs=1000, steps=1000, batch_size=8, lr=1e-5, optimizer="adamw", weight_decay=0, schedule="linear",
        per_step=True, warmup="none", clip_norm=1.0, augment="none",
    )  # fmt: skip


VARIANTS = {
    "lm-bff": Variant(FineTuningConfig(), recipe, "Gao et al. 2021 (arXiv:2012.15723), the fine-tuning baseline"),
}
