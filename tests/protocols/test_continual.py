"""Tasks one after another: what is learned from, judged and kept; an interrupted run ends in the same bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.learners.vits import small_vit
from vlprompt import cli, metrics, runner, stages, train
from vlprompt.data import FeatureStore
from vlprompt.data.streams import in_stages
from vlprompt.errors import UsageError
from vlprompt.evaluate import evaluate
from vlprompt.protocols import continual
from vlprompt.results import ALL_SHOTS, Result, read
from vlprompt.runner import Bench, Entry

SETTINGS: dict[str, dict[str, Any]] = {
    "l2p": {"pool": 6, "length": 2, "top": 2, "prompt_mask": True, "share": True},
    "dual_prompt": {"general_layers": [0], "expert_layers": [1, 2], "general_length": 2, "expert_length": 2},
    "coda_prompt": {"components": 2, "length": 4, "layers": [0, 2]},
    "vpt": {"n_prompts": 2, "dropout": 0.3},
}
POOLS = ("l2p", "dual_prompt", "coda_prompt")
QUICK = {"epochs": 2, "augment": "none", "batch_size": 8, "lr": 0.02, "warmup": "none"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit(torch.float32)


@pytest.fixture(scope="module")
def task() -> vp.Task:
    """Eight digits to learn from and four to be judged on of each class."""
    digits = vp.load_task("digits").few_shot(8, seed=1)
    test = tuple(e for label in range(10) for e in [e for e in digits.test if e.label == label][:4])
    return replace(digits, val=(), test=test)


@pytest.fixture
def make_bench(vit: vp.Vit, store: FeatureStore, tmp_path: Path) -> Callable[..., Bench]:
    """A bench with a folder of its own: make_bench("whole")."""

    def make(name: str = "out", backbone: Any = vit, **changes: Any) -> Bench:
        return Bench(backbone, tmp_path / name, store, {**QUICK, **changes}, quiet=True)

    return make


def rows(*names: str) -> list[Entry]:
    return [Entry.parse(name, SETTINGS) for name in names]


def one(bench: Bench, task: vp.Task, *names: str, **options: Any) -> Result:
    (found,) = continual.run(bench, task, rows(*names), **{"seeds": (3,), **options})
    return found


def prompt_bytes(bench: Bench) -> bytes:
    (file,) = (bench.out / "prompts").rglob("prompt.safetensors")
    return file.read_bytes()


def outcome(result: Result) -> list[Any]:
    """All that must not depend on an interruption."""
    return [result.key, result.metrics, result.extra["matrix"], result.extra.get("usage"), result.trainable_parameters]


def stop_fit(monkeypatch: pytest.MonkeyPatch, at: int, *, after_epoch: int = 0) -> None:
    """Let training number `at` (from 1) be interrupted as by Ctrl-C, before it begins or after an epoch of it."""
    calls, fit = [], train.fit

    class Stop:
        def log(self, step: int, **_: float) -> None:
            if step == after_epoch:
                raise KeyboardInterrupt

        def close(self) -> None:
            pass

    def counted(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == at and not after_epoch:
            raise KeyboardInterrupt
        return fit(*given, **{**more, "tracker": Stop()} if len(calls) == at else more)

    monkeypatch.setattr(runner, "fit", counted)


@pytest.mark.parametrize("name", [*POOLS, "vpt", "full", "linear"])
@pytest.mark.parametrize("at", [2, 4])
def test_a_run_stopped_between_tasks_ends_in_the_same_bytes(
    name: str, at: int, make_bench: Callable[..., Bench], task: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after task 1, and after task 3."""
    whole, broken = make_bench("whole"), make_bench("broken")
    wanted = one(whole, task, name)
    with monkeypatch.context() as patch:
        stop_fit(patch, at)
        with pytest.raises(KeyboardInterrupt):
            one(broken, task, name)
    (state,) = (broken.out / "unfinished").iterdir()
    assert not broken.results_file.exists()
    trained, fit = [], train.fit

    def noted(learner: Any, own: vp.Task, *given: Any, **more: Any) -> Any:
        trained.append(len(own.classes))
        return fit(learner, own, *given, **more)

    monkeypatch.setattr(runner, "fit", noted)
    found = one(broken, task, name)
    assert trained == [2, 4, 6, 8, 10][at - 1 :], "tasks that were learned are not learned again"
    assert outcome(found) == outcome(wanted)
    assert prompt_bytes(broken) == prompt_bytes(whole)
    assert not state.exists()


