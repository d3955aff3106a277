"""iPET: generations of PET, each trained on more texts, which the previous one has labelled.

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), section 3.4. For model k of generation g + 1, the scores of a random
quarter of the other models of generation g are merged and label the unlabelled texts; of each class, texts are sampled
without replacement and in proportion to the probability of their label, until there are d^(g+1) times as many texts as
were labelled by hand, in their ratio of classes. Where a class has too few, its texts are repeated first. The last
generation is distilled as in PET (pet/modeling.py, generate_ipet_train_set).

The authors' code does not pass its seed to the models, so `--seed` has no effect on them; here it decides every draw.
Theirs never ends where a class is predicted for no text, and stops with an error where `n_most_likely` is smaller than
the number of texts that it draws; here such a class gets no text, with a warning, and texts are repeated.
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
    # The first generation's texts of a class are drawn among the N texts for which it is most probable, also where
    # another class is more so (cli.py, --ipet_n_most_likely; README: 100); 0: among all that it is predicted for.
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
        size = len(texts.labelled) * self.config.growth ** (generation + 1)
        counts = class_counts(int(size) - len(texts.labelled), texts.labels, len(self.classes))
        most = self.config.n_most_likely if generation == 0 else 0
        chosen = sample_texts(probabilities, counts, generator, most)
        new = tuple(Example(texts.unlabelled[place].item, label) for place, label in chosen)
        return replace(texts, labelled=texts.labelled + new, grown=len(new))


def draw_teachers(members: int, number: int, share: float, generator: torch.Generator) -> list[int]:
    """A random share of the other members, at least one; a single member is its own teacher."""
    rest = [member for member in range(members) if member != number] or [number]
    order = torch.randperm(len(rest), generator=generator).tolist()
    return [rest[place] for place in order[: max(1, round(len(rest) * share))]]


def class_counts(count: int, labels: Tensor, classes: int) -> list[int]:
    """How `count` texts are divided among the classes, in the ratio of the (N,) labels; fractions are dropped."""
    share = count / len(labels)
    return [int(own * share) for own in torch.bincount(labels, minlength=classes).tolist()]


def sample_texts(
    probabilities: Tensor, counts: Sequence[int], generator: torch.Generator, most: int = 0
) -> list[tuple[int, int]]:
    """(position, label) of texts, drawn by class without replacement, weighted by the probability of their label.

    Where a class has fewer texts than `counts` requires, each is repeated until there are enough to draw from.

    Args:
        probabilities: (N, C).
        counts: Texts of each class.
        generator: Of the draws.
        most: Draw among the `most` texts for which a class is most probable; 0: among those that it is predicted for.
    """
    predicted = probabilities.argmax(-1)
    chosen: list[tuple[int, int]] = []
    short = 0
    for label, count in enumerate(counts):
        own = probabilities[:, label]
        places = own.topk(min(most, len(own))).indices if most else (predicted == label).nonzero()[:, 0]
        short += count > len(places)
        if count > len(places) > 0:
            places = places.repeat(-(-count // len(places)))
        if count < len(places):
            places = places[torch.multinomial(own[places], count, generator=generator)] if count > 0 else places[:0]
        chosen += [(place, label) for place in places.tolist()]
    if short:
        warn(f"{short} of {len(counts)} classes have fewer pseudo-labelled texts than wanted; these are repeated.")
    return chosen


SOURCE = "Schick and Schuetze 2021 (arXiv:2001.07676)"
VARIANTS = {
    "ipet": Variant(IPETConfig(), RECIPE, f"{SOURCE}: three generations, five times as many texts each"),
    "most-likely": Variant(
        IPETConfig(n_most_likely=100, reduction="mean"),
        RECIPE,
        f"{SOURCE}, README, zero-shot: first texts are drawn among the 100 most probable of a class, equal weights",
    ),
}
