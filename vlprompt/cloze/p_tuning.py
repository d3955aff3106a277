"""P-tuning: soft tokens that an LSTM and an MLP compute from learned vectors. Liu et al. 2021 (arXiv:2103.10385).

After training only the tokens are saved, without the encoder. Two encoders are published and both are here: "lama"
(THUDM/P-tuning, LAMA/p_tuning: LSTM of D/2 each way, MLP D-D-D) and "few-shot" (PT-Fewshot: LSTM of D each way, MLP
2D-D-D; OpenPrompt's lstm is this one); "mlp" has no LSTM (OpenPrompt's mlp: D-D-D). peft has two more, for prompts that
were trained there: "peft-lstm" (LSTM of D each way, MLP 2D-2D-D) and "peft-mlp" (D-D-D-D), its default.

The published template of LAMA is (3, 3, 3): soft tokens before the blank, between blank and subject, and at the end.
Its GPT code trains one position and reads another; here the position that is trained is the one that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import SoftPrompt
from vlprompt.cloze.parts.base import ClozeLearner, Layout
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.encoded_prompt import DropsEncoder, EncodedPrompt
from vlprompt.cloze.parts.recipes import LINEAR_DECAY
from vlprompt.cloze.parts.soft_tokens import add_soft_tokens
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.randomness import seeded
from vlprompt.training.config import TrainConfig, Variant

Encoder = Literal["lama", "few-shot", "mlp", "peft-lstm", "peft-mlp"]


@dataclass(frozen=True)
class PTuningConfig(ClozeConfig):
    """Soft tokens and their encoder."""

    length: int = number(9, at_least=1)  # P, in front, where the template has no soft slots (LAMA/cli.py: 3 + 3 + 3)
    encoder: Encoder = "lama"
    # What the right word competes with in training: other classes' words, or the whole vocabulary (LAMA's code).
    rivals: Literal["words", "vocabulary"] = "words"


class PromptEncoder(nn.Module):
    """(P, D) learned vectors -> (P, D) soft tokens, mixed along the prompt."""

    def __init__(self, length: int, width: int, kind: Encoder, hidden: int = 0) -> None:
        """Initialise as torch does.

        Args:
            length: P.
            width: D.
            kind: The network.
            hidden: Its inner width, a free choice in peft; 0: D, or as the kind defines it.
        """
        super().__init__()
        if kind == "lama" and width % 2:
            raise UsageError(f"the encoder 'lama' halves the width, and {width} is odd; use 'few-shot' or 'mlp'.")
        hidden = width // 2 if kind == "lama" else hidden or width
        has_lstm = not kind.endswith("mlp")
        wide = 2 * hidden if has_lstm else width
        self.embedding = nn.Parameter(torch.randn(length, width))  # as nn.Embedding does
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True) if has_lstm else None
        inner = {"peft-lstm": (wide,), "peft-mlp": (hidden, hidden)}.get(kind, (width,))
        layers = (nn.Linear(*sizes) for sizes in pairwise((wide, *inner, width)))
        self.mlp = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])

    def forward(self) -> Tensor:
        """Soft tokens (P, D)."""
        vectors = self.embedding if self.lstm is None else self.lstm(self.embedding[None])[0][0]
        return self.mlp(vectors)  # type: ignore[no-any-return]


@final
class PTuning(DropsEncoder, ClozeLearner[PTuningConfig]):
    """Soft tokens that an encoder computes during training."""

    Config = PTuningConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PTuningConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        with seeded(seed):
            encoder = PromptEncoder(len(self.renderer.soft_words), lm.width, self.config.encoder)
        self.prompt = EncodedPrompt(encoder).to(lm.device)

    def make_layout(self, template: str) -> Layout:
        """The template with soft tokens."""
        return Layout(add_soft_tokens(template, self.config.length))

    def soft_prompt(self) -> SoftPrompt:
        """The soft tokens, computed once where nothing is trained."""
        return SoftPrompt(self.cached("tokens", self.prompt))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy over the classes, or with `config.rivals` over the vocabulary; a scalar.

        Raises:
            UsageError: Words have several pieces or are fields, and the rivals are the vocabulary.
        """
        if self.config.rivals == "words":
            return super().loss(batch)
        scores = self.vocabulary_scores(batch)
        if scores is None:
            raise UsageError("rivals='vocabulary' needs label words that are read at one blank; set rivals='words'.")
        return self.vocabulary_loss(scores, batch.labels)

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The soft tokens (P, D)."""
        return {"tokens": self.prompt()}


# LAMA/cli.py: Adam at 1e-5, weight decay 5e-4, batches of 8, 100 epochs. Theirs also decays by 2 % an epoch and stops
# early on the dev set; ours is constant and runs to its end.
RECIPE = TrainConfig(
    epochs=100, batch_size=8, lr=1e-5, optimizer="adam", weight_decay=5e-4, schedule="constant", warmup="none",
    augment="none",
)  # fmt: skip

# PT-Fewshot's scripts: AdamW at 1e-4, weight decay 0.1, batches of 2; the model itself is frozen here.
FEW_SHOT_RECIPE = replace(LINEAR_DECAY, epochs=100, batch_size=2, lr=1e-4, weight_decay=0.1)

SOURCE = "Liu et al. 2021 (arXiv:2103.10385)"
VARIANTS = {
    "lama": Variant(PTuningConfig(), RECIPE, f"{SOURCE}, LAMA: nine tokens, LSTM of half the width"),
    "lama-vocabulary": Variant(
        PTuningConfig(rivals="vocabulary"), RECIPE, f"{SOURCE}, LAMA, its loss: the object among the whole vocabulary"
    ),
    "few-shot": Variant(
        PTuningConfig(length=1, encoder="few-shot"),
        FEW_SHOT_RECIPE,
        f"{SOURCE}, few-shot: one token, LSTM of the width",
    ),
    "openprompt-mlp": Variant(
        PTuningConfig(encoder="mlp", rule="mean_log_prob"), RECIPE, "OpenPrompt, PtuningTemplate, mlp"
    ),
    "openprompt": Variant(
        PTuningConfig(encoder="few-shot", rule="mean_log_prob"),
        RECIPE,
        "OpenPrompt, PtuningTemplate, its default lstm",
    ),
    "peft": Variant(PTuningConfig(encoder="peft-mlp"), RECIPE, "peft, PromptEncoder, its default MLP"),
}
