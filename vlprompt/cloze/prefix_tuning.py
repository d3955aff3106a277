"""Prefix-tuning: keys and values that a network computes for every layer. Li and Liang, ACL 2021 (arXiv:2101.00190).

The network is dropped after training; the saved prompt holds keys and values only. The class is a word's score at the
blank, instead of generated text. The text's positions continue after the prefix, as in the authors' code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import SoftPrompt
from vlprompt.cloze.parts.base import ClozeLearner, Layout
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.encoded_prompt import DropsEncoder, EncodedPrompt
from vlprompt.cloze.parts.prefix import Prefixes
from vlprompt.cloze.parts.recipes import LINEAR_DECAY
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class PrefixTuningConfig(ClozeConfig):
    """A prefix and the network that computes it."""

    length: int = number(10, at_least=1)  # P (gpt2/train_e2e.py: preseqlen 10)
    # Hidden units of the network (table-to-text; 800 for summaries); 0: keys and values directly.
    middle: int = number(512, at_least=0)


@final
class PrefixTuning(DropsEncoder, ClozeLearner[PrefixTuningConfig]):
    """P positions of keys and values before the text, in every layer of a frozen model."""

    Config = PrefixTuningConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PrefixTuningConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        with seeded(seed):
            encoder = Prefixes(lm.prefix_shapes, self.config.length, lm.width, self.config.middle)
        self.prompt = EncodedPrompt(encoder).to(lm.device)

    def make_layout(self, template: str) -> Layout:
        """The template behind a prefix."""
        return Layout(template, prefix_length=self.config.length)

    def soft_prompt(self) -> SoftPrompt:
        """The prefix, computed once where nothing is trained."""
        return self.backbone.prefix_prompt(self.cached("prefix", self.prompt))


# gpt2/train_e2e.py: AdamW at 5e-5 with linear decay, no weight decay, batches of 10. Their 5 epochs are over 42,000
# texts; few shots get 100.
RECIPE = replace(LINEAR_DECAY, epochs=100, batch_size=10, lr=5e-5, clip_norm=0)

SOURCE = "Li and Liang 2021 (arXiv:2101.00190)"
VARIANTS = {
    "table-to-text": Variant(PrefixTuningConfig(), RECIPE, f"{SOURCE}: P=10, 512 hidden units"),
    "summaries": Variant(PrefixTuningConfig(length=200, middle=800), RECIPE, f"{SOURCE}: P=200, 800 hidden units"),
}
