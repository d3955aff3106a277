"""IVLP: the prompts of each tower, of both or of one, and the official numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.parity.__main__ import run
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt, VisualPrompt
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import ivlp
from vlprompt.learners.ivlp import IVLP, IVLPConfig

BOTH = IVLPConfig(n_text=2, depth_text=2, n_vision=3, depth_vision=2)
VISION = IVLPConfig(n_text=0, depth_text=0, n_vision=3, depth_vision=2)
TEXT = IVLPConfig(n_text=4, depth_text=2, n_vision=0, depth_vision=0)


def test_each_tower_gets_its_own_prompts(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = IVLP(small, names, BOTH, seed=1)
    stir(learner)
    first, second = learner.prompts.text
    plain = small.prompt_of(small.tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in names]))
    prefix = torch.cat([plain.prefix[:, :1], first[None], plain.prefix[:, 3:]], dim=1)
    text = small.encode_text(TextPrompt(prefix, plain.suffix, plain.ends, plain.ids, {1: second}))
    vision = dict(enumerate(learner.prompts.vision))
    image = small.encode_image(batch.images, VisualPrompt(vision, "replace", "embed"))
    assert torch.allclose(learner(batch), small.scores(image, text), atol=1e-9)
    assert {name: tuple(p.shape) for name, p in learner.trainable().items()} == {
        "prompts.text": (2, 2, 24),
        "prompts.vision": (2, 3, 32),
    }


def test_prompts_start_from_words_and_from_different_noise(single: Clip, names: tuple[str, ...]) -> None:
    learner = IVLP(single, names, BOTH, seed=1)
    wanted = single.embed_tokens(torch.tensor(single.tokenizer.pieces("a photo")))
    assert torch.equal(learner.prompts.text[0], wanted)
    assert not torch.equal(learner.prompts.text[1].flatten()[:40], learner.prompts.vision[0].flatten()[:40])
    assert 0.01 < float(learner.prompts.vision.detach().std()) < 0.03
    other = IVLP(single, names, BOTH, seed=2)
    assert not torch.equal(learner.prompts.vision, other.prompts.vision)


def test_vision_only_encodes_the_hand_written_text_once(
    small: Clip, names: tuple[str, ...], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, calls = IVLP(small, names, VISION), []
    encode = Clip.encode_text
    monkeypatch.setattr(Clip, "encode_text", lambda self, prompt: calls.append(1) or encode(self, prompt))
    hand_written = small.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names])
    assert torch.allclose(learner.text()[0], hand_written, atol=1e-9)
    assert list(learner.trainable()) == ["prompts.vision"]
    for _ in range(3):
        learner.backward(batch)
    assert calls == [], "no text is learned, so no text is encoded again"
    assert learner.prompts.vision.grad.any()
    learner.set_classes(["train", "old cat"])
    assert learner.predict(batch).shape == (12, 2)
    assert len(calls) == 1


def test_language_only_does_not_change_image_features(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = IVLP(small, names, TEXT)
    assert list(learner.trainable()) == ["prompts.text"]
    assert torch.equal(learner(batch), small.scores(small.encode_image(batch.images), learner.text()))
    learner.backward(batch)
    assert learner.prompts.text.grad.any()


def test_a_prediction_does_not_depend_on_its_batch(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = IVLP(small, names, BOTH)
    part = Batch(batch.labels[4:6], batch.index[4:6], images=batch.images[4:6])
    assert torch.allclose(learner.predict(part), learner.predict(batch)[4:6], atol=1e-9)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"n_text": 0}, "a tower with depth needs 1 token or more"),
        ({"n_vision": 0}, "a tower with depth needs 1 token or more"),
        ({"n_text": -1, "depth_text": -1}, "n_text is -1; it must be a whole number, 0 or more"),
        ({"n_text": 0, "depth_text": 0, "n_vision": 0, "depth_vision": 0}, "nothing to learn"),
    ],
)
def test_values_are_checked(values: dict[str, int], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        IVLPConfig(**values)


def test_a_depth_that_a_tower_does_not_have_is_refused(small: Clip, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="depth_text is 12, the text tower has 2 layers"):
        IVLP(small, names)
    with pytest.raises(UsageError, match="depth_vision is 3, the image tower has 2 layers"):
        IVLP(small, names, IVLPConfig(depth_text=1, depth_vision=3))


def test_the_published_settings() -> None:
    settings = {name: (vars(v.config), v.training(16)) for name, v in ivlp.VARIANTS.items()}
    assert list(settings) == ["ivlp-paper", "vpt-deep", "vpt-shallow", "language-only"]
    sizes = {name: tuple(config.values())[:4] for name, (config, _) in settings.items()}
    assert sizes == {
        "ivlp-paper": (2, 12, 2, 12),
        "vpt-deep": (0, 0, 8, 12),
        "vpt-shallow": (0, 0, 8, 1),
        "language-only": (4, 12, 0, 0),
    }
    assert {name: recipe.lr for name, (_, recipe) in settings.items()} == {
        "ivlp-paper": 0.0035,
        "vpt-deep": 0.0025,
        "vpt-shallow": 0.0025,
        "language-only": 0.0025,
    }
    assert {(recipe.epochs, recipe.batch_size) for _, recipe in settings.values()} == {(5, 4)}


def test_the_official_numbers_come_out(shared: Path) -> None:
    rows = run(shared / "goldens" / "clip", shared / "goldens", "ivlp")
    assert [(row.file, row.problem) for row in rows if row.status != "pass"] == []
    assert rows
    compared = {each.name for row in rows for each in row.differences}
    block = "transformer.resblocks.2.VPT_shallow"
    assert compared >= {"logits", "loss", "loss_steps", "logits_final", "grad.image_encoder.VPT"}
    assert compared >= {f"grad.text_encoder.{block}", f"step2.image_encoder.{block}", "init.prompt_learner.ctx"}


@pytest.mark.parametrize("off", ["text", "vision"])
def test_depth_0_leaves_a_tower_as_it_is_whatever_its_tokens(
    small: Clip, names: tuple[str, ...], batch: Batch, off: str
) -> None:
    """PROMPT_DEPTH_TEXT or PROMPT_DEPTH_VISION 0 beside N_CTX 2 in the authors' configs."""
    depths = {"depth_text": 2, "depth_vision": 2, f"depth_{off}": 0}
    given, without = (IVLP(small, names, IVLPConfig(**depths, **more)) for more in ({}, {f"n_{off}": 0}))
    assert len(given.trainable()) == 1
    assert torch.equal(given.predict(batch), without.predict(batch))
