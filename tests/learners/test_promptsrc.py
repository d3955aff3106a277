"""PromptSRC: its loss written out, its average over epochs, an interrupted training, and the official numbers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.parity.__main__ import run
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.templates import IMAGENET_60, readable
from vlprompt.errors import UsageError
from vlprompt.learners import promptsrc
from vlprompt.learners.promptsrc import PromptSRC, PromptSRCConfig
from vlprompt.training import resume
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

TEMPLATES = ("a photo of a {}.", "art of the {}.", "a {} in a video game.")
SMALL = PromptSRCConfig(
    n_text=2, depth_text=2, n_vision=3, depth_vision=2, gpa_mean=2, gpa_std=1.5, templates=TEMPLATES
)
SETTINGS = TrainConfig(epochs=4, lr=0.01, batch_size=4, warmup="none", schedule="constant")


@dataclass
class Batches:
    """A few batches of four, in order; `stop` is the epoch in which the power fails."""

    batch: Batch
    stop: int = -1
    waited: float = 0.0

    @property
    def size(self) -> int:
        return len(self.batch)

    def __len__(self) -> int:
        return 3

    def epoch(self, number: int) -> Iterator[Batch]:
        for first in range(0, 12, 4):
            if number == self.stop and first == 8:
                raise KeyboardInterrupt
            rows = slice(first, first + 4)
            yield Batch(self.batch.labels[rows], self.batch.index[rows], images=self.batch.images[rows])


def test_the_loss_written_out(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = PromptSRC(small, names, SMALL, seed=1)
    stir(learner)
    frozen = torch.zeros(len(names), 32, dtype=torch.float64)
    for template in TEMPLATES:
        frozen += small.model.encode_text(small.tokenizer([template.format(readable(name)) for name in names])) / 3
    frozen_image = small.model.encode_image(batch.images)
    text, image = learner.text()[0], learner.image_features(batch)
    g, f, g0, f0 = (x / x.norm(dim=-1, keepdim=True) for x in (text, image, frozen, frozen_image))
    p, p0 = ((small.logit_scale * a @ b.T).softmax(dim=-1) for a, b in ((f, g), (f0, g0)))
    terms = {
        "ce": -p[torch.arange(12), batch.labels].log().mean(),
        "text": 25 * (g - g0).abs().mean(),
        "image": 10 * (f - f0).abs().mean(),
        "scores": (p0 * (p0.log() - p.log())).sum() / p.numel(),
    }
    found = learner.losses(batch)
    assert found.keys() == terms.keys()
    for name, term in terms.items():
        assert term > 1e-3, f"{name} is nothing here"
        assert torch.allclose(found[name], term, atol=1e-9), name
    assert torch.allclose(learner.loss(batch), sum(terms.values()), atol=1e-9)
    assert torch.allclose(learner(batch), small.logit_scale * f @ g.T, atol=1e-9)


def test_the_frozen_text_is_computed_once_for_a_set_of_classes(
    single: Clip, names: tuple[str, ...], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, calls = PromptSRC(single, names, SMALL), []
    encode = Clip.encode_texts
    monkeypatch.setattr(Clip, "encode_texts", lambda self, texts: calls.append(1) or encode(self, texts))
    batch = Batch(batch.labels, batch.index, images=batch.images.float())
    learner.predict(batch)
    assert calls == [], "predictions do not need it"
    for _ in range(2):
        learner.loss(batch)
    assert len(calls) == len(TEMPLATES)
    before = learner.frozen_text()
    learner.set_classes(["train", "cat"])
    assert learner.predict(batch).shape == (12, 2)
    assert torch.allclose(learner.frozen_text()[1], before[0], atol=1e-4)
    assert not learner.frozen_text().requires_grad


def test_the_sixty_templates(shared: Path) -> None:
    with np.load(shared / "goldens" / "clip" / "promptsrc_d3_n4.npz") as stored:
        assert [str(text) for text in stored["templates"]] == list(IMAGENET_60)


def test_a_model_of_few_words_uses_the_templates_it_was_trained_on(make_small: Callable[..., Clip]) -> None:
    clip = make_small(dtype=torch.float32)
    assert promptsrc._readable_templates(clip) == list(IMAGENET_60)
    clip.tokenizer.trained_ids = frozenset(clip.tokenizer.pieces("a photo of the cool ."))
    assert set(promptsrc._readable_templates(clip)) == {
        "a photo of a {}.",
        "a photo of the {}.",
        "a photo of the cool {}.",
    }


def test_the_end_is_the_weighted_average_of_the_epochs(single: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner, after = PromptSRC(single, names, SMALL, seed=1), []
    end_epoch = learner.end_epoch

    def noting(epoch: int, epochs: int) -> None:
        after.append({name: p.detach().clone() for name, p in learner.trainable().items()})
        end_epoch(epoch, epochs)

    learner.end_epoch = noting  # type: ignore[method-assign]
    fit(learner, Batches(batch), SETTINGS)
    density = [np.exp(-0.5 * ((e - 2) / 1.5) ** 2) for e in (1, 2, 3, 4)]
    for name, p in learner.trainable().items():
        wanted = sum(w * state[name] for w, state in zip(density, after, strict=True)) / sum(density)
        assert torch.allclose(p, wanted, atol=1e-7)
        assert (p - after[-1][name]).abs().max() > 1e-5, "the last epoch alone would do as well"


def test_a_second_training_starts_a_new_average(single: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = PromptSRC(single, names, SMALL, seed=1)
    start = {name: p.detach().clone() for name, p in learner.trainable().items()}
    ends = []
    for _ in range(2):
        learner.restore(start, "here")
        fit(learner, Batches(batch), SETTINGS)
        ends.append({name: p.detach().clone() for name, p in learner.trainable().items()})
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in start)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_an_interrupted_training_ends_in_the_same_bytes(
    single: Clip, names: tuple[str, ...], batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    whole = PromptSRC(single, names, SMALL, seed=1)
    fit(whole, Batches(batch), SETTINGS)
    cut = PromptSRC(single, names, SMALL, seed=1)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, Batches(batch, stop=stop), SETTINGS, state=tmp_path / "state")
    again = PromptSRC(single, names, SMALL, seed=1)
    report = fit(again, Batches(batch), SETTINGS, state=tmp_path / "state")
    assert report.resumed_from == stop
    for name, p in whole.trainable().items():
        assert torch.equal(p, again.trainable()[name])
    assert all(torch.equal(a, b) for a, b in zip(whole.averages.values(), again.averages.values(), strict=True))


@pytest.mark.parametrize(("mean", "std", "epochs"), [(15, 1, 20), (6, 10, 20), (45, 5, 50), (45, 0.5, 3), (-900, 1, 4)])
def test_the_weights_of_epochs_sum_to_one(single: Clip, mean: float, std: float, epochs: int) -> None:
    config = PromptSRCConfig(n_text=2, depth_text=1, depth_vision=1, gpa_mean=mean, gpa_std=std)
    weights = PromptSRC(single, ["cat"], config).epoch_weights(epochs)
    assert len(weights) == epochs
    assert abs(sum(weights) - 1) < 1e-12
    assert min(weights) >= 0
    nearest = min(range(1, epochs + 1), key=lambda epoch: abs(epoch - mean))
    assert weights.index(max(weights)) == nearest - 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n_text": 0}, "a tower with depth needs 1 token or more"),
        ({"depth_text": 0, "depth_vision": 0}, "nothing to learn"),
        ({"gpa_std": 0.0}, "gpa_std is 0.0; it must be a number, above 0"),
        ({"text_weight": -1.0}, "0 or more"),
        ({"image_weight": float("nan")}, "0 or more"),
        ({"templates": ("a photo",)}, "exactly once"),
    ],
)
def test_values_are_checked(values: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PromptSRCConfig(**values)


def test_the_published_settings(small: Clip, names: tuple[str, ...]) -> None:
    settings = {name: (v.config, v.training(16)) for name, v in promptsrc.VARIANTS.items()}
    found = {n: (c.depth_text, c.depth_vision, c.gpa_mean, c.gpa_std, r.epochs) for n, (c, r) in settings.items()}
    assert found == {
        "promptsrc-paper": (9, 9, 15, 1, 20),
        "promptsrc-cross-dataset": (3, 3, 6, 10, 20),
        "promptsrc-few-shot": (9, 9, 30, 30, 50),
        "promptsrc-few-shot-late": (9, 9, 45, 5, 50),
    }
    assert {(r.lr, r.batch_size, c.n_text, c.n_vision) for c, r in settings.values()} == {(0.0025, 4, 4, 4)}
    with pytest.raises(UsageError, match="depth_text is 9, the text tower has 2 layers"):
        PromptSRC(small, names)


def test_the_official_numbers_come_out(shared: Path) -> None:
    rows = run(shared / "goldens" / "clip", shared / "goldens", "promptsrc")
    assert [(row.file, row.problem) for row in rows if row.status != "pass"] == []
    assert rows
    compared = {each.name for row in rows for each in row.differences}
    assert compared >= {"loss_ce", "loss_scl_text", "loss_scl_image", "loss_scl_logits", "loss", "loss_steps"}
    assert compared >= {"gpa.prompt_learner.ctx", "gpa.image_encoder.VPT", "logits_gpa", "lr_epochs"}


def test_features_of_a_batch_without_images_are_refused(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = PromptSRC(small, names, SMALL)
    without = Batch(batch.labels, batch.index, features=batch.features)
    for ask in (learner, learner.loss):
        with pytest.raises(UsageError, match="reads images"):
            ask(without)


@pytest.mark.parametrize("off", ["text", "vision"])
def test_depth_0_leaves_a_tower_as_it_is(small: Clip, names: tuple[str, ...], batch: Batch, off: str) -> None:
    depths = {"depth_text": 2, "depth_vision": 2, f"depth_{off}": 0}
    learner = PromptSRC(small, names, PromptSRCConfig(**depths, templates=TEMPLATES))
    assert list(learner.trainable()) == [f"prompts.{'vision' if off == 'text' else 'text'}"]
    learner.backward(batch)
    assert all(p.grad.any() for p in learner.trainable().values())
