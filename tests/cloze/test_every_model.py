"""Every text method with every kind of language model, in float32 and in bfloat16."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.cloze.texts import KINDS
from tests.cloze.texts import batch as batch_of
from vlprompt import methods
from vlprompt.data import feed
from vlprompt.data.features import FeatureStore
from vlprompt.learner import PromptLearner

pytestmark = pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # of ensembles of few texts
METHODS = [name for name in methods.names() if vp.LanguageModel in methods.learner_class(name).backbones]
ROWS = tuple(vp.Example(vp.Text.of(text=f"the {noun} was {word} ." + " and i saw it" * (number % 3)), label)
             for number, noun in enumerate(("film", "story", "actor"))
             for label, word in enumerate(("dull", "fine")))  # fmt: skip
UNLABELLED = tuple(replace(row, label=-1) for row in ROWS)
TASK = vp.Task(
    "opinions", ("no", "yes"), ("{text} it was {mask}",), ROWS, (), ROWS, UNLABELLED, words=(("bad",), ("good",))
)
SMALL = {"length": 4, "middle": 8, "candidates": 8, "samples": 2}
SMALL |= {"steps": 2, "repetitions": 1, "generations": 2, "growth": 1.5}  # of methods that train other models


@pytest.fixture(scope="module")
def lm(make_lm: Callable[..., vp.LanguageModel]) -> Callable[[str, str], vp.LanguageModel]:
    kept: dict[tuple[str, str], vp.LanguageModel] = {}

    def made(name: str, precision: str) -> vp.LanguageModel:
        key = name, precision
        return kept.get(key) or kept.setdefault(key, make_lm(name, precision=precision))

    return made


def build(method: str, backbone: vp.LanguageModel) -> PromptLearner[Any, Any]:
    config = methods.variant(method)[1].config
    changes = {field.name: SMALL[field.name] for field in fields(config) if field.name in SMALL}
    return methods.learner_class(method).for_task(backbone, TASK, replace(config, **changes), seed=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_it_trains_predicts_and_is_saved(
    method: str, name: str, precision: str, lm: Callable[[str, str], vp.LanguageModel], tmp_path: Path
) -> None:
    backbone = lm(name, precision)
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    learner, store = build(method, backbone), FeatureStore(tmp_path / "store")
    recipe = methods.variant(method)[1].training(2, "")
    plain = {"warmup": "none", "steps": 0, "batch_size": 4, "lr": min(recipe.lr, 1e-3)}
    recipe = replace(recipe, **plain, epochs=min(recipe.epochs, 1))
    vp.fit(learner, TASK, recipe, store=store)
    unmoved = [key for key, value in backbone.model.state_dict().items() if not torch.equal(before[key], value)]
    assert unmoved == [], "frozen weights have changed"
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in learner.trainable().values())

    batch = next(iter(feed.test_batches(learner.needs, learner.backbone, TASK, TASK.test, store).epoch(0)))
    scores = learner.predict(batch)
    assert scores.shape == (len(ROWS), 2)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert not torch.equal(scores[0], scores[1]), "it reads the text"
    alone = torch.cat([learner.predict(batch_of(row.item)) for row in ROWS])
    near = 1e-4 if precision == "fp32" else 0.25
    torch.testing.assert_close(alone, scores, rtol=near, atol=near * float(scores.abs().max()))

    learner.save(tmp_path / "prompt")
    assert torch.equal(vp.load(tmp_path / "prompt", backbone).predict(batch), scores)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", [m for m in METHODS if methods.variant(m)[1].training(2, "").epochs])
def test_everything_that_is_learned_has_a_gradient(
    method: str, name: str, lm: Callable[[str, str], vp.LanguageModel], tmp_path: Path
) -> None:
    learner = build(method, lm(name, "fp32")).train()
    batches = feed.train_batches(
        learner.needs, learner.backbone, TASK, vp.TrainConfig(batch_size=6, augment="none"), FeatureStore(tmp_path)
    )
    learner.prepare(batches, None)
    with torch.random.fork_rng(devices=[]):
        learner.backward(next(iter(batches.epoch(0))))
    lacking = [key for key, value in learner.trainable().items() if value.grad is None]
    assert lacking == []
    assert all(p.grad is None for p in learner.backbone.parameters())
