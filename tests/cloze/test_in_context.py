"""In context: what is shown, where it stands, and that keeping its keys and values changes nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.cloze import HardPrompt, HardPromptConfig, InContext, InContextConfig
from vlprompt.cloze.demonstrations import drawn
from vlprompt.data import Batch, Text, TextBatches
from vlprompt.errors import UsageError

Make = Callable[[str], LanguageModel]
WORDS = (("bad", "poor"), ("good",))
ROWS = [vp.Example(Text.of(text=f"the {noun} was {word} ."), label)
        for noun in ("film", "story", "actor") for label, word in enumerate(("dull", "fine"))]  # fmt: skip
TEXTS = ("the music was great .", "i saw it", "it")
NOTHING = vp.TrainConfig(epochs=0)


def batch() -> Batch:
    return Batch(torch.zeros(3).long(), torch.arange(3), texts=tuple(Text.of(text=text) for text in TEXTS))


def fitted(lm: LanguageModel, config: InContextConfig, seed: int = 1) -> InContext:
    learner = InContext(lm, ("no", "yes"), replace(config, words=WORDS), seed=seed)
    vp.fit(learner, TextBatches(ROWS, batch_size=2), NOTHING)
    return learner


def by_the_library(lm: LanguageModel, ids: list[int], place: int) -> Tensor:
    """(C,) mean logits of the label words."""
    with torch.no_grad():
        found = lm.model(input_ids=torch.tensor([ids])).logits[0, place]
    return torch.stack([found[[lm.vocabulary.pieces(" " + w)[0] for w in own]].mean() for own in WORDS])


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_one_of_each_class_stands_behind_the_question_and_scores_are_averaged(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    own = lm.vocabulary
    learner = fitted(lm, InContextConfig("{text} it was {mask} .", samples=3))
    generator = torch.Generator().manual_seed(vp.data.loaders.mixed(1, "demonstrations"))
    draws = drawn([row.label for row in ROWS], 0, 3, generator)
    assert [[ROWS[place].label for place in draw] for draw in draws] == [[0, 1]] * 3
    for text, found in zip(TEXTS, learner.predict(batch()), strict=True):
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
    generator = torch.Generator().manual_seed(vp.data.loaders.mixed(1, "demonstrations"))
    (draw,) = drawn([row.label for row in ROWS], 3, 1, generator)
    assert len(set(draw)) == 3
    head = "".join(f"a {ROWS[p].item['text']} it was {WORDS[ROWS[p].label][0]}\n\n" for p in draw)
    for text, found in zip(TEXTS, learner.predict(batch()), strict=True):
        ids = lm.vocabulary.pieces(f"{head}a {text} it was")
        torch.testing.assert_close(found, by_the_library(lm, ids, -1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_keys_and_values_are_the_whole_text(precision: str, make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("gpt2", precision=precision)
    learner = fitted(lm, InContextConfig("{text} it was{mask}", samples=2))
    for shown in learner.prompts:
        rows = [learner.demonstrations.row(text, shown) for text in batch().texts or ()]
        with torch.no_grad():
            whole = learner.verbalizer(lm.scores(Sequences.of(rows), learner.verbalizer.ids))
            found = learner.answers(batch(), shown)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 if precision == "fp32" else 0.1)


def test_what_is_shown_is_run_once(make_lm: Callable[..., LanguageModel]) -> None:
    lm = make_lm("gpt2")
    learner = fitted(lm, InContextConfig("{text} it was{mask}", samples=2))
    _ = lm.prefix_shapes  # the check of a model, once
    tokens: list[int] = []
    hook = lm.model.transformer.h[0].register_forward_hook(lambda m, given, found: tokens.append(given[0].shape[1]))
    longest = max(len(lm.vocabulary.pieces(f"\n\n{text} it was")) for text in TEXTS)
    first = learner.predict(batch())
    assert tokens == [len(learner.prompts[0]), longest, len(learner.prompts[1]), longest]
    tokens.clear()
    assert torch.equal(learner.predict(batch()), first)
    assert tokens == [longest, longest]
    hook.remove()
    vp.fit(learner, TextBatches(ROWS[::-1], batch_size=2), NOTHING)
    assert not torch.equal(learner.predict(batch()), first), "new demonstrations, new keys and values"


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_calibration_divides_by_what_a_prompt_answers_to_nothing(name: str, tiny_lm: Make) -> None:
    config = InContextConfig("{text} it was {mask}", samples=2, rule="logsumexp")
    plain, calibrated = (fitted(tiny_lm(name), replace(config, calibrate=on)) for on in (False, True))
    expected = []
    for shown in plain.prompts:
        nothing = [{"text": text} for text in ("N/A", "", "[MASK]")]
        with torch.no_grad():
            every = plain.read(nothing, shown, torch.arange(plain.lm.vocabulary_size)).double().softmax(-1)
            q = plain.answers(batch(), shown).double().softmax(-1)
        ids = [[plain.lm.vocabulary.pieces(" " + word)[0] for word in own] for own in WORDS]
        prior = torch.stack([every[:, own].sum(1) for own in ids]).mean(1)
        expected.append((q / (prior / prior.sum())).log())
    found = calibrated.predict(batch()).double()
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=1e-4, atol=1e-4)


def test_draws_follow_the_seed_and_nothing_else(tiny_lm: Make) -> None:
    config = InContextConfig("{text} it was {mask}", samples=4)
    torch.manual_seed(1)
    first = fitted(tiny_lm("bert"), config).shown
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    assert torch.equal(fitted(tiny_lm("bert"), config).shown, first)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(fitted(tiny_lm("bert"), config, seed=2).shown, first)
    assert len(drawn([0, 1, 0], 9, 1, torch.Generator())[0]) == 3, "all there are"


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_without_examples_it_is_a_hard_prompt(name: str, tiny_lm: Make) -> None:
    template = "{text} it was {mask}"
    learner = InContext(tiny_lm(name), ("no", "yes"), InContextConfig(template, WORDS))
    plain = HardPrompt(tiny_lm(name), ("no", "yes"), HardPromptConfig(template, WORDS))
    assert torch.equal(learner.predict(batch()), plain.predict(batch()))


@pytest.mark.parametrize(
    ("name", "place"), [("bert", "behind"), ("bert", "front"), ("gpt2", "front"), ("t5", "behind")]
)
def test_long_texts_are_cut_and_answers_never(name: str, place: Any, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    config = InContextConfig("{text} it was {mask}", WORDS, place=place, samples=2)
    learner = InContext(lm, ("no", "yes"), config, seed=1)
    long = [replace(row, item=Text.of(text=f"{row.item['text']} " * 20)) for row in ROWS]
    vp.fit(learner, TextBatches(long, batch_size=2), NOTHING)
    for shown in learner.prompts:
        assert len(shown) <= learner.renderer.room // 2
        said = [lm.vocabulary.pieces(" it was " + own[0]) for own in WORDS]
        assert all(any(list(shown[i : i + len(s)]) == s for i in range(len(shown))) for s in said)
        row = learner.demonstrations.row({"text": "the film was good " * 30}, shown)
        assert len(row.ids) == learner.renderer.room
        if name == "bert":
            assert row.ids[row.read] == lm.vocabulary.blank
    assert learner.predict(batch()).isfinite().all()


@pytest.mark.parametrize("place", ["behind", "front"])
def test_pairs_keep_their_segments(place: Any, tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    rows = [replace(row, item=Text.of(a="the film", b="was dull")) for row in ROWS]
    question = {"a": "it", "b": "i saw it"}
    config = InContextConfig("{a} ? {sep} {mask} , {b}", WORDS, place=place, samples=1)
    learner = InContext(lm, ("no", "yes"), config)
    bare = learner.renderer.row(question)
    vp.fit(learner, TextBatches(rows, batch_size=2), NOTHING)
    (shown,) = learner.prompts
    row = learner.demonstrations.row(question, shown)
    assert len(row.segments) == len(row.ids) == len(bare.ids) + len(shown)
    if place == "behind":
        assert row.segments == (*bare.segments, *[1] * len(shown))
    else:
        assert row.segments == (0, *[0] * len(shown), *bare.segments[1:])
    assert row.ids[row.read] == lm.vocabulary.blank


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("gpt2", {"place": "behind"}, "is causal and reads nothing behind the question; set place='front'"),
        ("bert", {"template": "{soft:2} {text} {mask}"}, "column 1: nothing is learned in context"),
        ("bert", {"demonstrations": 30}, r"demonstrations leave \d tokens to each.*show fewer, or raise share"),
        ("bert", {"place": "top"}, "unknown place 'top'"),
        ("bert", {"samples": 0}, "samples 1 or more"),
        ("bert", {"share": 1.0}, "below 1"),
        ("bert", {"pieces": "masks"}, "reads one blank"),
    ],
)
def test_what_cannot_work_is_refused(name: str, config: dict[str, Any], said: str, tiny_lm: Make) -> None:
    settings = {"template": "{text} it was {mask}", "words": WORDS, **config}

    def run() -> None:
        learner = InContext(tiny_lm(name), ("no", "yes"), InContextConfig(**settings))
        vp.fit(learner, TextBatches(ROWS * 5, batch_size=2), NOTHING)

    with pytest.raises(UsageError, match=said):
        run()


def test_its_classes_are_those_of_its_demonstrations(tiny_lm: Make) -> None:
    learner = fitted(tiny_lm("bert"), InContextConfig("{text} it was {mask}"))
    with pytest.raises(UsageError, match="its demonstrations are examples of these classes"):
        learner.set_classes(["bad", "good"])
