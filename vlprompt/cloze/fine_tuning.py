"""Fine-tuning: the whole model and a linear layer on its first token, without words. Devlin et al., NAACL 2019."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import ClozeLearner, Layout, fields_only
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.recipes import LINEAR_DECAY
from vlprompt.cloze.parts.text_classifier import TextClassifier
from vlprompt.data.batch import Batch
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class FineTuningConfig(ClozeConfig):
    """The baseline of every prompt: only the fields of a template are used, and no label words."""

    dropout: float = number(0.1, at_least=0, below=1)  # before the linear layer (BERT, run_classifier.py)


@final
class FineTuning(ClozeLearner[FineTuningConfig]):
    """A copy of the model, all of it trained, and a linear layer (on the last token of a causal model)."""

    Config = FineTuningConfig
    why_classes_fixed = "its head has a row for each class"

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: FineTuningConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        self.classifier = TextClassifier(lm, len(self.classes), self.config.dropout, seed)

    def make_layout(self, template: str) -> Layout:
        """The fields alone."""
        return fields_only(template)

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.classifier(self.sequences(batch))  # type: ignore[no-any-return]


# LM-BFF's fine-tuning: AdamW at 1e-5, batches of 8, 1,000 steps; theirs selects a checkpoint on the dev set.
RECIPE = replace(LINEAR_DECAY, epochs=1000, steps=1000, batch_size=8, lr=1e-5)

VARIANTS = {
    "lm-bff": Variant(FineTuningConfig(), RECIPE, "Gao et al. 2021 (arXiv:2012.15723), the fine-tuning baseline"),
}
