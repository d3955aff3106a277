"""In-context learning: answered examples beside the question, and no training.

Brown et al., NeurIPS 2020 (arXiv:2005.14165) put random examples in front of it; Gao et al., ACL 2021
(arXiv:2012.15723), section 6, put one of each class behind it and average the scores over several draws.

LM-BFF draws anew for every question and can leave out examples that are unlike it. Here all questions share the draws,
which follow the seed, so that an answer does not depend on its neighbours; nothing is left out by likeness. LM-BFF also
trains the model with demonstrations; this is its untrained half.

What stands in front of a causal model's questions is run once, and its keys and values are kept: that is exact. A
masked model's demonstrations see the question, so nothing of them can be kept, and every draw is a forward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final, get_args

import torch
from torch import Tensor

from vlprompt.backbones.continuations import remembered
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import NOTHING, Row, Sequences, Steering
from vlprompt.cloze import calibration
from vlprompt.cloze.base import ClozeConfig, ClozeLearner
from vlprompt.cloze.demonstrations import Demonstrations, Place, drawn
from vlprompt.cloze.material import examples_of
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches, mixed
from vlprompt.errors import UsageError, unknown
from vlprompt.learners.base import Variant, texts_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class InContextConfig(ClozeConfig):
    """What is shown beside a question."""

    demonstrations: int = 0  # examples a prompt shows, drawn at random; 0: one of each class (LM-BFF)
    samples: int = 16  # prompts whose scores are averaged (LM-BFF, --num_sample; 4 for MNLI, SNLI and QQP)
    place: Place = ""  # "behind" the question (LM-BFF) or in "front" (GPT-3); empty: behind, in front if causal
    separator: str = "\n\n"  # between examples for a causal model (Calibrate Before Use); others have a token for it
    share: float = 0.5  # of a row that demonstrations may take, each the same; what is longer is cut
    calibrate: bool = False  # divide by what a prompt answers to nothing (Zhao et al. 2021), prompt by prompt

    def __post_init__(self) -> None:
        """Raise UsageError for a place that is not known, or numbers out of range."""
        super().__post_init__()
        if self.place not in get_args(Place):
            raise unknown("place", self.place, get_args(Place))
        if self.demonstrations < 0 or self.samples < 1 or not 0 < self.share < 1:
            raise UsageError(
                f"demonstrations {self.demonstrations}, samples {self.samples}, share {self.share}: demonstrations "
                "must be 0 or more, samples 1 or more, share above 0 and below 1."
            )


@final
class InContext(ClozeLearner):
    """The frozen model's answer to a question between answered examples; without any, a hard prompt."""

    in_order = True
    one_blank = True
    config: InContextConfig
    shown: Tensor  # (S, T) ids of what each prompt shows, -1 behind them

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: InContextConfig = InContextConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        self.shown = torch.zeros(1, 0, dtype=torch.int32)
        self._before: dict[tuple[int, ...], Steering] = {}

    @property
    def keeps_classes(self) -> str:
        """Demonstrations are of the classes that were trained on."""
        return "its demonstrations are examples of these classes"

    def lay_out(self) -> None:
        """Put the template into the model's tokens, for questions and for demonstrations."""
        super().lay_out()
        own = self.config
        self.demonstrations = Demonstrations(
            self.backbone,
            own.template,
            place=own.place,
            separator=own.separator,
            max_length=own.max_length,
            share=own.share,
        )

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Draw the demonstrations."""
        examples = examples_of(train)
        generator = torch.Generator().manual_seed(mixed(self.seed, "demonstrations"))
        own, labels = self.config, [example.label for example in examples]
        words = [of_class[0] for of_class in self.verbalizer.spelt]
        prompts = [
            self.demonstrations.shown([examples[place] for place in places], words)
            for places in drawn(labels, own.demonstrations, own.samples, generator)
        ]
        longest = max(len(prompt) for prompt in prompts)
        padded = [[*prompt, *[-1] * (longest - len(prompt))] for prompt in prompts]
        self.shown = torch.tensor(padded, dtype=torch.int32)
        self._before.clear()

    def found(self) -> dict[str, Tensor]:
        """What every prompt shows."""
        return {"shown": self.shown}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a checkpoint's demonstrations."""
        if "shown" in tensors:
            self.shown = torch.zeros_like(tensors["shown"])
            self._before.clear()

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """What each prompt shows, as ids."""
        return [tuple(piece for piece in row if piece >= 0) for row in self.shown.tolist()]

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C), the mean over the prompts."""
        return torch.stack([self.answers(batch, shown) for shown in self.prompts]).mean(0)

    def answers(self, batch: Batch, shown: tuple[int, ...]) -> Tensor:
        """Class scores (B, C) beside what one prompt shows."""
        scores = self.verbalizer(self.read(texts_of(batch), shown, self.verbalizer.ids))
        if not self.config.calibrate:
            return scores
        return calibration.divided(scores, self.once(f"nothing beside {shown}", lambda: self.prior(shown)))

    @torch.no_grad()
    def prior(self, shown: tuple[int, ...]) -> Tensor:
        """(C,) what one prompt answers to a question without content."""
        nothing = calibration.filled(self.renderer.template.fields)
        scores = self.read(nothing, shown, torch.arange(self.backbone.vocabulary_size))
        return calibration.content_free(self.verbalizer, calibration.log_probs(scores))

    def read(self, questions: Sequence[Mapping[str, str]], shown: tuple[int, ...], words: Tensor) -> Tensor:
        """Scores (B, W) of (W,) words at the blanks of questions beside what one prompt shows."""
        rows, before = [self.demonstrations.row(question, shown) for question in questions], NOTHING
        if self.backbone.kind == "causal" and (head := self.demonstrations.before(shown)):
            rows, before = [_behind(row, len(head)) for row in rows], self.kept(head)
        texts = Sequences.of(rows, self.backbone.vocabulary.pad, self.backbone.device)
        return self.backbone.scores(texts, words, before)

    def kept(self, head: tuple[int, ...]) -> Steering:
        """The keys and values of what every row begins with, from the one time that the model has run it."""
        if head not in self._before:
            self._before[head] = remembered(self.backbone, torch.tensor(head))
        return self._before[head]


def _behind(row: Row, count: int) -> Row:
    """A row without its first tokens."""
    return replace(row, ids=row.ids[count:], read=row.read - count, segments=row.segments[count:])


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "lm-bff": Variant(InContextConfig(), recipe, "Gao et al. 2021 (arXiv:2012.15723): one of each class, 16 draws"),
    "lm-bff-pairs": Variant(InContextConfig(samples=4), recipe, "Gao et al. 2021, for MNLI, SNLI and QQP: 4 draws"),
    "gpt-3": Variant(
        InContextConfig(demonstrations=32, samples=1, place="front", max_length=1024, share=0.75),
        recipe,
        "Brown et al. 2020 (arXiv:2005.14165) as in LM-BFF's table 3: 32 random examples in front, one draw",
    ),
    "calibrated": Variant(
        InContextConfig(demonstrations=4, samples=1, place="front", max_length=1024, calibrate=True, rule="logsumexp"),
        recipe,
        "Zhao et al. 2021 (arXiv:2102.09690): 4 random examples in front, divided by content-free answers",
    ),
}
