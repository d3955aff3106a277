"""In context: which demonstrations are used, where they are, and that cached keys and values change nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze import texts
from tests.cloze.texts import TEMPLATE, first_pieces, opinions
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze import HardPrompt, HardPromptConfig, InContext, InContextConfig
from vlprompt.cloze.parts.demonstrations import draw_demonstrations
from vlprompt.data.batches import text_batches
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError
from vlprompt.randomness import mixed
from vlprompt.training.config import NO_TRAINING

Make = Callable[[str], LanguageModel]
WORDS = (("bad", "poor"), ("good",))
ROWS = opinions("film", "story", "actor")
TEXTS = ("the music was great .", "i saw it", "it")
BATCH = texts.batch(*TEXTS)


def fitted(lm: LanguageModel, config: InContextConfig, seed: int = 1) -> InContext:
    learner = InContext(lm, ("no", "yes"), replace(config, words=WORDS), seed=seed)
    vp.fit(learner, text_batches(ROWS, batch_size=2), NO_TRAINING)
    return learner


def by_the_library(lm: LanguageModel, ids: list[int], place: int) -> Tensor:
    """(C,) mean logits of the label words."""
    with torch.no_grad():
        found = lm.model(input_ids=torch.tensor([ids])).logits[0, place]
    return torch.stack([found[own].mean() for own in first_pieces(lm, WORDS)])


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_one_of_each_class_is_behind_the_question_and_scores_are_averaged(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    own = lm.vocabulary
    learner = fitted(lm, InContextConfig("{text} it was {mask} .", samples=3))
    generator = torch.Generator().manual_seed(mixed(1, "demonstrations"))
    draws = draw_demonstrations([row.label for row in ROWS], 0, 3, generator)
    assert [[ROWS[place].label for place in draw] for draw in draws] == [[0, 1]] * 3
    for text, found in zip(TEXTS, learner.predict(BATCH), strict=True):
        each = []
        for draw in draws:
            start = [*own.lead, *own.pieces(text), *own.pieces(" it was")]
            ids = [*start, own.blank, *own.pieces(" ."), *own.tail]
            for place in draw:
                word = WORDS[ROWS[place].label][0]
                ids += [*own.pieces(ROWS[place].item["text"]), *own.pieces(f" it was {word} ."), *own.tail]
            each.append(by_the_library(lm, ids, len(start)))
        torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=0, atol=1e-5)


def test_random_examples_in_front_are_one_text_to_a_causal_model(tiny_lm: Make) -> None:
    lm = tiny_lm("gpt2")
    config = InContextConfig("a {text} it was{mask}", demonstrations=3, samples=1, max_length=64, share=0.75)
    learner = fitted(lm, config)
    generator = torch.Generator().manual_seed(mixed(1, "demonstrations"))
    (draw,) = draw_demonstrations([row.label for row in ROWS], 3, 1, generator)
    assert len(set(draw)) == 3
    head = "".join(f"a {ROWS[p].item['text']} it was {WORDS[ROWS[p].label][0]}\n\n" for p in draw)
    for text, found in zip(TEXTS, learner.predict(BATCH), strict=True):
        ids = lm.vocabulary.pieces(f"{head}a {text} it was")
        torch.testing.assert_close(found, by_the_library(lm, ids, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cached_keys_and_values_are_those_of_the_whole_text(
    precision: str, make_lm: Callable[..., LanguageModel]
) -> None:
    lm = make_lm("gpt2", precision=precision)
    learner = fitted(lm, InContextConfig("{text} it was{mask}", samples=2))
    for shown in learner.prompts:
        rows = [learner.demonstrations.row(text, shown) for text in BATCH.texts or ()]
        with torch.no_grad():
            whole = learner.verbalizer(lm.scores(Sequences.of(rows), learner.verbalizer.ids))
            found = learner.answers(BATCH, shown)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 if precision == "fp32" else 0.1)


def test_demonstrations_are_run_once(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("gpt2")
    learner = fitted(lm, InContextConfig("{text} it was{mask}", samples=2))
    _ = lm.prefix_shapes  # the check of a model, once
    tokens: list[int] = []
    hook = lm.model.transformer.h[0].register_forward_hook(lambda m, given, found: tokens.append(given[0].shape[1]))
    longest = max(len(lm.vocabulary.pieces(f"\n\n{text} it was")) for text in TEXTS)
    first = learner.predict(BATCH)
    assert tokens == [len(learner.prompts[0]), longest, len(learner.prompts[1]), longest]
    tokens.clear()
    assert torch.equal(learner.predict(BATCH), first)
    assert tokens == [longest, longest]
    hook.remove()
    vp.fit(learner, text_batches(ROWS[::-1], batch_size=2), NO_TRAINING)
    assert not torch.equal(learner.predict(BATCH), first), "new demonstrations, new keys and values"


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_calibration_divides_by_content_free_scores(name: str, tiny_lm: Make) -> None:
    config = InContextConfig(TEMPLATE, samples=2, rule="logsumexp")
    plain, calibrated = (fitted(tiny_lm(name), replace(config, calibrate=on)) for on in (False, True))
    expected = []
    for shown in plain.prompts:
        nothing = [{"text": text} for text in ("N/A", "", "[MASK]")]
        with torch.no_grad():
            every = (
                plain.word_scores_beside(shown, nothing, torch.arange(plain.lm.vocabulary_size)).double().softmax(-1)
            )
            q = plain.answers(BATCH, shown).double().softmax(-1)
        prior = torch.stack([every[:, own].sum(1) for own in first_pieces(plain.lm, WORDS)]).mean(1)
        expected.append((q / (prior / prior.sum())).log())
    found = calibrated.predict(BATCH).double()
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-4)


def test_draws_depend_on_the_seed_only(tiny_lm: Make) -> None:
    config = InContextConfig(TEMPLATE, samples=4)
    torch.manual_seed(1)
    first = fitted(tiny_lm("bert"), config).shown
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert torch.equal(fitted(tiny_lm("bert"), config).shown, first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(fitted(tiny_lm("bert"), config, seed=2).shown, first)
    assert len(draw_demonstrations([0, 1, 0], 9, 1, torch.Generator())[0]) == 3, "all there are"


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_without_examples_it_is_a_hard_prompt(name: str, tiny_lm: Make) -> None:
    learner = InContext(tiny_lm(name), ("no", "yes"), InContextConfig(TEMPLATE, WORDS))
    plain = HardPrompt(tiny_lm(name), ("no", "yes"), HardPromptConfig(TEMPLATE, WORDS))
    assert torch.equal(learner.predict(BATCH), plain.predict(BATCH))


@pytest.mark.parametrize(
    ("name", "place"), [("bert", "behind"), ("bert", "front"), ("gpt2", "front"), ("t5", "behind")]
)
def test_long_texts_are_cut_but_answers_are_not(name: str, place: Any, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    config = InContextConfig(TEMPLATE, WORDS, place=place, samples=2)
    learner = InContext(lm, ("no", "yes"), config, seed=1)
    long = [replace(row, item=Text.of(text=f"{row.item['text']} " * 20)) for row in ROWS]
    vp.fit(learner, text_batches(long, batch_size=2), NO_TRAINING)
    for shown in learner.prompts:
        assert len(shown) <= learner.renderer.room // 2
        answers = [lm.vocabulary.pieces(" it was " + own[0]) for own in WORDS]
        assert all(any(list(shown[i : i + len(s)]) == s for i in range(len(shown))) for s in answers)
        row = learner.demonstrations.row({"text": "the film was good " * 30}, shown)
        assert len(row.ids) == learner.renderer.room
        if name == "bert":
            assert row.ids[row.read] == lm.vocabulary.blank
    assert learner.predict(BATCH).isfinite().all()


@pytest.mark.parametrize("place", ["behind", "front"])
def test_pairs_keep_their_segments(place: Any, tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    rows = [replace(row, item=Text.of(a="the film", b="was dull")) for row in ROWS]
    question = {"a": "it", "b": "i saw it"}
    config = InContextConfig("{a} ? {sep} {mask} , {b}", WORDS, place=place, samples=1)
    learner = InContext(lm, ("no", "yes"), config)
    bare = learner.renderer.row(question)
    vp.fit(learner, text_batches(rows, batch_size=2), NO_TRAINING)
    (shown,) = learner.prompts
    row = learner.demonstrations.row(question, shown)
    assert len(row.segments) == len(row.ids) == len(bare.ids) + len(shown)
    if place == "behind":
        assert row.segments == (*bare.segments, *[1] * len(shown))
    else:
        assert row.segments == (0, *[0] * len(shown), *bare.segments[1:])
    assert row.ids[row.read] == lm.vocabulary.blank


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("gpt2", {"place": "behind"}, "is causal and reads nothing behind the question; set place='front'"),
        ("bert", {"template": "{soft:2} {text} {mask}"}, "column 1: nothing is learned in context"),
        ("bert", {"demonstrations": 30}, r"demonstrations leave \d tokens to each.*show fewer, or raise share"),
        ("bert", {"pieces": "masks"}, "reads one blank"),
    ],
)
def test_impossible_settings_are_refused(name: str, config: dict[str, Any], message: str, tiny_lm: Make) -> None:
    settings = {"template": TEMPLATE, "words": WORDS, **config}

    def run() -> None:
        learner = InContext(tiny_lm(name), ("no", "yes"), InContextConfig(**settings))
        vp.fit(learner, text_batches(ROWS * 5, batch_size=2), NO_TRAINING)

    with pytest.raises(UsageError, match=message):
        run()


def test_its_classes_are_those_of_its_demonstrations(tiny_lm: Make) -> None:
    learner = fitted(tiny_lm("bert"), InContextConfig(TEMPLATE))
    with pytest.raises(UsageError, match="its demonstrations are examples of these classes"):
        learner.set_classes(["bad", "good"])


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_demonstrations_in_front_may_be_cut_at_their_beginning(name: str, tiny_lm: Make) -> None:
    """The question and the last demonstrations stay (LM-BFF, --truncate_head)."""
    lm = tiny_lm(name)
    words = (("bad",), ("good",))
    config = InContextConfig("{text} it was {mask}", words, place="front", max_length=30, cut_head=True)
    learner = InContext(lm, ("no", "yes"), config)
    pieces = [own[0] for own in learner.verbalizer.word_pieces]
    shown = learner.demonstrations.joined([*texts.examples(["the film was great"] * 6, [0, 1] * 3)], pieces)
    question = {"text": "the actor"}
    alone = learner.demonstrations.row(question, ())
    row = learner.demonstrations.row(question, shown)
    assert len(row.ids) == 30
    assert row.ids[row.read + 1 :] == alone.ids[alone.read + 1 :]
    lead = len(lm.vocabulary.lead)
    assert row.ids[:lead] == tuple(lm.vocabulary.lead)
    kept = 30 - len(learner.demonstrations.row(question, shown[-1:]).ids) + 1
    assert row.ids[lead : lead + kept] == shown[-kept:]
    scores = learner.word_scores_beside(shown, [question, {"text": "it"}], learner.verbalizer.ids)
    assert scores.isfinite().all()


def test_the_start_token_may_follow_the_demonstrations_as_in_the_code(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    config = InContextConfig("{text} it was {mask}", (("bad",), ("good",)), place="front", reference_quirks=True)
    learner = InContext(lm, ("no", "yes"), config)
    row = learner.demonstrations.row({"text": "it"}, (7, 8))
    assert row.ids[:3] == (7, 8, *lm.vocabulary.lead)
    assert row.ids[row.read] == lm.vocabulary.blank