@pytest.mark.parametrize("name", [*POOLS, "vpt"])
def test_a_run_stopped_within_a_task_ends_in_the_same_bytes(
    name: str, make_bench: Callable[..., Bench], task: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "SAVE_SECONDS", 0.0)
    whole, broken = make_bench("whole", epochs=3), make_bench("broken", epochs=3)
    wanted = one(whole, task, name)
    with monkeypatch.context() as patch:
        stop_fit(patch, 3, after_epoch=2)
        with pytest.raises(KeyboardInterrupt):
            one(broken, task, name)
    assert len(list((broken.out / "unfinished").iterdir())) == 2, "one after two tasks, one within the third"
    found = one(broken, task, name)
    assert outcome(found) == outcome(wanted)
    assert prompt_bytes(broken) == prompt_bytes(whole)
    assert list((broken.out / "unfinished").iterdir()) == []


def test_a_result_is_found_and_a_change_is_another_run(make_bench: Callable[..., Bench], task: vp.Task) -> None:
    bench = make_bench()
    first = one(bench, task, "linear")
    assert one(bench, task, "linear") == first
    assert len(read(bench.results_file)) == 1
    (masked,) = continual.run(bench, task, [], masked=rows("linear"), seeds=(3,))
    (joint,) = continual.run(bench, task, [], joint=rows("linear"), seeds=(3,))
    others = [masked, joint, one(bench, task, "linear", tasks=2), one(bench, task, "linear", listed=True)]
    assert len({each.key for each in [first, *others]}) == 5
    assert len(list((bench.out / "prompts").rglob("prompt.safetensors"))) == 4, "rows and streams do not share prompts"


def test_the_matrix_is_what_the_learner_says_among_all_classes_so_far(
    make_bench: Callable[..., Bench], task: vp.Task, store: FeatureStore
) -> None:
    bench = make_bench()
    found = one(bench, task, "dual_prompt")
    matrix, order = found.extra["matrix"], found.extra["order"]
    assert [len(row) for row in matrix] == [1, 2, 3, 4, 5]
    assert [len(part) for part in order] == [2] * 5
    assert sorted(name for part in order for name in part) == sorted(task.classes)
    learner = vp.load(next((bench.out / "prompts").rglob("prompt.json")).parent, bench.backbone)
    assert list(learner.classes) == [name for part in order for name in part]
    stream = in_stages(task, 5, 3)
    for i, part in enumerate(stream.judged(4).values()):
        top1 = evaluate(learner, part, store=store).metrics["top1"]
        assert top1 == matrix[4][i] == found.metrics[f"task{i + 1}_top1"]
    for name, measure in metrics.CONTINUAL.items():
        assert found.metrics[name] == measure(matrix)
    assert found.examples == len(task.test)
    assert (found.classes, found.shots, found.seed) == (10, ALL_SHOTS, 3)
    assert found.trainable_parameters == sum(
        tensor.numel() for tensor in {**learner.trainable(), **learner.found()}.values()
    ), "frozen experts were learned too"
    assert len(found.extra["usage"]) == 5
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in found.extra["usage"])


