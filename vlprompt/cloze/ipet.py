"""iPET: generations of PET, each trained on more texts, which the one before has labelled.

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), section 3.4. For model k of generation g + 1 a random quarter of the
other models of generation g is merged and labels the unlabelled texts; of each class, texts are drawn without
replacement and in proportion to how sure the label is, until there are d^(g+1) times as many texts as were labelled by
hand, in their ratio of classes. The last generation is distilled as in PET.

The authors' code does not pass its seed on to the models, so `--seed` changes nothing; here every draw follows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.distilled import Distilled, DistilledConfig, student_recipe
from vlprompt.cloze.ensemble import Votes
from vlprompt.cloze.material import Material
from vlprompt.data.images import Example
from vlprompt.data.loaders import mixed
from vlprompt.errors import UsageError, warn
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class IPETConfig(DistilledConfig):
    """Generations, and how many texts each labels for the next."""

    generations: int = 3  # cli.py, --ipet_generations
    share: float = 0.25  # of the other models, which label for a model (cli.py, --ipet_logits_percentage)
    growth: float = 5.0  # d (cli.py, --ipet_scale_factor)
    n_most_likely: int = 0  # texts a class that the first generation labels, the surest ones; 0: drawn (README: 100)

    def __post_init__(self) -> None:
        """Raise UsageError for numbers out of range."""
        super().__post_init__()
        if self.generations < 1 or not 0 < self.share <= 1 or self.growth < 1 or self.n_most_likely < 0:
            raise UsageError(
                f"generations {self.generations}, share {self.share}, growth {self.growth}, n_most_likely "
                f"{self.n_most_likely}: generations and growth must be 1 or more, share above 0 and at most 1, "
                "n_most_likely 0 or more."
            )


@final
class IPET(Distilled):
    """A student of the last of several generations."""

    config: IPETConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: IPETConfig = IPETConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)

    def ensemble_scores(self, material: Material) -> Tensor:
        """(N, C) the weighted mean of the last generation's scores of the unlabelled texts."""
        ensemble = self.ensemble
        given = [material] * len(ensemble)
        for generation in range(self.config.generations):
            told = f"generation {generation + 1} of {self.config.generations}"
            votes = ensemble.votes(given, told, generation)
            if generation + 1 < self.config.generations:
                given = [self.grown(material, votes, number, generation) for number in range(len(ensemble))]
        return votes.merged()

    def grown(self, material: Material, votes: Votes, number: int, generation: int) -> Material:
        """What model `number` of the next generation learns from: the labelled texts, and those that others label."""
        generator = torch.Generator().manual_seed(mixed(self.seed, "grown", number, generation))
        sure = votes.merged(others(len(votes.weights), number, self.config.share, generator)).softmax(-1).cpu()
        most_likely = self.config.n_most_likely if generation == 0 else 0
        if most_likely:
            chosen = surest(sure, most_likely)
        else:
            size = len(material.train) * self.config.growth ** (generation + 1)
            wanted = shared_out(int(size) - len(material.train), material.labels, len(self.classes))
            chosen = drawn(sure, wanted, generator)
        new = tuple(Example(material.unlabelled[place].item, label) for place, label in chosen)
        return replace(material, train=material.train + new)


def others(members: int, number: int, share: float, generator: torch.Generator) -> list[int]:
    """A random share of the members but one, at least one of them; an only member is its own teacher."""
    rest = [member for member in range(members) if member != number] or [number]
    order = torch.randperm(len(rest), generator=generator).tolist()
    return [rest[place] for place in order[: max(1, round(len(rest) * share))]]


def shared_out(count: int, labels: Tensor, classes: int) -> list[int]:
    """How many texts of each class are to be drawn, in the ratio of the labelled ones."""
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    return [round(count * share) for share in shares.tolist()]


def drawn(sure: Tensor, wanted: Sequence[int], generator: torch.Generator) -> list[tuple[int, int]]:
    """(place, label) of texts drawn by class, without replacement, as likely as their label is sure: (N, C) softmax.

    Of a class that too few texts are taken for, all are used, with one warning.
    """
    confidence, labels = sure.max(-1)
    found: list[tuple[int, int]] = []
    short = 0
    for label, count in enumerate(wanted):
        places = (labels == label).nonzero()[:, 0]
        short += count > len(places)
        if count >= len(places):
            found += [(place, label) for place in places.tolist()]
        elif count > 0:
            picked = torch.multinomial(confidence[places], count, generator=generator)
            found += [(place, label) for place in places[picked].tolist()]
    if short:
        warn(f"too few unlabelled texts are taken for {short} of {len(wanted)} classes; all that are, are used.")
    return found


def surest(sure: Tensor, count: int) -> list[tuple[int, int]]:
    """(place, label) of the `count` texts that are most likely of each class."""
    best = sure.topk(min(count, len(sure)), dim=0).indices  # (n, C)
    return [(place, label) for label, places in enumerate(best.T.tolist()) for place in places]


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The student's, as PET's, see `student_recipe`."""
    return student_recipe()


SOURCE = "Schick and Schuetze 2021 (arXiv:2001.07676)"
VARIANTS = {
    "ipet": Variant(IPETConfig(), recipe, f"{SOURCE}: three generations, five times as many texts each"),
    "most-likely": Variant(
        IPETConfig(n_most_likely=100, reduction="mean"), recipe, f"{SOURCE}: as from no examples, 100 surest a class"
    ),
}
