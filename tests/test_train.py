"""fit: schedules, resuming, and what goes wrong while training."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import vlprompt as vp
from vlprompt import checkpoint, train
from vlprompt.data import EncodedBatches, FeatureBatches, FeatureStore, ImageBatches, transforms
from vlprompt.data.images import Example, Files, Item
from vlprompt.data.pixels import Pixels
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.recipe import learning_rate

NAMES = ["zero", "one", "two"]


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def batches(clip: vp.Clip) -> FeatureBatches:
    features = torch.randn(12, clip.embed_dim, generator=torch.Generator().manual_seed(0))
    return FeatureBatches(features, torch.arange(12) % 3, batch_size=4, seed=1)


def coop(clip: vp.Clip) -> CoOp:
    return CoOp(clip, NAMES, CoOpConfig(n_ctx=2), seed=3)


class Noted:
    """A tracker that keeps what it is told, and can stop training like Ctrl-C does."""

    def __init__(self, stop_after: int = 0) -> None:
        self.rows: list[dict[str, float]] = []
        self.stop_after = stop_after

    def log(self, step: int, **values: float) -> None:
        self.rows.append({"step": step, **values})
        if step == self.stop_after:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_one_step_of_sgd_is_the_textbook_one(clip: vp.Clip, batches: FeatureBatches) -> None:
    learner = coop(clip)
    start = learner.context.detach().clone()
    batch = next(iter(batches.epoch(0)))
    (gradient,) = torch.autograd.grad(learner.loss(batch), learner.context)
    config = vp.TrainConfig(epochs=1, batch_size=4, lr=0.1, warmup="none", weight_decay=0.01)
    vp.fit(learner, FeatureBatches(batch.features, batch.labels, batch_size=4, seed=1), config)
    assert torch.allclose(learner.context, start - 0.1 * (gradient + 0.01 * start), atol=1e-6)


def test_the_tracker_hears_every_epoch_with_its_learning_rate(clip: vp.Clip, batches: FeatureBatches) -> None:
    noted, config = Noted(), vp.TrainConfig(epochs=4, batch_size=4)
    report = vp.fit(coop(clip), batches, config, tracker=noted)
    assert [row["lr"] for row in noted.rows] == [learning_rate(config, e) for e in range(4)]
    assert [row["loss"] for row in noted.rows] == list(report.losses)
    assert noted.rows[0]["lr"] == 1e-5
    assert report.parameters == 2 * clip.text_width


class Slow(Files):
    """Files on a slow disk."""

    def open(self, item: Item) -> Image.Image:
        time.sleep(0.03)
        return super().open(item)


def test_says_how_long_it_waited_for_data(clip: vp.Clip, tmp_path: Path) -> None:
    """Decoding counts; what a frozen tower makes of the images does not, nor do steps."""
    examples = [Example(tmp_path / f"{number}.png", number) for number in range(3)]
    for example in examples:
        Image.new("RGB", (20, 20), (80 * example.label, 0, 0)).save(example.item)

    def encode(images: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return clip.encode_image(images)

    shares = []
    for limit in (0, 2**20):
        plain = transforms.test_transform(clip.preprocess)
        images = ImageBatches(Slow(), examples, plain, batch_size=3, seed=0, pixels=Pixels(limit))
        noted, config = Noted(), vp.TrainConfig(epochs=8, batch_size=3)
        report = vp.fit(coop(clip), EncodedBatches(images, encode), config, tracker=noted)
        assert images.waited >= 3 * 0.03 * (8 if limit == 0 else 1)
        assert report.waiting == pytest.approx(images.waited / report.seconds, rel=0.1)
        assert noted.rows[-1]["waiting"] == pytest.approx(report.waiting, rel=0.1)
        shares.append(report.waiting)
    assert 0.7 > shares[0] > 2 * shares[1] > 0, shares


def test_what_is_in_memory_is_not_waited_for(clip: vp.Clip, batches: FeatureBatches) -> None:
    assert vp.fit(coop(clip), batches, vp.TrainConfig(epochs=1, batch_size=4)).waiting == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_an_interrupted_run_ends_in_the_same_bytes(
    optimizer: str, clip: vp.Clip, batches: FeatureBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    config = vp.TrainConfig(epochs=6, batch_size=4, lr=0.01, optimizer=optimizer)
    whole, broken, state = coop(clip), coop(clip), tmp_path / "state.safetensors"
    losses = vp.fit(whole, batches, config).losses
    with pytest.raises(KeyboardInterrupt):
        vp.fit(broken, batches, config, state=state, tracker=Noted(stop_after=4))
    assert state.is_file()
    report = vp.fit(coop(clip), batches, config, state=state)
    resumed = coop(clip)
    assert report.resumed_from == 3
    assert report.losses == losses
    assert not state.exists(), "a finished run leaves no state behind"
    with pytest.raises(KeyboardInterrupt):
        vp.fit(broken := coop(clip), batches, config, state=state, tracker=Noted(stop_after=4))
    vp.fit(resumed, batches, config, state=state)
    assert torch.equal(resumed.context, whole.context)


def test_the_state_of_another_run_is_refused(
    clip: vp.Clip, batches: FeatureBatches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    config, state = vp.TrainConfig(epochs=3, batch_size=4), tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        vp.fit(coop(clip), batches, config, state=state, tracker=Noted(stop_after=2))
    with pytest.raises(VlpromptError, match="other settings"):
        vp.fit(coop(clip), batches, replace(config, lr=0.5), state=state)
    assert checkpoint.load_state(state)[1]["epoch"] == 1, "the state is still there for its own run"


def test_a_loss_that_is_not_finite_stops_with_advice(clip: vp.Clip) -> None:
    features = torch.full((4, clip.embed_dim), float("nan"))
    bad = FeatureBatches(features, torch.tensor([0, 1, 2, 0]), batch_size=4, seed=1)
    with pytest.raises(VlpromptError, match=r"loss is nan at epoch 1, step 1 \(lr 1e-05.*tenth of the learning rate"):
        vp.fit(coop(clip), bad, vp.TrainConfig(epochs=2, batch_size=4))


def test_out_of_memory_names_the_knob(clip: vp.Clip, batches: FeatureBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: CoOp, batch: object) -> torch.Tensor:
        return torch.empty(10**15)

    monkeypatch.setattr(CoOp, "loss", exhausted)
    with pytest.raises(VlpromptError, match="out of memory with batches of 4; lower batch_size"):
        vp.fit(coop(clip), batches, vp.TrainConfig(epochs=1, batch_size=4))


def test_clip_norm_bounds_the_step(clip: vp.Clip, batches: FeatureBatches) -> None:
    learner = coop(clip)
    start = learner.context.detach().clone()
    config = vp.TrainConfig(epochs=1, batch_size=12, lr=1.0, warmup="none", weight_decay=0, momentum=0, clip_norm=1e-3)
    features = torch.cat([b.features for b in batches.epoch(0)])
    vp.fit(learner, FeatureBatches(features, torch.arange(12) % 3, batch_size=12, seed=1), config)
    assert float((learner.context.detach() - start).norm()) <= 1.001e-3


def test_a_task_without_training_images_is_refused(clip: vp.Clip) -> None:
    task = vp.load_task("digits").whole()
    with pytest.raises(UsageError, match="no training images"):
        vp.fit(CoOp(clip, task.classes), task, vp.TrainConfig(epochs=1))


def test_cached_views_are_learned_from_in_turn(clip: vp.Clip, tmp_path: Path) -> None:
    task = vp.load_task("digits").few_shot(1, seed=1)
    config = vp.TrainConfig(epochs=2, batch_size=10, augment="cached:3")
    store = FeatureStore(tmp_path)
    vp.fit(CoOp(clip, task.classes, CoOpConfig(n_ctx=2)), task, config, store=store)
    assert store.info().rows == 30
    with pytest.raises(UsageError, match="cached:K"):
        vp.TrainConfig(augment="cached:many")


RUN = """
import sys, torch
torch.set_num_threads(1)
import vlprompt as vp
from vlprompt import train
train.SAVE_SECONDS = 0.0
class Tell:
    def log(self, step, **values): print(step, flush=True)
    def close(self): pass
