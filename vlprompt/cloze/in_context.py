"""In-context learning: answered examples beside the question, and no training.

Brown et al., NeurIPS 2020 (arXiv:2005.14165) put random examples in front of it; Gao et al., ACL 2021
(arXiv:2012.15723), section 6, put one of each class behind it and average the scores over several draws.

LM-BFF draws anew for every question and can leave out examples that are unlike it. Here all questions share the draws,
which depend on the seed, so that an answer does not depend on other questions; no example is left out for being unlike.
LM-BFF also trains the model with demonstrations; this is its untrained half.

A causal model runs the tokens in front of its questions once and caches their keys and values, which is exact. A masked
model's demonstrations attend to the question, so nothing can be cached, and every draw is a forward pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Row, Sequences, SoftPrompt
from vlprompt.backbones.lm_scoring import prefix_of_tokens
from vlprompt.cloze.parts import calibration
from vlprompt.cloze.parts.base import ClozeLearner
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.demonstrations import Demonstrations, Place, draw_demonstrations
from vlprompt.cloze.parts.training_texts import examples_of
from vlprompt.data.batch import Batch, texts_of
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input, Needs
from vlprompt.randomness import mixed
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class InContextConfig(ClozeConfig):
    """The demonstrations of a prompt."""

    demonstrations: int = number(0, at_least=0)  # examples in a prompt, drawn at random; 0: one of each class (LM-BFF)
    samples: int = number(
        16, at_least=1
    )  # prompts whose scores are averaged (LM-BFF, --num_sample; 4 for MNLI, SNLI and QQP)
    place: Place = ""  # "behind" the question (LM-BFF) or in "front" (GPT-3); empty: behind, in front if causal
    separator: str = "\n\n"  # between examples for a causal model (Calibrate Before Use); others have a token for it
    share: float = number(0.5, above=0, below=1)  # of a row for demonstrations, divided equally; longer ones are cut
    calibrate: bool = False  # divide by a prompt's content-free scores (Zhao et al. 2021), prompt by prompt
    # Demonstrations in front come before the start token too, as in LM-BFF's code (run.py, gpt3_in_context_head).
    reference_quirks: bool = False
    # Demonstrations in front are not cut one by one: what does not fit is left out at their beginning (LM-BFF,
    # --truncate_head).
    cut_head: bool = False


@final
class InContext(ClozeLearner[InContextConfig]):
    """The frozen model's answer to a question between answered examples; without any, a hard prompt.

    Attributes:
        shown: (S, T) ids of the demonstrations of each prompt, padded with -1.
    """

    Config = InContextConfig
    needs = Needs(input=Input.TEXTS, ordered=True)
    why_classes_fixed = "its demonstrations are examples of these classes"
    one_blank = True
    shown: Tensor

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: InContextConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        own = self.config
        self.demonstrations = Demonstrations(
            lm,
            own.template,
            place=own.place,
            separator=own.separator,
            max_length=own.max_length,
            share=own.share,
            start_last=own.reference_quirks,
            cut_head=own.cut_head,
        )
        self.register_buffer("shown", torch.zeros(1, 0, dtype=torch.int32))
        self._key_values: dict[tuple[int, ...], SoftPrompt] = {}

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Draw the demonstrations."""
        own, examples = self.config, examples_of(train)
        generator = torch.Generator().manual_seed(mixed(self.seed, "demonstrations"))
        labels = [example.label for example in examples]
        draws = draw_demonstrations(labels, own.demonstrations, own.samples, generator)
        words = [of_class[0] for of_class in self.verbalizer.word_pieces]
        prompts = [self.demonstrations.joined([examples[place] for place in draw], words) for draw in draws]
        longest = max(len(prompt) for prompt in prompts)
        padded = [[*prompt, *[-1] * (longest - len(prompt))] for prompt in prompts]
        self._show(torch.tensor(padded, dtype=torch.int32))

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Make room for a saved prompt's demonstrations."""
        if "shown" in tensors:
            self._show(torch.zeros_like(tensors["shown"]))

    def _show(self, ids: Tensor) -> None:
        """Use other demonstrations, (S, T) ids."""
        self.shown = ids
        self._key_values.clear()

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """The ids of the demonstrations of each prompt."""
        return [tuple(piece for piece in row if piece >= 0) for row in self.shown.tolist()]

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C), the mean over the prompts."""
        return torch.stack([self.answers(batch, shown) for shown in self.prompts]).mean(0)

    def scores_at_blank(self, batch: Batch, words: Tensor) -> Tensor:
        """Scores (B, W) of (W,) words, the mean over the prompts, not calibrated."""
        return torch.stack([self.word_scores_beside(shown, texts_of(batch), words) for shown in self.prompts]).mean(0)

    def answers(self, batch: Batch, shown: tuple[int, ...]) -> Tensor:
        """Class scores (B, C) of one prompt."""
        scores = self.verbalizer(self.word_scores_beside(shown, texts_of(batch), self.verbalizer.ids))
        if not self.config.calibrate:
            return scores
        return calibration.divide(scores, self.cached(f"prior {shown}", lambda: self.prior(shown)))

    @torch.no_grad()
    def prior(self, shown: tuple[int, ...]) -> Tensor:
        """(C,) one prompt's answer to a question without content."""
        empty = calibration.content_free_examples(self.renderer.template.fields)
        scores = self.word_scores_beside(shown, empty, torch.arange(self.backbone.vocabulary_size))
        return calibration.content_free_prior(self.verbalizer, calibration.log_probs(scores))

    def word_scores_beside(
        self, shown: tuple[int, ...], questions: Sequence[Mapping[str, str]], words: Tensor
    ) -> Tensor:
        """Scores (B, W) of (W,) words at the blanks of questions, beside the demonstrations of one prompt."""
        rows, prefix = [self.demonstrations.row(question, shown) for question in questions], NO_SOFT_PROMPT
        start = self.demonstrations.shared_start(shown) if self.backbone.kind == "causal" else ()
        if start and all(row.ids[: len(start)] == start for row in rows):
            rows, prefix = [_without_start(row, len(start)) for row in rows], self._cached_start(start)
        texts = Sequences.of(rows, self.backbone.vocabulary.pad, self.backbone.device)
        return self.backbone.scores(texts, words, prefix)

    def _cached_start(self, start: tuple[int, ...]) -> SoftPrompt:
        """The keys and values of the tokens that every row starts with; the model runs them once."""
        if start not in self._key_values:
            self._key_values[start] = prefix_of_tokens(self.backbone, torch.tensor(start))
        return self._key_values[start]


