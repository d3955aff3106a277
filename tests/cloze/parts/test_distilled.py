"""A student learns the scores of an ensemble, and an interrupted one resumes without another ensemble."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from tests.cloze.texts import NOUNS, batch, examples, opinions
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import PET, PETConfig
from vlprompt.cloze.parts.distilled import Distilled, DistilledConfig, distillation_loss
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.training import resume

Make = Callable[[str], LanguageModel]
PATTERNS = ("{text} it was {mask} .", "{mask} ! {text}", "{text} ? {mask}")
ROWS = opinions(*NOUNS)
REST = examples([f"i {verb} the {noun} , it was {word}" for verb in ("saw", "liked", "left") for noun in NOUNS
                 for word in ("dull", "fine", "it")], [-1] * 36)  # fmt: skip
TASK = vp.Task("opinions", ("no", "yes"), PATTERNS, ROWS, (), ROWS, REST, words=(("bad",), ("good",)))
QUICK = vp.TrainConfig(epochs=3, batch_size=4, lr=1e-3, optimizer="adamw", schedule="constant", warmup="none")


def test_distillation_is_the_softened_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 3, generator=generator).double()
    expected = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = (t / 2).exp() / (t / 2).exp().sum(), (s / 2).exp() / (s / 2).exp().sum()
        expected += float(sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))) * 4 / 6
    assert float(distillation_loss(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-12)
    assert float(distillation_loss(teacher + 3, teacher, 2.0)) == pytest.approx(0, abs=1e-12)


class KnownScores(Distilled[DistilledConfig]):
    """A student of an ensemble with given scores."""

    Config = DistilledConfig

    def ensemble_scores(self, texts: TrainingTexts) -> Tensor:
        return torch.tensor([[4.0, 0.0] if "dull" in str(row.item) else [0.0, 4.0] for row in texts.unlabelled])


def test_the_student_learns_the_ensembles_scores(tiny_lm: Make) -> None:
    learner = KnownScores.for_task(tiny_lm("bert"), TASK, DistilledConfig(dropout=0.0), seed=1)
    losses = vp.fit(learner, TASK, replace(QUICK, epochs=60)).losses
    assert losses[-1] < losses[0] / 4
    answers = learner.predict(batch(*(row.item for row in REST))).argmax(1)
    assert float((answers == learner.soft_labels.argmax(1)).float().mean()) > 0.9
    assert learner.renderer.template.text == "{text}", "the student reads no pattern"
    assert learner.config.patterns == PATTERNS, "its ensemble reads all of them"


def test_an_interrupted_student_resumes_without_another_ensemble(
    tiny_lm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    state = tmp_path / "state"

    def student() -> PET:
        return PET.for_task(tiny_lm("bert"), TASK, PETConfig(steps=3, repetitions=1), seed=1)

    def interrupt(epoch: int, epochs: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    whole, first, rest = student(), student(), student()
    vp.fit(whole, TASK, QUICK)
    monkeypatch.setattr(first, "end_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        vp.fit(first, TASK, QUICK, state=state)
    monkeypatch.setattr(Distilled, "ensemble", property(lambda _: pytest.fail("the ensemble was trained again")))
    assert vp.fit(rest, TASK, QUICK, state=state).resumed_from == 1
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))