clip = vp.load_clip("tiny")
task = vp.load_task("digits").few_shot(2, seed=1)
learner = vp.learners.CoOp(clip, task.classes, vp.learners.CoOpConfig(n_ctx=4), seed=1)
config = vp.TrainConfig(epochs=30, batch_size=20, augment=sys.argv[2])
vp.fit(learner, task, config, state=sys.argv[1] + "/state.safetensors", tracker=Tell())
learner.save(sys.argv[1] + "/prompt")
"""


@pytest.mark.parametrize("augment", ["none", "paper"])
def test_kill_nine_in_mid_training_changes_nothing(augment: str, tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    for folder in folders.values():
        folder.mkdir()
    # Each has a cache of its own: one is filled in one go, the other in two runs.
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", RUN, str(folder), augment],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "VLPROMPT_CACHE": str(folder / "cache")},
        )
        for name, folder in folders.items()
    }
    victim = started["killed"]
    assert victim.stdout is not None
    while int(victim.stdout.readline() or 99) < 9:
        time.sleep(0.001)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert (folders["killed"] / "state.safetensors").is_file()
    assert not (folders["killed"] / "prompt").exists()
    again = subprocess.run(
        [sys.executable, "-c", RUN, str(folders["killed"]), augment],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "VLPROMPT_CACHE": str(folders["killed"] / "cache")},
    )
    assert int(again.stdout.split()[0]) > 5, "it began anew instead of going on"
    started["whole"].communicate()
    weights = [(folder / "prompt" / "prompt.safetensors").read_bytes() for folder in folders.values()]
    assert weights[0] == weights[1]


def test_steps_that_end_within_the_warm_up_are_warned_of(clip: vp.Clip, batches: FeatureBatches) -> None:
    config = vp.TrainConfig(epochs=9, steps=3, batch_size=4)  # an epoch has three steps, all of them warm-up
    with pytest.warns(VlpromptWarning, match=r"3 steps end within the warm-up, which is 3 steps here.*warmup_epochs=0"):
        vp.fit(coop(clip), batches, config)
    for enough in (replace(config, steps=4), replace(config, warmup="none"), replace(config, warmup_epochs=0)):
        vp.fit(coop(clip), batches, enough)  # a warning would be an error here
