"""An artificial language of reviews: the training texts of the bundled masked language model, and a task for it.

Documents are two or three sentences about things that are good or bad, and neutral ones about animals and errands. The
task's reviews have other sentence forms and other things than the training texts; they share the adjectives and verbs
that mean good or bad. This is not English text, and results on it do not predict results on English text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LABELS = ("negative", "positive")
ADJECTIVES = (
    _words("terrible bad awful dull poor boring horrible weak ugly stupid sloppy tedious clumsy dreadful"),
    _words(
        "great good lovely bright fine wonderful superb strong beautiful clever brilliant charming elegant delightful"
    ),
)
VERBS = (
    _words("hated disliked regretted dreaded despised resented"),
    _words("loved liked enjoyed admired adored cherished"),
)
THINGS = _words(
    "film movie plot acting script cast music scene ending director dialogue camera song comedy drama actor editing "
    "humour idea sound set pace lead role"
)
OTHER_THINGS = _words("story costume costumes finale actress sequel opening narration lighting makeup villain hero")
DEGREES = _words("very really truly quite so simply just rather")
ANIMALS = _words("cat dog horse bird cow sheep duck goat fox mouse")
PLACES = _words("river house road field market bridge garden town farm hill")
ACTS = _words("walked slept waited stood ate sat ran rested")
TIMES = _words("morning evening monday friday winter summer noon night")

# {a} an adjective, {v} a verb, {n} a thing, {d} a degree.
FORMS = (
    "the {n} was {a} .", "the {n} was {d} {a} .", "it was {a} .", "it was {d} {a} .", "it was a {a} {n} .",
    "i {v} the {n} .", "i {v} it .", "we {d} {v} the {n} and the {n} .", "what a {a} {n} !", "{a} {n} , {a} {n} .",
    "the {n} is {a} and the {n} is {a} .", "all of it was {a} .", "a {a} {n} with a {a} {n} .", "{d} {a} !", "{a} !",
    "this {n} felt {a} to me .", "they said the {n} was {a} .", "my friends {v} the {n} .",
)  # fmt: skip
OTHER_FORMS = (
    "with such a {a} {n} nobody left early .", "everyone here {v} this {n} from start to end .",
    "the {n} , {d} {a} , and then the {n} , {a} too .", "you get a {a} {n} for your money .",
    "critics {v} that {n} .", "one {a} {n} after another .", "never before has a {n} looked this {a} .",
    "{a} from start to end , that {n} .",
)  # fmt: skip
NEUTRAL = (
    "the {animal} {act} by the {place} .", "a {animal} and a {animal} {act} near the {place} .",
    "on {time} the {animal} {act} .", "it was {time} in the {place} .", "the {thing} was on {time} .",
    "we saw a {thing} at the {place} on {time} .", "they spoke of the {thing} and the {thing} .",
    "nobody left early .", "you get a {thing} for your money .", "it was a {animal} .", "the {animal} {act} too .",
    "critics came from start to end , one after another .", "everyone here saw the {thing} , then that {thing} .",
    "never before has a {animal} looked for a {place} with such a {animal} .",
)  # fmt: skip
TEMPLATES = ("{text} it was {mask} .", "{text} the film was {mask} .", "{text} really {mask} .", "{mask} ! {text}")


@dataclass(frozen=True)
class Review:
    """A document and its label: an index of LABELS, -1 for neutral."""

    text: str
    label: int


def review(rng: np.random.Generator, label: int, *, held_out: bool = False) -> Review:
    """Three or four sentences, of which at most one has the opposite label."""
    forms, things = (OTHER_FORMS, OTHER_THINGS) if held_out else (FORMS, THINGS)
    sides = [label] * int(rng.integers(2, 4)) + [label if rng.random() < 0.6 else 1 - label]
    sentences = [_filled(rng, _pick(rng, forms), side, things) for side in rng.permutation(sides)]
    return Review(" ".join(sentences), label)


def neutral(rng: np.random.Generator) -> Review:
    """Two neutral sentences; the words of the held-out forms and things occur here only."""
    sentences = []
    for form in (_pick(rng, NEUTRAL), _pick(rng, NEUTRAL)):
        words = {"animal": ANIMALS, "place": PLACES, "act": ACTS, "time": TIMES, "thing": [*THINGS, *OTHER_THINGS]}
        sentences.append(" ".join(_pick(rng, words[w[1:-1]]) if w.startswith("{") else w for w in form.split()))
    return Review(" ".join(sentences), -1)


def corpus(seed: int, reviews: int, others: int) -> list[str]:
    """Training texts for a language model, without labels."""
    rng = np.random.default_rng((seed, 0))
    documents = [review(rng, number % 2) for number in range(reviews)] + [neutral(rng) for _ in range(others)]
    return [each.text for each in documents]


def task(seed: int, count: int, part: int) -> list[Review]:
    """`count` different reviews with forms and things that training lacks, half of each label."""
    rng = np.random.default_rng((seed, 1, part))
    found: dict[str, Review] = {}
    while len(found) < count:
        made = review(rng, len(found) % 2, held_out=True)
        found.setdefault(made.text, made)
    return list(found.values())


def _filled(rng: np.random.Generator, form: str, label: int, things: Sequence[str]) -> str:
    choices = {"{a}": ADJECTIVES[label], "{v}": VERBS[label], "{n}": things, "{d}": DEGREES}
    return " ".join(_pick(rng, choices[word]) if word in choices else word for word in form.split())


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
