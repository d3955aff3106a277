"""The state of a frozen model at the blank is computed once for all methods, and anew where anything differs."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.cloze.texts import TEMPLATE, batch, examples, own_scores
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import (
    HardPrompt,
    HardPromptConfig,
    LabelWords,
    LabelWordsConfig,
    SoftVerbalizer,
    SoftVerbalizerConfig,
    TextLinear,
    TextLinearConfig,
)
from vlprompt.data import feed
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError

Make = Callable[..., LanguageModel]
WORDS = (("bad", "dull"), ("good",))
TEXTS = ("the film was great .", "i saw the story", "it", "the actor was awful and i left", "the music", "a story")


@pytest.fixture
def task() -> Task:
    """Four training texts and four test texts, two of them the same."""
    rows = examples(TEXTS, [0, 1] * 3)
    return Task("opinions", ("no", "yes"), (TEMPLATE,), rows[:4], (), rows[2:], words=WORDS)


def count_encoded(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts in each call of the model from here on."""
    seen: list[int] = []
    run = lm.run

    def counted(texts: Any, *rest: Any, **more: Any) -> Any:
        seen.append(len(texts))
        return run(texts, *rest, **more)

    monkeypatch.setattr(lm, "run", counted)
    return seen


def test_scores_from_the_store_are_the_models_own(any_lm: LanguageModel, tmp_path: Path, task: Task) -> None:
    config = HardPromptConfig(TEMPLATE, (("the",), ("it",)), pieces="first")
    learner = HardPrompt(any_lm, task.classes, config)
    ids = [any_lm.vocabulary.pieces(" " + own[0])[0] for own in config.words]
    wanted = torch.stack([own_scores(any_lm, text)[ids] for text in TEXTS[2:]])
    found = vp.evaluate(learner, task, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    again = vp.evaluate(learner, task, store=FeatureStore(tmp_path)).scores
    assert torch.equal(again, found)


def test_all_methods_share_one_pass(make_lm: Make, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, store = make_lm("bert"), FeatureStore(tmp_path)
    seen = count_encoded(lm, monkeypatch)
    for kind, config in (
        (HardPrompt, HardPromptConfig()),
        (SoftVerbalizer, SoftVerbalizerConfig()),
        (TextLinear, TextLinearConfig(at="blank")),
        (LabelWords, LabelWordsConfig(candidates=5)),
    ):
        learner = kind.for_task(lm, task, config)
        vp.fit(learner, task, vp.TrainConfig(epochs=3 * (kind is not LabelWords), batch_size=2), store=store)
        vp.evaluate(learner, task, store=store)
    assert sum(seen) == len(TEXTS), "every text once, whatever split, epoch and method it is in"
    assert store.info().rows == len(TEXTS)


def test_equal_texts_are_stored_once(make_lm: Make, tmp_path: Path, task: Task) -> None:
    store, learner = FeatureStore(tmp_path), HardPrompt.for_task(make_lm("bert"), task, HardPromptConfig())
    twice = replace(task, test=task.test + tuple(replace(example, label=-1) for example in task.test))
    features = feed.text_features(learner.needs, learner.backbone, twice.test, store)
    assert store.info().rows == len(task.test)
    assert torch.equal(features[: len(task.test)], features[len(task.test) :])


def test_everything_that_decides_a_state_is_part_of_its_key(make_lm: Make, tmp_path: Path, task: Task) -> None:
    lm, store = make_lm("bert"), FeatureStore(tmp_path)

    def rows(model: LanguageModel, **changes: Any) -> int:
        before = store.info().rows
        learner = HardPrompt.for_task(model, task, HardPromptConfig(**changes))
        feed.text_features(learner.needs, learner.backbone, task.test, store)
        return store.info().rows - before

    count = len(task.test)
    assert rows(lm) == count
    assert rows(lm, words=(("awful",), ("fine",))) == 0, "words do not change the state"
    assert rows(lm, template="{text} it is {mask}") == count
    assert rows(lm, max_length=20) == count, "longer texts would be cut elsewhere"
    assert rows(lm, max_length=64) == 0, "64 is the model's own limit"
    assert rows(make_lm("bert", precision="bf16")) == count
    other = copy.deepcopy(lm.vocabulary.tokenizer)
    other.add_tokens(["story"])
    assert rows(LanguageModel(lm.model, other, "masked")) == count, "another tokenizer makes other ids"
    with torch.no_grad():
        lm.model.bert.embeddings.word_embeddings.weight[0].add_(1)
    assert rows(LanguageModel(lm.model, lm.vocabulary.tokenizer, "masked")) == count, "other weights"
    linear = TextLinear.for_task(make_lm("bert"), task, TextLinearConfig(template="{text}"))
    before = store.info().rows
    feed.text_features(linear.needs, linear.backbone, task.test, store)
    assert store.info().rows == before + count, "the first token is not the blank"


@pytest.fixture(scope="module")
def bent(tiny_lm: Make) -> LanguageModel:
    """A model that transforms its scores after the head: Gemma 2's soft cap."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.Gemma2Config(
        vocab_size=600, num_key_value_heads=2, head_dim=16, final_logit_softcapping=8.0, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = transformers.Gemma2ForCausalLM(config)
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.2
    return LanguageModel(model, tiny_lm("gpt2").vocabulary.tokenizer, "causal", name="bent")


def test_scores_are_stored_if_the_model_transforms_them_after_the_head(
    bent: LanguageModel, task: Task, tmp_path: Path
) -> None:
    assert bent.head == "rows only"
    assert not bent.linear, "its states times the head's rows are not its scores"
    half = LanguageModel(copy.deepcopy(bent.model), bent.vocabulary.tokenizer, "causal", precision="bf16")
    assert not half.linear, "also in bfloat16, where a cap has no effect on small scores"
    learner = HardPrompt.for_task(bent, task, HardPromptConfig(words=(("bad",), ("good",))))
    ids = [bent.vocabulary.pieces(" " + word)[0] for word in ("bad", "good")]
    wanted = torch.stack([own_scores(bent, text)[ids] for text in TEXTS[2:]])
    assert wanted.abs().max() < 8
    found = vp.evaluate(learner, task, store=FeatureStore(tmp_path)).scores
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    for kind, config in ((SoftVerbalizer, SoftVerbalizerConfig()), (TextLinear, TextLinearConfig(at="blank"))):
        with pytest.raises(UsageError, match="bent transforms its scores after the head"):
            kind.for_task(bent, task, config)


def test_learned_tokens_are_refused(make_lm: Make) -> None:
    with pytest.raises(UsageError, match=r"column 8: hard_prompt learns no tokens; write words, or use prompt_tuning"):
        HardPrompt(make_lm("bert"), ["bad", "good"], HardPromptConfig("{text} {soft:2} {mask}"))


def test_a_batch_of_texts_is_the_same_as_one_of_states(make_lm: Make, task: Task, tmp_path: Path) -> None:
    learner = SoftVerbalizer.for_task(make_lm("roberta"), task, SoftVerbalizerConfig())
    (known,) = feed.test_batches(learner.needs, learner.backbone, task, task.test, FeatureStore(tmp_path)).epoch(0)
    assert known.texts is None
    torch.testing.assert_close(learner.predict(batch(*TEXTS[2:])), learner.predict(known))


def test_images_are_refused_in_one_line(make_lm: Make, tmp_path: Path) -> None:
    digits = vp.load_task("digits")
    learner = HardPrompt(make_lm("bert"), ["bad", "good"])
    with pytest.raises(UsageError, match=r"the method reads texts; .* is not one"):
        feed.test_batches(learner.needs, learner.backbone, digits, digits.test, FeatureStore(tmp_path))
    coop = vp.learners.CoOp(vp.load_clip("tiny"), ["one", "two"])
    with pytest.raises(UsageError, match="reads features, not features of texts"):
        feed.text_features(coop.needs, coop.backbone, (), FeatureStore(tmp_path))


def test_the_text_of_a_state_that_is_not_finite_is_named(make_lm: Make, task: Task, tmp_path: Path) -> None:
    lm = make_lm("bert")
    learner = HardPrompt.for_task(lm, task, HardPromptConfig())
    with torch.no_grad():
        lm.model.bert.embeddings.word_embeddings.weight[lm.vocabulary.pieces("music")] = float("nan")
    store = FeatureStore(tmp_path)
    with pytest.raises(VlpromptError, match=r"not finite for .*the music.*; try precision fp32"):
        vp.evaluate(learner, task, store=store)
    assert store.info().rows == 0
