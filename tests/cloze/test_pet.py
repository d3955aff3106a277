"""PET and iPET do what their equations say, with one model at a time, and go on where they were interrupted."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt import train
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import IPET, PET, HardPrompt, HardPromptConfig, IPETConfig, PETConfig, ensemble, ipet
from vlprompt.cloze.distilled import Distilled, DistilledConfig, distillation
from vlprompt.cloze.ensemble import Votes
from vlprompt.cloze.material import Material
from vlprompt.data import TextBatches
from vlprompt.data.unlabelled import WithUnlabelled
from vlprompt.errors import UsageError, VlpromptWarning

Make = Callable[[str], LanguageModel]
WORDS = (("bad",), ("good",))
PATTERNS = ("{text} it was {mask} .", "{mask} ! {text}", "{text} ? {mask}")
NOUNS = ("film", "story", "actor", "music")
ROWS = tuple(vp.Example(vp.Text.of(text=f"the {noun} was {word} ."), label)
             for noun in NOUNS for label, word in enumerate(("dull", "fine")))  # fmt: skip
REST = tuple(vp.Example(vp.Text.of(text=f"i {verb} the {noun} , it was {word}"), -1)
             for verb in ("saw", "liked", "left") for noun in NOUNS for word in ("dull", "fine", "it"))  # fmt: skip
TASK = vp.Task("opinions", ("no", "yes"), PATTERNS, ROWS, (), ROWS, REST, words=WORDS)
QUICK = vp.TrainConfig(epochs=3, batch_size=4, lr=1e-3, optimizer="adamw", schedule="constant", warmup="none")
UNTRAINED = {"steps": 0, "repetitions": 1}


def material() -> Material:
    return Material(ROWS, REST)


def hard(lm: LanguageModel, pattern: str, rows: tuple[vp.Example, ...]) -> Tensor:
    """(N, C) by an untrained prompt, text by text."""
    learner = HardPrompt(lm, TASK.classes, HardPromptConfig(pattern, WORDS))
    return torch.cat([learner.predict(learner.opened([row.item])) for row in rows])


def plain(found: list[Tensor], weights: list[float]) -> Tensor:
    return sum(w * logits for w, logits in zip(weights, found, strict=True)) / sum(weights)  # type: ignore[return-value]


def test_votes_are_weighted_by_accuracy_before_training(make_lm: Callable[..., LanguageModel]) -> None:
    lm, labels = make_lm("bert"), torch.tensor([row.label for row in ROWS[1:]])
    leanings = [float((found[:, 1] - found[:, 0]).median()) for found in (hard(lm, p, ROWS[1:]) for p in PATTERNS)]
    good = lm.vocabulary.pieces(" good")[0]  # made likelier or not, so that patterns answer differently
    lm.model.get_output_embeddings().bias.data[good] -= (min(leanings) + max(leanings)) / 2
    weights = [float((hard(lm, p, ROWS[1:]).argmax(1) == labels).float().mean()) for p in PATTERNS]
    assert len(set(weights)) > 1, "the patterns must differ for this to tell anything"
    logits = [hard(lm, p, REST) for p in PATTERNS]
    for reduction, own in (("wmean", weights), ("mean", [1.0] * 3)):
        learner = PET.for_task(lm, TASK, PETConfig(**UNTRAINED, reduction=reduction))
        found = learner.ensemble_scores(Material(ROWS[1:], REST))
        torch.testing.assert_close(found, plain(logits, own), rtol=0, atol=1e-5)


def test_where_nobody_was_right_all_count_the_same() -> None:
    votes = Votes(torch.randn(3, 5, 2), torch.zeros(3))
    with pytest.warns(VlpromptWarning, match="no model of the ensemble was right"):
        torch.testing.assert_close(votes.merged(), votes.logits.mean(0))


def test_distillation_is_the_softened_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 3, generator=generator).double()
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = (t / 2).exp() / (t / 2).exp().sum(), (s / 2).exp() / (s / 2).exp().sum()
        expected += float(sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))) * 4 / 6
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-12)
    assert float(distillation(teacher + 3, teacher, 2.0)) == pytest.approx(0, abs=1e-12)


class Told(Distilled):
    """A student of an ensemble that is sure of what it says."""

    def ensemble_scores(self, material: Material) -> Tensor:
        return torch.tensor([[4.0, 0.0] if "dull" in str(row.item) else [0.0, 4.0] for row in material.unlabelled])


def test_the_student_learns_what_the_ensemble_says(tiny_lm: Make) -> None:
    learner = Told.for_task(tiny_lm("bert"), TASK, DistilledConfig(dropout=0.0), seed=1)
    losses = vp.fit(learner, TASK, replace(QUICK, epochs=60)).losses
    assert losses[-1] < losses[0] / 4
    found = learner.predict(learner.opened([row.item for row in REST])).argmax(1)
    assert float((found == learner.soft_labels.argmax(1)).float().mean()) > 0.9
    assert learner.renderer.template.text == "{text}", "the student reads no pattern"
    assert learner.config.patterns == PATTERNS, "its ensemble reads all of them"


def test_members_are_trained_by_the_labelled_texts_and_forgotten(
    tiny_lm: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on its own, one in memory at a time."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most: list[int] = []
    score = ensemble.scores

    def counting(learner: Any, examples: Any) -> Tensor:
        alive.add(learner)
        most.append(len(alive))
        return score(learner, examples)

    monkeypatch.setattr(ensemble, "scores", counting)
    config = PETConfig(steps=4, repetitions=2, batch_size=4, lr=1e-3)
    learner = PET.for_task(tiny_lm("bert"), TASK, config, seed=1)
    votes = learner.ensemble.votes([material()] * 6, "")
    assert most == [1] * 12
    pairs = [(a, b) for a in range(6) for b in range(a)]
    assert all(not torch.equal(votes.logits[a], votes.logits[b]) for a, b in pairs), "every member has its own draws"
    assert torch.equal(votes.weights[0::2], votes.weights[1::2]), "weights are from before training"
    again = PET.for_task(tiny_lm("bert"), TASK, config, seed=1).ensemble.votes([material()] * 6, "")
    assert torch.equal(again.logits, votes.logits)


def test_members_learn_arbitrary_blanks_where_they_are_asked_to(tiny_lm: Make) -> None:
    made = [
        PET.for_task(tiny_lm("bert"), TASK, PETConfig(steps=2, lm_training=lm_training, alpha=0.1), seed=1)
        for lm_training in (False, True)
    ]
    one, other = (learner.ensemble.vote(0, material()) for learner in made)
    assert one[1] == other[1]
    assert not torch.equal(one[0], other[0])


def test_a_member_needs_every_text_even_if_batches_are_shuffled() -> None:
    """Shuffled batches drop the last one of an epoch."""
    labelled, unlabelled = TextBatches(ROWS, batch_size=3, seed=1), TextBatches(REST, batch_size=25, seed=2)
    assert Material.of(WithUnlabelled(labelled, torch.zeros(8).long(), unlabelled)) == material()
    with pytest.raises(UsageError, match="learns from unlabelled texts"):
        Material.of(labelled)


@pytest.mark.parametrize("kind", [PET, IPET])
def test_what_cannot_work_is_said_before_anything_is_trained(kind: Any, tiny_lm: Make) -> None:
    config = PETConfig if kind is PET else IPETConfig
    lm = tiny_lm("bert")
    with pytest.raises(UsageError, match=r"no \{mask\}"):
        config(patterns=("{text} it",))
    with pytest.raises(UsageError, match="label word ' greatly'"):
        kind(lm, ("a", "b"), config(patterns=PATTERNS, words=(("greatly",), ("good",))))
    with pytest.raises(UsageError, match="unknown reduction 'max'"):
        config(reduction="max")
    bare = replace(TASK, unlabelled=())
    with pytest.raises(UsageError, match=f"{kind.method()} learns from unlabelled texts too.*--unlabelled"):
        vp.fit(kind.for_task(lm, bare, config()), bare, QUICK)


def test_an_interrupted_student_goes_on_without_another_ensemble(
    tiny_lm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    config, state = PETConfig(steps=3, repetitions=1), tmp_path / "state"

    def made() -> PET:
        return PET.for_task(tiny_lm("bert"), TASK, config, seed=1)

    whole = made()
    vp.fit(whole, TASK, QUICK)
    first = made()
    monkeypatch.setattr(first, "end_epoch", stop_at(2))
    with pytest.raises(KeyboardInterrupt):
        vp.fit(first, TASK, QUICK, state=state)
    rest = made()
    monkeypatch.setattr(Distilled, "ensemble", property(lambda _: pytest.fail("the ensemble was trained again")))
    assert vp.fit(rest, TASK, QUICK, state=state).resumed_from == 1
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))


def stop_at(last: int) -> Callable[[int, int], None]:
    def stop(epoch: int, epochs: int) -> None:
        if epoch == last:
            raise KeyboardInterrupt

    return stop


def votes(members: int = 8, seed: int = 0) -> Votes:
    generator = torch.Generator().manual_seed(seed)
    return Votes(torch.randn(members, len(REST), 2, generator=generator), torch.rand(members, generator=generator))


def test_a_generation_learns_from_what_a_quarter_of_the_others_say(tiny_lm: Make) -> None:
    """d^(g+1) times as many texts, in the ratio of the classes, labelled by the merged quarter, none twice."""
    learner = IPET.for_task(tiny_lm("bert"), TASK, IPETConfig(growth=2.0), seed=1)
    said = votes()
    for number in range(8):
        grown = learner.grown(material(), said, number, 0)
        assert grown.train[:8] == ROWS
        assert grown.unlabelled == REST
        new = grown.train[8:]
        assert [row.label for row in new].count(0) == [row.label for row in new].count(1) == 4
        assert len({str(row.item) for row in new}) == 8
        generator = torch.Generator().manual_seed(ipet.mixed(1, "grown", number, 0))
        quarter = ipet.others(8, number, 0.25, generator)
        assert len(quarter) == 2
        assert number not in quarter
        merged = plain([said.logits[k] for k in quarter], [float(said.weights[k]) for k in quarter]).argmax(1)
        place = {str(row.item): number for number, row in enumerate(REST)}
        assert all(row.label == int(merged[place[str(row.item)]]) for row in new)
    draws = {str(learner.grown(material(), said, 0, g).train) for g in (0, 1)}
    other = IPET.for_task(tiny_lm("bert"), TASK, IPETConfig(growth=2.0), seed=2)
    assert len(draws | {str(other.grown(material(), said, 0, 0).train)}) == 3, "generations and seeds draw anew"


def test_texts_are_drawn_as_likely_as_they_are_sure() -> None:
    sure = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.2, 0.8]])
    counts = torch.zeros(5)
    for seed in range(3000):
        generator = torch.Generator().manual_seed(seed)
        for place, label in ipet.drawn(sure, [1, 1], generator):
            assert label == (place > 1)
            counts[place] += 1
    expected = torch.tensor([0.9, 0.6, 0.7, 0.9, 0.8]) / torch.tensor([1.5, 1.5, 2.4, 2.4, 2.4])
    torch.testing.assert_close(counts / 3000, expected, rtol=0, atol=0.03)


def test_a_class_with_too_few_texts_takes_all_of_them() -> None:
    sure = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    with pytest.warns(VlpromptWarning, match="too few unlabelled texts are taken for 1 of 2 classes"):
        found = ipet.drawn(sure, [1, 5], torch.Generator().manual_seed(0))
    assert (2, 1) in found
    assert len(found) == 2


def test_the_first_generation_may_take_the_surest() -> None:
    sure = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]])
    assert ipet.surest(sure, 2) == [(0, 0), (1, 0), (3, 1), (2, 1)]
    assert ipet.shared_out(32, torch.tensor([0, 0, 0, 1]), 3) == [24, 8, 0]


def test_an_only_member_teaches_itself() -> None:
    assert ipet.others(1, 0, 0.25, torch.Generator()) == [0]


@pytest.mark.filterwarnings("ignore:too few unlabelled texts")
def test_generations_follow_the_seed(tiny_lm: Make) -> None:
    def scores(seed: int) -> Tensor:
        config = IPETConfig(steps=2, repetitions=2, generations=2, growth=2.0)
        return IPET.for_task(tiny_lm("bert"), TASK, config, seed=seed).ensemble_scores(material())

    first, again, other = scores(1), scores(1), scores(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
