"""P-tuning v2: learned keys and values before those of every layer. Liu et al., ACL 2022 (arXiv:2110.07602).

The class is read by a linear layer on the first token's last state (the last token's, of a causal model), or with
readout="words" by label words in the blank. The shallow baseline of the paper is `prompt_tuning:head`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from torch import nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import SoftPrompt
from vlprompt.cloze.parts.base import Layout
from vlprompt.cloze.parts.config import number
from vlprompt.cloze.parts.encoded_prompt import DropsEncoder, EncodedPrompt
from vlprompt.cloze.parts.headed import HeadedCloze, HeadedConfig, Readout
from vlprompt.cloze.parts.prefix import Prefixes
from vlprompt.cloze.parts.recipes import P_TUNING_V2_RECIPE as RECIPE
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class PTuningV2Config(HeadedConfig):
    """A prefix and how the class is read."""

    length: int = number(8, at_least=1)  # P (run_script/run_boolq_roberta.sh; 8 to 128 by task)
    middle: int = number(0, at_least=0)  # hidden units of a network that computes it (512 with --prefix_projection)
    dropout: float = number(0.1, at_least=0, below=1)  # on keys and values (arguments.py)
    readout: Readout = "head"


@final
class PTuningV2(DropsEncoder, HeadedCloze[PTuningV2Config]):
    """P positions of keys and values in every layer of a frozen model, and a linear layer or label words."""

    Config = PTuningV2Config

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PTuningV2Config | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        with seeded(seed):
            encoder = Prefixes(lm.prefix_shapes, self.config.length, lm.width, self.config.middle)
            self.head = self.linear_layer()
        self.prompt = EncodedPrompt(encoder).to(lm.device)
        self.dropout = nn.Dropout(self.config.dropout)

    def make_layout(self, template: str) -> Layout:
        """The template, or its fields alone, behind a prefix."""
        return replace(super().make_layout(template), prefix_length=self.config.length)

    def soft_prompt(self) -> SoftPrompt:
        """The prefix, with dropout while it is trained."""
        return self.backbone.prefix_prompt(self.dropout(self.cached("prefix", self.prompt)))

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Drop the network, if there is one, after the last epoch."""
        if self.config.middle:
            super().end_epoch(epoch, epochs)


SOURCE = "Liu et al. 2022 (arXiv:2110.07602)"
VARIANTS = {
    "head": Variant(PTuningV2Config(), RECIPE, f"{SOURCE}: keys and values directly, a linear head"),
    "head-128": Variant(
        PTuningV2Config(max_length=128), RECIPE, f"{SOURCE}, run_boolq_roberta.sh: rows of 128 (--max_seq_length)"
    ),
    "projection": Variant(PTuningV2Config(middle=512), RECIPE, f"{SOURCE}: --prefix_projection, 512 hidden units"),
    "words": Variant(PTuningV2Config(readout="words"), RECIPE, f"{SOURCE}, its ablation: label words, no head"),
}
