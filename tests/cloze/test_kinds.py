"""Every cloze learner on masked, causal and encoder-decoder models: it trains, keeps the model, and comes back."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from vlprompt import learners
from vlprompt.backbones.lm import LanguageModel
from vlprompt.data import FeatureStore

KINDS = ("bert", "roberta", "gpt2", "t5")
METHODS = [name for name in learners.names() if vp.LanguageModel in learners.learner_class(name).takes]
WORDS = (("dull",), ("lovely",))


@pytest.fixture(scope="module")
def opinions() -> vp.Task:
    """Eight texts, four a class, and some without a label; the blank comes last, as a causal model needs it."""
    rows = tuple(
        vp.Example(vp.Text.of(text=f"the {noun} was {word} ."), label)
        for noun in ("film", "story")
        for label, own in enumerate((("terrible", "bad"), ("great", "good")))
        for word in own
    )
    unlabelled = tuple(replace(example, label=-1) for example in rows)
    return vp.Task("opinions", ("no", "yes"), ("{text} it was {mask}",), rows, (), rows, unlabelled, words=WORDS)


def small(method: str) -> Any:
    """The published setting, with short prompts."""
    config = learners.variant(method)[1].config
    short = {f.name: 3 for f in fields(config) if f.name == "length"}
    return replace(config, **short | {f.name: 8 for f in fields(config) if f.name in ("middle", "candidates")})


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_comes_back(
    method: str, name: str, make_lm: Callable[..., LanguageModel], opinions: vp.Task, tmp_path: Path
) -> None:
    lm, store = make_lm(name), FeatureStore(tmp_path / "store")
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    learner = learners.learner_class(method).for_task(lm, opinions, small(method), seed=1)
    recipe = learners.variant(method)[1].recipe(2, "")
    if recipe.epochs:
        plain = {"schedule": "constant", "warmup": "none", "lr": min(recipe.lr, 0.01)}
        recipe = replace(recipe, epochs=2, batch_size=4, **plain)
    vp.fit(learner, opinions, recipe, store=store)
    scores = vp.evaluate(learner, opinions, store=store).scores
    assert scores.shape == (len(opinions.test), 2)
    assert scores.isfinite().all()
    assert not torch.equal(scores[0], scores[1]), "it reads the text"
    after = lm.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before), "a frozen weight has changed"
    learner.save(tmp_path / "prompt")
    again = vp.load(tmp_path / "prompt", lm)
    assert torch.equal(vp.evaluate(again, opinions, store=store).scores, scores)
