"""fit: schedules, resuming, and what goes wrong while training."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import vlprompt as vp
from vlprompt import checkpoint
from vlprompt.data import image_reader, transforms
from vlprompt.data.batches import Batches, encoded, feature_batches, image_batches
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example, Files, Item
from vlprompt.data.pixel_cache import PixelCache
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.training import resume
from vlprompt.training.optimizer import learning_rate

NAMES = ["zero", "one", "two"]


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def batches(clip: vp.Clip) -> Batches:
    features = torch.randn(12, clip.embed_dim, generator=torch.Generator().manual_seed(0))
    return feature_batches(features, torch.arange(12) % 3, batch_size=4, seed=1)


def coop(clip: vp.Clip) -> CoOp:
    return CoOp(clip, NAMES, CoOpConfig(n_ctx=2), seed=3)


class Noted:
    """A callback that records what it is given, and can stop training like Ctrl-C does."""

    def __init__(self, stop_after: int = 0) -> None:
        self.rows: list[dict[str, float]] = []
        self.stop_after = stop_after

    def epoch(self, number: int, **values: float) -> None:
        self.rows.append({"epoch": number, **values})
        if number == self.stop_after:
            raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_one_step_of_sgd_is_the_textbook_one(clip: vp.Clip, batches: Batches) -> None:
    learner = coop(clip)
    start = learner.context.detach().clone()
    batch = next(iter(batches.epoch(0)))
    (gradient,) = torch.autograd.grad(learner.loss(batch), learner.context)
    config = vp.TrainConfig(epochs=1, batch_size=4, lr=0.1, warmup="none", weight_decay=0.01)
    vp.fit(learner, feature_batches(batch.features, batch.labels, batch_size=4, seed=1), config)
    assert torch.allclose(learner.context, start - 0.1 * (gradient + 0.01 * start), atol=1e-6)


def test_callbacks_are_given_every_epoch_with_its_learning_rate(clip: vp.Clip, batches: Batches) -> None:
    noted, config = Noted(), vp.TrainConfig(epochs=4, batch_size=4)
    report = vp.fit(coop(clip), batches, config, callbacks=[noted])
    assert [row["lr"] for row in noted.rows] == [learning_rate(config, e) for e in range(4)]
    assert [row["loss"] for row in noted.rows] == list(report.losses)
    assert noted.rows[0]["lr"] == 1e-5
    assert report.parameters == 2 * clip.text_width


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("limit", "opened"), [(0, 8), (2**20, 1)])
def test_reports_the_share_of_time_spent_on_waiting_for_images(
    limit: int, opened: int, clip: vp.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding counts; the frozen tower and the steps do not. Images that are in memory are not decoded again."""
    examples = [Example(tmp_path / f"{number}.png", number) for number in range(3)]
    for example in examples:
        Image.new("RGB", (20, 20), (80 * example.label, 0, 0)).save(example.item)
    clock = Clock()
    for module in (image_reader, resume):
        monkeypatch.setattr(module, "time", clock)

    class Slow(Files):
        def open(self, item: Item) -> Image.Image:
            clock.now += 0.25
            return super().open(item)

    def encode(images: torch.Tensor) -> torch.Tensor:
        clock.now += 1.0
        return clip.encode_image(images)

    plain = transforms.test_transform(clip.preprocess)
    images = image_batches(Slow(), examples, plain, batch_size=3, seed=0, cache=PixelCache(limit))
    noted, config = Noted(), vp.TrainConfig(epochs=8, batch_size=3)
    report = vp.fit(coop(clip), images.having(features=encoded(encode)), config, callbacks=[noted])
    waited = opened * 3 * 0.25
    assert images.waited == pytest.approx(waited)
    assert report.waiting == noted.rows[-1]["waiting"] == pytest.approx(waited / (waited + 8 * 1.0))