@pytest.mark.parametrize("name", POOLS)
def test_no_test_batch_says_which_task_it_is_of(
    name: str, make_bench: Callable[..., Bench], task: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither labels, places nor domains of test images are read, and all classes so far have a score."""
    kind = Entry.parse(name, SETTINGS).kind
    predict, seen = kind.predict, []

    def blind(self: Any, batch: vp.data.Batch) -> torch.Tensor:
        assert batch.domains is None
        hidden = predict(self, replace(batch, labels=torch.full_like(batch.labels, -1), index=batch.index * 0))
        assert torch.equal(hidden, predict(self, batch))
        assert hidden.shape[1] == len(self.classes)
        seen.append(hidden.shape[1])
        return hidden

    monkeypatch.setattr(kind, "predict", blind)
    one(make_bench(epochs=1), task, name)
    assert seen == [2, 4, 4, 6, 6, 6, 8, 8, 8, 8, 10, 10, 10, 10, 10]


def test_sequential_training_forgets_a_mask_compares_one_task_only_and_joint_training_is_above(
    make_bench: Callable[..., Bench], task: vp.Task
) -> None:
    clip = vp.load_clip("tiny")
    bench = make_bench(backbone=clip, epochs=20, optimizer="adam", lr=0.005)
    plain, masked, joint = continual.run(
        bench, task, rows("linear"), masked=rows("linear"), joint=rows("linear"), seeds=(1,)
    )
    assert joint.metrics["average_accuracy"] > plain.metrics["average_accuracy"] + 0.1
    assert plain.metrics["forgetting_max"] > 0.2
    assert "matrix" not in joint.extra
    assert "forgetting_max" not in joint.metrics
    assert [each.variant for each in (plain, masked, joint)] == ["", "mask=classes", "tasks=joint"]
    learned = {
        each.parent.name: vp.load(each.parent, clip).trainable()["head.weight"]
        for each in (bench.out / "prompts").rglob("prompt.json")
    }
    pairs = {name: weight.reshape(5, 2, -1).sum(dim=1).abs().max() for name, weight in learned.items()}
    assert pairs["linear-mask=classes-allshot-seed1"] < 1e-4, "two classes from zero, compared with each other alone"
    assert pairs["linear-allshot-seed1"] > 0.01


def test_one_domain_after_another(make_bench: Callable[..., Bench], task: vp.Task) -> None:
    def dealt(examples: tuple[vp.Example, ...]) -> tuple[vp.Example, ...]:
        return tuple(replace(e, domain=i % 3) for i, e in enumerate(examples))

    several = replace(task, domains=("a", "b", "c"), train=dealt(task.train), test=dealt(task.test))
    bench = make_bench()
    found = one(bench, several, "dual_prompt", domains=True)
    assert found.task == "digits/domains"
    assert sorted(name for (name,) in found.extra["order"]) == ["a", "b", "c"]
    assert [len(row) for row in found.extra["matrix"]] == [1, 2, 3]
    assert "forgetting_chaudhry" in found.metrics
    common = replace(several, test=tuple(replace(e, domain=2) for e in task.test))
    common = replace(common, train=tuple(e for e in several.train if e.domain < 2))
    shared = one(bench, common, "linear", domains=True)
    assert [len(row) for row in shared.extra["matrix"]] == [1, 1]
    assert shared.metrics["average_accuracy"] == shared.metrics["all_top1"]
    assert "forgetting_max" not in shared.metrics


@pytest.mark.parametrize("name", POOLS)
def test_a_clip_tower_takes_them_too(name: str, make_bench: Callable[..., Bench], task: vp.Task) -> None:
    """Prompts enter its image tower, the query is its own image feature, and a linear head stands on that space."""
    layers = {"coda_prompt": {"layers": [0, 3]}, "dual_prompt": {"expert_layers": [2, 3], "general_layers": [0]}}
    clip = vp.load_clip("tiny")
    entry = Entry.parse(name, {**SETTINGS, **layers})
    (found,) = continual.run(make_bench(backbone=clip), task, [entry], tasks=2, seeds=(1,))
    assert found.backbone == "tiny"
    assert [len(row) for row in found.extra["matrix"]] == [1, 2]
    assert found.metrics["average_accuracy"] > 0.2
    learner = vp.load(next((make_bench().out / "prompts").rglob("prompt.json")).parent, clip)
    assert learner.trainable()["head.weight"].shape == (10, clip.embed_dim)


def test_learners_that_read_names_learn_them_as_they_come(make_bench: Callable[..., Bench], task: vp.Task) -> None:
    bench = make_bench(backbone=vp.load_clip("tiny"))
    zero, coop = continual.run(bench, task, rows("zero_shot", "coop"), tasks=2, seeds=(1,))
    assert zero.shots == 0
    assert zero.metrics["task1_top1"] > 0.5
    assert coop.metrics["average_accuracy"] > 0.5


def test_what_cannot_be_is_said_before_anything_runs(make_bench: Callable[..., Bench], task: vp.Task) -> None:
    clip, bench = make_bench(backbone=vp.load_clip("tiny")), make_bench()
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: continual.run(bench, task, rows("linear"), tasks=11), "11 tasks were asked for, give 2 to 10"),
        (lambda: continual.run(bench, task, rows("linear"), domains=True), "no domains to learn one after another"),
        (lambda: continual.run(bench, task, rows("linear", "linear_probe")), "linear_probe cannot change its classes"),
        (lambda: continual.run(clip, task, rows("linear"), masked=rows("coop")), "coop has no linear head here"),
        (lambda: continual.run(bench, task, rows("linear"), test_shots=0), "must be 1 or more, 0 was given"),
    ]
    for start, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            list(start())
    assert not bench.results_file.exists()
    assert not clip.results_file.exists()


def test_averages_of_rows() -> None:
    assert stages.summary([[1.0], [0.5, 0.7]])["average_accuracy"] == pytest.approx(0.6)
    common = stages.summary([[0.4], [0.6]])
    assert common == {"average_accuracy": 0.6, "average_accuracy_curve_mean": pytest.approx(0.5)}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra `plot`")
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards
    command = ["continual", "--out", str(tmp_path / "run"), "--shots", "4", "--test-shots", "4", "--tasks", "2"]
    command += ["--seeds", "1", "2", "--augment", "none", "--set", "train.epochs=1", "l2p.length=2"]
    cli.main([*command, "--plot", str(tmp_path / "plot.png")])
    out = capsys.readouterr().out
    words = ("digits/2-tasks", "forgetting_stepwise", "linear (mask=classes)", "after task 2")
    assert all(word in out for word in words)
    assert all((tmp_path / f"plot-{name}.png").is_file() for name in ("matrix", "tasks", "usage"))
    cli.main([*command, "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in lines] == ["linear"] * 2 + ["l2p"] * 2 + ["linear"] * 4
    assert len(read(tmp_path / "run" / "results.jsonl")) == 8, "the second time nothing ran"
    cli.main(["report", str(tmp_path / "run" / "results.jsonl"), "--plot", str(tmp_path / "again.png")])
    assert "again-usage.png" in capsys.readouterr().out
