"""Two processes under torchrun train what one trains, and write it once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vlprompt as vp
from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError
from vlprompt.experiments.results_file import read
from vlprompt.learners import ProGrad
from vlprompt.training.distributed import SINGLE, Processes, current_processes

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FITTED = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import vlprompt as vp
from tests.learners.conftest import random_clip
from tests.learners.vits import small_vit
from vlprompt.data.batch import Batch
from vlprompt.learners import Full, FullConfig, MaPLe, MaPLeConfig, VPT, VPTConfig
from vlprompt.training.distributed import connected

class Images:
    '''Five batches an epoch, the last of one image: fewer than there are processes.'''
    size, waited = 17, 0.0

    def __len__(self):
        return 5

    def epoch(self, number):
        generator = torch.Generator().manual_seed(number)
        for count in (4, 4, 4, 4, 1):
            images = torch.randn(count, 3, 16, 16, generator=generator)
            yield Batch(torch.arange(count) % 3, torch.arange(count), images=images)

clip, vit, names = random_clip(dtype=torch.float32), small_vit(torch.float32), ("cat", "dog", "owl")
learners = {
    "vpt": lambda: VPT(vit, names, VPTConfig(n_prompts=2, depth=3), seed=1),
    "full": lambda: Full(vit, names, FullConfig(), seed=1),
    "maple": lambda: MaPLe(clip, names, MaPLeConfig(n_ctx=2, depth=2), seed=1),
}
torch.set_num_threads(1)
with connected() as processes:
    kept = {}
    for name, build in learners.items():
        learner = build()
        config = vp.TrainConfig(epochs=3, batch_size=4, lr=0.01, warmup="none", clip_norm=1.0)
        report = vp.fit(learner, Images(), config, processes=processes, state=Path(sys.argv[1]) / f"{name}.state")
        kept |= {f"{name}/{key}": p.detach() for key, p in learner.trainable().items()}
        kept[f"{name}/losses"] = torch.tensor(report.losses)
    save_file(kept, Path(sys.argv[1]) / f"rank{processes.rank}of{processes.size}.safetensors")
"""


def launched(arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "VLPROMPT_CACHE": str(folder / "cache")}
    command, environment = [sys.executable, *arguments], {**os.environ, **own}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """VPT-deep, all weights of a ViT, and MaPLe; through a batch that is smaller than the team."""
    script = tmp_path / "fitted.py"
    script.write_text(FITTED)
    launched([str(script), str(tmp_path)], tmp_path)
    launched([*TORCHRUN, str(script), str(tmp_path)], tmp_path)
    alone, first, second = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("rank0of1", "rank0of2", "rank1of2")
    )
    assert {name.partition("/")[0] for name in alone} == {"vpt", "full", "maple"}
    for name, wanted in alone.items():
        assert torch.equal(first[name], second[name]), "both have taken the same steps, to the last bit"
        torch.testing.assert_close(first[name], wanted, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.glob("*.state"))


def test_the_command_line_writes_and_prints_once(tmp_path: Path) -> None:
    task = vp.load_task("digits")
    for label, name in enumerate(("zero", "one")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for example in [each for each in task.test if each.label == label][:12]:
            task.images.open(example.item).save(tmp_path / "photos" / name / f"{example.item}.png")
    rows = ["--task", "photos", "--learners", "zero_shot", "vpt", "--shots", "2", "--seeds", "1", "2"]
    rows += ["--augment", "none", "--set", "train.epochs=2", "train.batch_size=3", "vpt.n_prompts=2", "vpt.depth=2"]
    single = launched(["-m", "vlprompt", "few-shot", *rows, "--out", "alone"], tmp_path)
    shared = launched([*TORCHRUN, "-m", "vlprompt", "few-shot", *rows, "--out", "shared"], tmp_path)
    alone, together = (read(tmp_path / out / "results.jsonl") for out in ("alone", "shared"))
    assert len(together) == len(alone) == 3
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.key == theirs.key
        assert ours.metrics == pytest.approx(theirs.metrics, abs=0.15)  # few images, each a sixth of a class
        assert ours.extra["processes"] == 2
        assert "processes" not in theirs.extra
    assert shared.stdout.count("vpt") == single.stdout.count("vpt"), "only the first prints"
    again = launched([*TORCHRUN, "-m", "vlprompt", "few-shot", *rows, "--out", "shared", "--json"], tmp_path)
    assert [json.loads(line)["key"] for line in again.stdout.splitlines()] == [result.key for result in together]
    assert len(read(tmp_path / "shared" / "results.jsonl")) == 3, "what has a result is not run again, by nobody"


def test_without_torchrun_there_is_one_process() -> None:
    assert current_processes() == SINGLE
    assert SINGLE.broadcast_text("it") == "it"


def test_methods_that_need_whole_batches_are_refused(tmp_path: Path) -> None:
    clip = vp.load_clip("tiny")
    learner = ProGrad(clip, ["zero", "one"])
    batches = feature_batches(torch.randn(4, clip.embed_dim), torch.arange(4) % 2, batch_size=2, seed=1)
    with pytest.raises(UsageError, match="prograd cannot be trained by 2 processes: it projects the gradient"):
        vp.fit(learner, batches, vp.TrainConfig(epochs=1), processes=Processes(0, 2))


def test_a_part_of_a_batch_has_all_that_its_examples_have() -> None:
    texts = tuple(Text.of(text=word) for word in ("a", "b", "c"))
    whole = Batch(torch.arange(3), torch.arange(3), images=torch.arange(3.0), domains=torch.arange(3), texts=texts)
    part = whole.part(torch.tensor([2, 0]))
    assert part.labels.tolist() == part.index.tolist() == part.domains.tolist() == [2, 0]
    assert part.images is not None
    assert part.images.tolist() == [2.0, 0.0]
    assert part.texts == (texts[2], texts[0])
    assert part.features is None
