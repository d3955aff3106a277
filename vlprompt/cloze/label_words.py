"""Label words found on the training texts, with the prompt as it is written and the model frozen.

"lm-bff": Gao et al., ACL 2021 (arXiv:2012.15723), section 5.1: each class's likeliest words are combined, one a class,
and judged on the training texts. They fine-tune the model with each of the best hundred and take the best on dev; here
the model is frozen, so those are judged on validation texts where there are any, and the first counts where there are
none. Their step that keeps neighbours of given words only is left out.

"avs": Schick et al., COLING 2020 (arXiv:2010.13641): each word as a model of one class against the rest, by a balanced
likelihood ratio. Theirs may give one word to two classes; here it goes to the class it is the better model of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.base import ClozeConfig
from vlprompt.cloze.frozen import FrozenCloze
from vlprompt.cloze.word_search import assignments, likely, log_probs_of, ratios
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.errors import UsageError, unknown
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig

Search = Literal["lm-bff", "avs"]


@dataclass(frozen=True)
class LabelWordsConfig(ClozeConfig):
    """How words are found; those of the task are not looked at."""

    search: Search = "lm-bff"
    candidates: int = 100  # of each class (LM-BFF: k_likely 100; AVS: 1,000)
    keep: int = 100  # assignments that go on to validation (LM-BFF: n_pairs)
    count: int = 1  # words of a class, "avs" only; their scores are averaged

    def __post_init__(self) -> None:
        """Raise UsageError for a search that is not known, or without candidates."""
        super().__post_init__()
        if self.search not in get_args(Search):
            raise unknown("search", self.search, get_args(Search))
        if min(self.candidates, self.keep, self.count) < 1:
            raise UsageError(
                f"candidates {self.candidates}, keep {self.keep}, count {self.count}: each must be 1 or more."
            )
        if self.search == "lm-bff" and self.count > 1:
            raise UsageError(f"count is {self.count}; 'lm-bff' finds one word a class, use search='avs' for several.")


@final
class LabelWords(FrozenCloze):
    """Words of the vocabulary for each class, found before the first step; until then all classes score the same.

    Attributes:
        ids: (C, n) the words' ids.
    """

    one_blank = True
    in_order = True
    config: LabelWordsConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: LabelWordsConfig = LabelWordsConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        self.ids = torch.zeros(len(self.classes), config.count, dtype=torch.int64, device=lm.device)

    def rebuild(self) -> None:
        """There are no label words to look up yet."""

    @property
    def keeps_classes(self) -> str:
        """They were found for these."""
        return "its label words were found for these classes"

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each class, as `hard_prompt` takes them."""
        decode = self.backbone.vocabulary.tokenizer.decode
        return tuple(tuple(decode([piece]).strip() for piece in own) for own in self.ids.tolist())

    def found_words(self) -> dict[str, tuple[str, ...]]:
        """The words of each class, by its name."""
        return dict(zip(self.classes, self.words, strict=True))

    def found(self) -> dict[str, Tensor]:
        """The words."""
        return {"ids": self.ids}

    @torch.no_grad()
    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Find the words."""
        states, labels = self._known(train)
        if self.config.search == "avs":
            self.ids.copy_(self._by_ratio(states, labels))
            return
        words = likely(self.backbone, states, labels, len(self.classes), self.config.candidates)  # (C, k)
        best = words.gather(1, assignments(self._scores(states, words), words, labels, self.config.keep).T).T  # (n, C)
        if val is not None and val.size:
            best = best[self._accuracy(best, *self._known(val)).argsort(stable=True, descending=True)]
        self.ids.copy_(best[0][:, None])

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self._scores(self.states(batch), self.ids).mean(-1)

    def _by_ratio(self, states: Tensor, labels: Tensor) -> Tensor:
        """(C, n) words by likelihood ratio, each for the class it is the best model of."""
        classes, count = len(self.classes), self.config.count
        candidates = likely(self.backbone, states, labels, classes, self.config.candidates)  # (C, k)
        words = torch.unique(candidates)  # (K,)
        log_probs = log_probs_of(self.backbone, states, words)
        judged = torch.stack([ratios(log_probs, labels == label) for label in range(classes)])  # (C, K)
        there = torch.stack([torch.isin(words, own) for own in candidates])
        mine = judged.argmax(0) == torch.arange(classes, device=words.device)[:, None]
        judged = judged.masked_fill(~(there & mine), -torch.inf)
        if bool((judged.isfinite().sum(1) < count).any()):
            name = self.classes[int(judged.isfinite().sum(1).argmin())]
            raise UsageError(f"class {name!r} has fewer than {count} words of its own; raise label_words.candidates.")
        best: Tensor = words[judged.topk(count, dim=1).indices]
        return best

    def _known(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """The states (N, E) and labels (N,) of a split."""
        held = [batch.to(self.backbone.device) for batch in batches.epoch(0)]
        return torch.cat([self.states(batch) for batch in held]), torch.cat([batch.labels for batch in held])

    def _scores(self, states: Tensor, words: Tensor) -> Tensor:
        """(N, C, k) scores of (C, k) words."""
        return self.backbone.words_of(states, words.flatten()).reshape(len(states), *words.shape)

    def _accuracy(self, words: Tensor, states: Tensor, labels: Tensor) -> Tensor:
        """(n,) of (n, C) assignments."""
        return (self._scores(states, words).argmax(2) == labels[:, None]).double().mean(0)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Found, not trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "lm-bff": Variant(LabelWordsConfig(), recipe, "Gao et al. 2021 (arXiv:2012.15723), the model frozen"),
    "avs": Variant(
        LabelWordsConfig(search="avs", candidates=1000), recipe, "Schick et al. 2020 (arXiv:2010.13641), by ratio"
    ),
}
