"""TDA against its equations with dictionaries of lists, and as an online method."""

import math

import pytest
import torch
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners import tda
from vlprompt.learners.tda import TDA, TDAConfig
from vlprompt.training.evaluate import Online

# Thresholds at which some images of a small random model are uncertain.
CONFIG = TDAConfig(unsure_from=0.2, unsure_to=0.9, likely=0.1, positive_size=2, negative_alpha=0.5)


def stream(count: int = 40, views: int = 1) -> Tensor:
    return torch.randn(count, views, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def batch_of(held: Tensor) -> Batch:
    index = torch.arange(len(held))
    return Batch(torch.full_like(index, -1), index, views=held)


def read(image: Tensor, text: Tensor, scale: Tensor, confident: float) -> tuple[Tensor, Tensor, Tensor]:
    """Feature, scores and probabilities of (V, E) views: means over the most certain."""
    f = image / image.norm(dim=1, keepdim=True)
    scores = scale * f @ text.T
    p = scores.softmax(1)
    order = sorted(range(len(f)), key=lambda i: float(-(p[i] * p[i].log()).sum()))[: max(1, int(confident * len(f)))]
    return f[order].mean(0), scores[order].mean(0), p[order].mean(0)


def plainly(images: Tensor, text: Tensor, scale: Tensor, c: TDAConfig) -> Tensor:
    caches: tuple[dict, dict] = ({}, {})
    answers = []
    for image in images:
        f, scores, p = read(image, text, scale, c.confident)
        label, classes = int(scores.argmax()), len(scores)
        largest = math.log2(classes) if c.reference_quirks else math.log(classes)
        entropy = float(-(p * p.log()).sum()) / largest
        taken = [(0, c.positive_size, torch.eye(classes, dtype=p.dtype)[label])]
        if c.unsure_from < entropy < c.unsure_to:
            taken.append((1, c.negative_size, (p > c.likely).to(p.dtype)))
        for which, size, value in taken:
            kept = caches[which].setdefault(label, [])
            kept.append((entropy, f, value))
            kept.sort(key=lambda item: item[0])
            del kept[size:]
        for sign, (alpha, beta), cache in zip(
            (1, -1), ((c.positive_alpha, c.positive_beta), (c.negative_alpha, c.negative_beta)), caches, strict=True
        ):
            for _, key, value in (item for kept in cache.values() for item in kept):
                scores = scores + sign * alpha * torch.exp(-beta * (1 - f @ key)) * value
        answers.append(scores)
    assert caches[1], "no image was uncertain: the test shows nothing"
    return torch.stack(answers)


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("views", [1, 20])
def test_scores_are_the_caches(small: Clip, names: tuple[str, ...], views: int, quirks: bool) -> None:
    config = TDAConfig(**{**vars(CONFIG), "reference_quirks": quirks, "views": views})
    learner = TDA(small, names, config)
    held = stream(views=views)
    wanted = plainly(held, learner.class_features(), small.logit_scale, config)
    assert torch.allclose(learner.predict(batch_of(held)), wanted, atol=1e-8)


def test_a_streams_scores_do_not_depend_on_the_batch_size(small: Clip, names: tuple[str, ...]) -> None:
    learner, held = TDA(small, names, CONFIG), stream()
    together = learner.predict(batch_of(held))
    for size in (1, 7, 16):
        learner.reset()
        parts = [learner.predict(batch_of(part)) for part in held.split(size)]
        assert torch.allclose(torch.cat(parts), together, atol=1e-10)


def test_it_is_online_and_can_be_reset(small: Clip, names: tuple[str, ...]) -> None:
    learner, held = TDA(small, names, CONFIG), stream()
    assert isinstance(learner, Online)
    first = learner.predict(batch_of(held))
    assert not torch.allclose(learner.predict(batch_of(held)), first, atol=1e-3), "the caches do nothing"
    learner.reset()
    assert torch.equal(learner.predict(batch_of(held)), first)
    learner.reset()
    assert not torch.allclose(learner.predict(batch_of(held.flip(0))).flip(0), first, atol=1e-3), "order must matter"
    learner.set_classes(["cat", "dog"])
    assert learner.predict(batch_of(held)).shape == (len(held), 2)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(UsageError, match="positive_size is 0; it must be a whole number, 1 or more"):
        TDAConfig(positive_size=0)
    with pytest.raises(UsageError, match=r"confident is 2.0; it must be a number, above 0 and at most 1"):
        TDAConfig(confident=2)


@pytest.mark.parametrize(
    ("dataset", "alpha", "beta", "templates"),
    [("dtd", 2, 3, 1), ("caltech101", 5, 5, 7), ("imagenet_r", 1, 8, 1), ("photos", 2, 5, 1)],
)
def test_the_code_has_settings_for_each_data_set(
    small: Clip, names: tuple[str, ...], dataset: str, alpha: float, beta: float, templates: int
) -> None:
    """They go with the task, also where the stream goes on to another one."""
    task, config = Task("some", names, dataset=dataset), tda.VARIANTS["tda-code"].config
    learner = TDA.for_task(small, Task("other", names, dataset="eurosat"), config)
    assert (learner.config.positive_alpha, learner.config.positive_beta) == (4, 8)
    for found in (TDA.for_task(small, task, config), TDA.for_task(small, Task("own", names), config)):
        found.begin_task(task)
        assert (found.config.positive_alpha, found.config.positive_beta, len(found.templates)) == (
            alpha,
            beta,
            templates,
        )
