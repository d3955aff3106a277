"""iPET: generations of PET, each trained on more texts, which the previous one has labelled.

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), section 3.4. For model k of generation g + 1, the scores of a random
quarter of the other models of generation g are merged and label the unlabelled texts; of each class, texts are sampled
without replacement and in proportion to the probability of their label, until there are d^(g+1) times as many texts as
were labelled by hand, in their ratio of classes. The last generation is distilled as in PET.

The authors' code does not pass its seed to the models, so `--seed` has no effect on them; here it decides every draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from vlprompt.cloze.parts.config import number
from vlprompt.cloze.parts.distilled import Distilled, DistilledConfig
from vlprompt.cloze.parts.ensemble import Votes
from vlprompt.cloze.parts.recipes import STUDENT_RECIPE as RECIPE
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.data.images import Example
from vlprompt.errors import warn
from vlprompt.randomness import mixed
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class IPETConfig(DistilledConfig):
    """Generations, and how many texts each labels for the next."""

    generations: int = number(3, at_least=1)  # cli.py, --ipet_generations
    # Of the other models, whose scores label texts for a model (cli.py, --ipet_logits_percentage).
    share: float = number(0.25, above=0, at_most=1)
    growth: float = number(5.0, at_least=1)  # d (cli.py, --ipet_scale_factor)
    # Texts a class that the first generation labels, the most probable ones; 0: they are sampled (README: 100).
    n_most_likely: int = number(0, at_least=0)


@final
class IPET(Distilled[IPETConfig]):
    """A student of the last of several generations."""

    Config = IPETConfig

    def ensemble_scores(self, texts: TrainingTexts) -> Tensor:
        """(N, C) the weighted mean of the last generation's scores of the unlabelled texts."""
        ensemble = self.ensemble
        members = range(len(ensemble))
        own = [texts for _ in members]
        for generation in range(self.config.generations):
            label = f"generation {generation + 1} of {self.config.generations}"
            votes = ensemble.votes(own, label, generation)
            if generation + 1 < self.config.generations:
                own = [self.grow(texts, votes, number, generation) for number in members]
        return votes.merge()

    def grow(self, texts: TrainingTexts, votes: Votes, number: int, generation: int) -> TrainingTexts:
        """The texts of model `number` of the next generation: the labelled ones, and those that other models label."""
        generator = torch.Generator().manual_seed(mixed(self.seed, "grown", number, generation))
        teachers = draw_teachers(len(votes.weights), number, self.config.share, generator)
        probabilities = votes.merge(teachers).softmax(-1).cpu()
        if generation == 0 and self.config.n_most_likely:
            chosen = most_likely(probabilities, self.config.n_most_likely)
        else:
            size = len(texts.labelled) * self.config.growth ** (generation + 1)
            counts = class_counts(int(size) - len(texts.labelled), texts.labels, len(self.classes))
            chosen = sample_texts(probabilities, counts, generator)
        new = tuple(Example(texts.unlabelled[place].item, label) for place, label in chosen)
        return replace(texts, labelled=texts.labelled + new)


def draw_teachers(members: int, number: int, share: float, generator: torch.Generator) -> list[int]:
    """A random share of the other members, at least one; a single member is its own teacher."""
    rest = [member for member in range(members) if member != number] or [number]
    order = torch.randperm(len(rest), generator=generator).tolist()
    return [rest[place] for place in order[: max(1, round(len(rest) * share))]]


def class_counts(count: int, labels: Tensor, classes: int) -> list[int]:
    """How `count` texts are divided among the classes, in the ratio of the (N,) labels."""
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    return [round(count * share) for share in shares.tolist()]


def sample_texts(probabilities: Tensor, counts: Sequence[int], generator: torch.Generator) -> list[tuple[int, int]]:
    """(position, label) of texts, sampled by class without replacement, weighted by the probability of their label.

    Of a class that is predicted for fewer texts than `counts` requires, all are used, with one warning.

    Args:
        probabilities: (N, C).
        counts: Texts of each class.
        generator: Of the draws.
    """
    confidence, labels = probabilities.max(-1)
    chosen: list[tuple[int, int]] = []
    short = 0
    for label, count in enumerate(counts):
        places = (labels == label).nonzero()[:, 0]
        short += count > len(places)
        if count < len(places):
            weights = confidence[places]
            places = places[torch.multinomial(weights, count, generator=generator)] if count > 0 else places[:0]
        chosen += [(place, label) for place in places.tolist()]
    if short:
        warn(f"{short} of {len(counts)} classes have fewer pseudo-labelled texts than wanted; all of them are used.")
    return chosen


def most_likely(probabilities: Tensor, count: int) -> list[tuple[int, int]]:
    """(position, label) of the `count` most probable texts of each class; probabilities (N, C)."""
    best = probabilities.topk(min(count, len(probabilities)), dim=0).indices  # (n, C)
    return [(place, label) for label, places in enumerate(best.T.tolist()) for place in places]


SOURCE = "Schick and Schuetze 2021 (arXiv:2001.07676)"
VARIANTS = {
    "ipet": Variant(IPETConfig(), RECIPE, f"{SOURCE}: three generations, five times as many texts each"),
    "most-likely": Variant(
        IPETConfig(n_most_likely=100, reduction="mean"),
        RECIPE,
        f"{SOURCE}: as without labelled texts, 100 most probable texts a class",
    ),
}