def _without_start(row: Row, count: int) -> Row:
    """A row without its first `count` tokens."""
    return replace(row, ids=row.ids[count:], read=row.read - count, segments=row.segments[count:])


LM_BFF = "Gao et al. 2021 (arXiv:2012.15723)"
VARIANTS = {
    "lm-bff": Variant(InContextConfig(), NO_TRAINING, f"{LM_BFF}: one of each class, 16 draws"),
    "lm-bff-128": Variant(InContextConfig(max_length=128), NO_TRAINING, f"{LM_BFF}, run_experiment.sh: rows of 128"),
    "lm-bff-pairs": Variant(InContextConfig(samples=4), NO_TRAINING, f"{LM_BFF}, for MNLI, SNLI and QQP: 4 draws"),
    "gpt-3": Variant(
        InContextConfig(demonstrations=32, samples=1, place="front", max_length=1024, share=0.75),
        NO_TRAINING,
        "Brown et al. 2020 (arXiv:2005.14165) as in LM-BFF's table 3: 32 random examples in front, one draw",
    ),
    "gpt-3-512": Variant(
        InContextConfig(demonstrations=32, samples=1, place="front", max_length=512, cut_head=True),
        NO_TRAINING,
        f"{LM_BFF}, its code for GPT-3's method: rows of 512, cut at their beginning",
    ),
    "calibrated": Variant(
        InContextConfig(demonstrations=4, samples=1, place="front", max_length=1024, calibrate=True, rule="logsumexp"),
        NO_TRAINING,
        "Zhao et al. 2021 (arXiv:2102.09690): 4 random examples in front, divided by content-free answers",
    ),
}