def test_what_is_in_memory_is_not_waited_for(clip: vp.Clip, batches: Batches) -> None:
    assert vp.fit(coop(clip), batches, vp.TrainConfig(epochs=1, batch_size=4)).waiting == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_an_interrupted_run_ends_in_the_same_bytes(
    optimizer: str, clip: vp.Clip, batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    config = vp.TrainConfig(epochs=6, batch_size=4, lr=0.01, optimizer=optimizer)
    whole, broken, state = coop(clip), coop(clip), tmp_path / "state.safetensors"
    losses = vp.fit(whole, batches, config).losses
    with pytest.raises(KeyboardInterrupt):
        vp.fit(broken, batches, config, state=state, callbacks=[Noted(stop_after=4)])
    assert state.is_file()
    report = vp.fit(coop(clip), batches, config, state=state)
    resumed = coop(clip)
    assert report.resumed_from == 3
    assert report.losses == losses
    assert not state.exists(), "a finished run leaves no state behind"
    with pytest.raises(KeyboardInterrupt):
        vp.fit(broken := coop(clip), batches, config, state=state, callbacks=[Noted(stop_after=4)])
    vp.fit(resumed, batches, config, state=state)
    assert torch.equal(resumed.context, whole.context)


def test_the_state_of_another_run_is_refused(
    clip: vp.Clip, batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    config, state = vp.TrainConfig(epochs=3, batch_size=4), tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        vp.fit(coop(clip), batches, config, state=state, callbacks=[Noted(stop_after=2)])
    with pytest.raises(VlpromptError, match="other settings"):
        vp.fit(coop(clip), batches, replace(config, lr=0.5), state=state)
    assert checkpoint.load_state(state)[1]["epoch"] == 1, "the state is still there for its own run"


def test_a_loss_that_is_not_finite_stops_with_advice(clip: vp.Clip) -> None:
    features = torch.full((4, clip.embed_dim), float("nan"))
    bad = feature_batches(features, torch.tensor([0, 1, 2, 0]), batch_size=4, seed=1)
    with pytest.raises(VlpromptError, match=r"loss is nan at epoch 1, step 1 \(lr 1e-05.*tenth of the learning rate"):
        vp.fit(coop(clip), bad, vp.TrainConfig(epochs=2, batch_size=4))


def test_out_of_memory_names_the_knob(clip: vp.Clip, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: CoOp, batch: object) -> torch.Tensor:
        return torch.empty(10**15)

    monkeypatch.setattr(CoOp, "loss", exhausted)
    with pytest.raises(VlpromptError, match="out of memory with batches of 4; lower batch_size"):
        vp.fit(coop(clip), batches, vp.TrainConfig(epochs=1, batch_size=4))


def test_clip_norm_bounds_the_step(clip: vp.Clip, batches: Batches) -> None:
    learner = coop(clip)
    start = learner.context.detach().clone()
    config = vp.TrainConfig(epochs=1, batch_size=12, lr=1.0, warmup="none", weight_decay=0, momentum=0, clip_norm=1e-3)
    features = torch.cat([b.features for b in batches.epoch(0)])
    vp.fit(learner, feature_batches(features, torch.arange(12) % 3, batch_size=12, seed=1), config)
    assert float((learner.context.detach() - start).norm()) <= 1.001e-3


def test_a_task_without_training_images_is_refused(clip: vp.Clip) -> None:
    task = vp.load_task("digits").whole()
    with pytest.raises(UsageError, match="no training examples"):
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
import sys, time, torch
torch.set_num_threads(1)
import vlprompt as vp
from vlprompt.training import resume
resume.SAVE_SECONDS = 0.0
class Report:
    def epoch(self, number, **values):
        print(number, flush=True)
        if number == int(sys.argv[3]): time.sleep(3600)  # until it is killed
    def close(self): pass
clip = vp.load_clip("tiny")
task = vp.load_task("digits").few_shot(2, seed=1)
learner = vp.learners.CoOp(clip, task.classes, vp.learners.CoOpConfig(n_ctx=4), seed=1)
config = vp.TrainConfig(epochs=30, batch_size=20, augment=sys.argv[2])
vp.fit(learner, task, config, state=sys.argv[1] + "/state.safetensors", callbacks=[Report()])
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
            [sys.executable, "-c", RUN, str(folder), augment, "9" if name == "killed" else "0"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "VLPROMPT_CACHE": str(folder / "cache")},
        )
        for name, folder in folders.items()
    }
    victim = started["killed"]
    assert victim.stdout is not None
    while int(victim.stdout.readline()) < 9:
        pass
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert (folders["killed"] / "state.safetensors").is_file()
    assert not (folders["killed"] / "prompt").exists()
    again = subprocess.run(
        [sys.executable, "-c", RUN, str(folders["killed"]), augment, "0"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "VLPROMPT_CACHE": str(folders["killed"] / "cache")},
    )
    assert int(again.stdout.split()[0]) == 9, "it starts again instead of continuing"
    started["whole"].communicate()
    weights = [(folder / "prompt" / "prompt.safetensors").read_bytes() for folder in folders.values()]
    assert weights[0] == weights[1]


def test_steps_that_end_within_the_warm_up_are_warned_of(clip: vp.Clip, batches: Batches) -> None:
    config = vp.TrainConfig(epochs=9, steps=3, batch_size=4)  # an epoch has three steps, all of them warm-up
    with pytest.warns(VlpromptWarning, match=r"3 steps end within the warm-up, which is 3 steps here.*warmup_epochs=0"):
        vp.fit(coop(clip), batches, config)
    for enough in (replace(config, steps=4), replace(config, warmup="none"), replace(config, warmup_epochs=0)):
        vp.fit(coop(clip), batches, enough)  # a warning would be an error here
