"""Label words found on the training texts, with a fixed prompt and a frozen model.

"lm-bff": Gao et al., ACL 2021 (arXiv:2012.15723), section 5.1: each class's most probable words are combined, one a
class, and ranked by accuracy on the training texts. They fine-tune the model with each of the best hundred and select
on dev; here the model is frozen, so these are ranked on validation texts if there are any, else the first is used.
Their step that keeps neighbours of given words only is left out.

"avs": Schick et al., COLING 2020 (arXiv:2010.13641): each word as a model of one class against the rest, by a balanced
likelihood ratio. Theirs may give one word to two classes; here it belongs to the class that it models better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import Layout
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.frozen import FrozenCloze
from vlprompt.cloze.parts.word_search import best_assignments, likelihood_ratios, likely_words, log_probs_of
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError
from vlprompt.training.config import NO_TRAINING, Variant

Search = Literal["lm-bff", "avs"]


@dataclass(frozen=True)
class LabelWordsConfig(ClozeConfig):
    """How words are found; those of the task are not used."""

    search: Search = "lm-bff"
    candidates: int = number(100, at_least=1)  # of each class (LM-BFF: k_likely 100; AVS: 1,000)
    keep: int = number(100, at_least=1)  # assignments that are ranked on validation texts (LM-BFF: n_pairs)
    count: int = number(1, at_least=1)  # words of a class, "avs" only; their scores are averaged

    def __post_init__(self) -> None:
        """Raise UsageError for a search that does not find several words a class."""
        super().__post_init__()
        if self.search == "lm-bff" and self.count > 1:
            raise UsageError(f"count is {self.count}; 'lm-bff' finds one word a class, use search='avs' for several.")


@final
class LabelWords(FrozenCloze[LabelWordsConfig]):
    """Words of the vocabulary for each class, found before the first step; until then all classes score the same.

    Attributes:
        ids: (C, n) ids of the words.
    """

    Config = LabelWordsConfig
    needs = Needs(input=Input.TEXT_FEATURES, ordered=True)
    why_classes_fixed = "its label words were found for these classes"
    one_blank = True
    ids: Tensor

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: LabelWordsConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        shape = len(self.classes), self.config.count
        self.register_buffer("ids", torch.zeros(shape, dtype=torch.int64, device=lm.device))

    def make_layout(self, template: str) -> Layout:
        """The template, without label words."""
        return Layout(template, has_words=False)

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each class, as `hard_prompt` takes them."""
        decode = self.backbone.vocabulary.tokenizer.decode
        return tuple(tuple(decode([piece]).strip() for piece in own) for own in self.ids.tolist())

    def found_words(self) -> dict[str, tuple[str, ...]]:
        """The words of each class, by its name."""
        return dict(zip(self.classes, self.words, strict=True))

    @torch.no_grad()
    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Find the words."""
        states, labels = self._states_of(train)
        if self.config.search == "avs":
            self.ids.copy_(self.by_ratio(states, labels))
            return
        words = likely_words(self.backbone, states, labels, len(self.classes), self.config.candidates)  # (C, k)
        places = best_assignments(self._scores(states, words), words, labels, self.config.keep)  # (n, C)
        best = words.gather(1, places.T).T  # (n, C)
        if val is not None and val.size:
            best = best[self.accuracy(best, *self._states_of(val)).argsort(stable=True, descending=True)]
        self.ids.copy_(best[0][:, None])

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self._scores(self.states(batch), self.ids).mean(-1)

    def by_ratio(self, states: Tensor, labels: Tensor, among: Tensor | None = None) -> Tensor:
        """(C, n) ids of words by likelihood ratio, each for the class that it models best.

        Args:
            states: (N, E) of N texts.
            labels: (N,) their classes.
            among: (W,) ids of the words to choose from; None: all whole words of letters.

        Raises:
            UsageError: A class has fewer words than `config.count`.
        """
        classes, count = len(self.classes), self.config.count
        candidates = likely_words(self.backbone, states, labels, classes, self.config.candidates, among)  # (C, k)
        words = torch.unique(candidates)  # (K,)
        log_probs = log_probs_of(self.backbone, states, words)
        ratios = torch.stack([likelihood_ratios(log_probs, labels == label) for label in range(classes)])  # (C, K)
        is_candidate = torch.stack([torch.isin(words, own) for own in candidates])
        is_best = ratios.argmax(0) == torch.arange(classes, device=words.device)[:, None]
        ratios = ratios.masked_fill(~(is_candidate & is_best), -torch.inf)
        counts = ratios.isfinite().sum(1)
        if bool((counts < count).any()):
            name = self.classes[int(counts.argmin())]
            raise UsageError(f"class {name!r} has fewer than {count} words of its own; raise label_words.candidates.")
        best: Tensor = words[ratios.topk(count, dim=1).indices]
        return best

    def _states_of(self, batches: Batches) -> tuple[Tensor, Tensor]:
        """The states (N, E) and labels (N,) of a split."""
        every = [batch.to(self.backbone.device) for batch in batches.epoch(0)]
        return torch.cat([self.states(batch) for batch in every]), torch.cat([batch.labels for batch in every])

    def _scores(self, states: Tensor, words: Tensor) -> Tensor:
        """(N, C, k) scores of (C, k) words."""
        return self.backbone.scores_of(states, words.flatten()).reshape(len(states), *words.shape)

    def accuracy(self, words: Tensor, states: Tensor, labels: Tensor) -> Tensor:
        """(n,) of (n, C) assignments."""
        return (self._scores(states, words).argmax(2) == labels[:, None]).double().mean(0)


VARIANTS = {
    "lm-bff": Variant(LabelWordsConfig(), NO_TRAINING, "Gao et al. 2021 (arXiv:2012.15723), the model frozen"),
    "lm-bff-32": Variant(
        LabelWordsConfig(keep=32),
        NO_TRAINING,
        "Gao et al. 2021, tools/sort_prompt.py: the best 32 assignments are ranked",
    ),
    "avs": Variant(
        LabelWordsConfig(search="avs", candidates=1000), NO_TRAINING, "Schick et al. 2020 (arXiv:2010.13641), by ratio"
    ),
    "avs-10": Variant(
        LabelWordsConfig(search="avs", candidates=1000, count=10),
        NO_TRAINING,
        "Schick et al. 2020 (arXiv:2010.13641), petal.py: ten words of each class",
    ),
}
