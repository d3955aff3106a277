"""P-tuning: soft tokens that an LSTM and a small network make from learned vectors. Liu et al. 2021 (arXiv:2103.10385).

After training only the tokens are kept: the checkpoint holds no encoder. Two encoders are published and both are here:
"lama" (THUDM/P-tuning, LAMA/p_tuning: LSTM of D/2 each way, MLP D-D-D) and "few-shot" (PT-Fewshot: LSTM of D each way,
MLP 2D-D-D; OpenPrompt's lstm is this one); "mlp" has no LSTM (OpenPrompt's mlp: D-D-D). peft's are two more, to go on
with what was trained there: "peft-lstm" (LSTM of D each way, MLP 2D-2D-D) and "peft-mlp" (D-D-D-D), its default.

The published template of LAMA is (3, 3, 3): soft tokens before the blank, between blank and subject, and behind. Their
GPT code trains one position and reads another; here the position that is trained is the one that is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze import soft
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.cloze.reparameterised import Reparameterised
from vlprompt.errors import UsageError, unknown
from vlprompt.init import seeded
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig

Encoder = Literal["lama", "few-shot", "mlp", "peft-lstm", "peft-mlp"]


@dataclass(frozen=True)
class PTuningConfig(ClozeConfig):
    """Soft tokens and what makes them."""

    length: int = 9  # P, in front, where the template has no soft slots of its own (LAMA/cli.py: 3 + 3 + 3)
    encoder: Encoder = "lama"

    def __post_init__(self) -> None:
        """Raise UsageError for a prompt without tokens or an encoder that is not known."""
        super().__post_init__()
        if self.encoder not in get_args(Encoder):
            raise unknown("encoder", self.encoder, get_args(Encoder))
        if self.length < 1:
            raise UsageError(f"length is {self.length}; a prompt needs 1 token or more.")


class PromptEncoder(nn.Module):
    """(P, D) learned vectors -> (P, D) soft tokens, mixed along the prompt."""

    def __init__(self, length: int, width: int, kind: Encoder, hidden: int = 0) -> None:
        """Start as torch does.

        Args:
            length: P.
            width: D.
            kind: The network.
            hidden: Its inner width, which peft leaves open; 0: D, or what the kind says.
        """
        super().__init__()
        if kind == "lama" and width % 2:
            raise UsageError(f"the encoder 'lama' halves the width, and {width} is odd; use 'few-shot' or 'mlp'.")
        hidden = width // 2 if kind == "lama" else hidden or width
        mixed = not kind.endswith("mlp")
        wide = 2 * hidden if mixed else width
        self.embedding = nn.Parameter(torch.randn(length, width))  # as nn.Embedding starts
        self.lstm = nn.LSTM(width, hidden, num_layers=2, bidirectional=True, batch_first=True) if mixed else None
        inner = {"peft-lstm": (wide,), "peft-mlp": (hidden, hidden)}.get(kind, (width,))
        layers = (nn.Linear(*sizes) for sizes in pairwise((wide, *inner, width)))
        self.mlp = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])

    def forward(self) -> Tensor:
        """Soft tokens (P, D)."""
        vectors = self.embedding
        if self.lstm is not None:
            vectors = self.lstm(vectors[None])[0][0]
        return self.mlp(vectors)  # type: ignore[no-any-return]


@final
class PTuning(ClozeLearner):
    """Soft tokens made by an encoder while it trains, kept as they are from then on."""

    config: PTuningConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PTuningConfig = PTuningConfig(), *, seed: int = 0
    ) -> None:
        template = soft.in_front(config.template or NULL_TEMPLATE, config.length)
        super().__init__(lm, classes, replace(config, template=template), seed=seed)
        count = len(self.renderer.soft_words)
        with seeded(seed):
            self.prompt = Reparameterised(PromptEncoder(count, lm.width, config.encoder)).to(lm.device)

    def steering(self) -> Steering:
        """The soft tokens; made once where nothing is trained."""
        return Steering(self.once("tokens", self.prompt))

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Drop the encoder after the last epoch."""
        if epoch == epochs:
            self.prompt.drop()

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a checkpoint without an encoder."""
        self.prompt.make_room(tensors, "prompt")


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """LAMA/cli.py: Adam at 1e-5, weight decay 5e-4, batches of 8, 100 epochs.

    Theirs also falls by 2 % an epoch and stops early on the dev set; ours is constant and runs to its end.
    """
    return TrainConfig(
        epochs=100, batch_size=8, lr=1e-5, optimizer="adam", weight_decay=5e-4, schedule="constant", warmup="none",
        augment="none",
    )  # fmt: skip


def few_shot_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """PT-Fewshot's scripts: AdamW at 1e-4, weight decay 0.1, batches of 2; the model itself stays frozen here."""
    return TrainConfig(
        epochs=100, batch_size=2, lr=1e-4, optimizer="adamw", weight_decay=0.1, schedule="linear", per_step=True,
        warmup="none", clip_norm=1.0, augment="none",
    )  # fmt: skip


SOURCE = "Liu et al. 2021 (arXiv:2103.10385)"
VARIANTS = {
    "lama": Variant(PTuningConfig(), recipe, f"{SOURCE}, LAMA: nine tokens, LSTM of half the width"),
    "few-shot": Variant(
        PTuningConfig(length=1, encoder="few-shot"),
        few_shot_recipe,
        f"{SOURCE}, few-shot: one token, LSTM of the width",
    ),
    "openprompt": Variant(
        PTuningConfig(encoder="mlp", rule="mean_log_prob"), recipe, "OpenPrompt, PtuningTemplate, mlp"
    ),
    "peft": Variant(PTuningConfig(encoder="peft-mlp"), recipe, "peft, PromptEncoder, its default MLP"),
}
