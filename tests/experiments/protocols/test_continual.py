"""Continual learning: the matrix of accuracies, masks, joint training, domains, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.experiments.protocols.conftest import POOLS, SETTINGS, one, specs
from vlprompt.data.features import FeatureStore
from vlprompt.data.incremental import class_incremental
from vlprompt.errors import UsageError
from vlprompt.experiments.protocols import continual
from vlprompt.experiments.results import ALL_SHOTS
from vlprompt.experiments.results_file import read
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.statistics import CONTINUAL
from vlprompt.training.evaluate import evaluate


def test_equal_runs_are_found_and_a_change_is_another_run(sequential: MakeRunner, ten: vp.Task) -> None:
    runner = sequential()
    first = one(runner, ten, "linear")
    assert one(runner, ten, "linear") == first
    assert len(read(runner.results_file)) == 1
    (masked,) = continual.run(runner, ten, [], masked=specs("linear"), seeds=(3,))
    (joint,) = continual.run(runner, ten, [], joint=specs("linear"), seeds=(3,))
    others = [masked, joint, one(runner, ten, "linear", tasks=2), one(runner, ten, "linear", listed=True)]
    assert len({each.key for each in [first, *others]}) == 5
    prompts = list((runner.out / "prompts").rglob("prompt.safetensors"))
    assert len(prompts) == 5, "runs do not share prompts"


def test_the_matrix_holds_accuracies_among_all_classes_so_far(
    sequential: MakeRunner, ten: vp.Task, store: FeatureStore
) -> None:
    runner = sequential()
    found = one(runner, ten, "dual_prompt")
    matrix, order = found.extra["matrix"], found.extra["order"]
    assert [len(row) for row in matrix] == [1, 2, 3, 4, 5]
    assert [len(part) for part in order] == [2] * 5
    assert sorted(name for part in order for name in part) == sorted(ten.classes)
    learner = vp.load(next((runner.out / "prompts").rglob("prompt.json")).parent, runner.backbone)
    assert list(learner.classes) == [name for part in order for name in part]
    sequence = class_incremental(ten, 5, 3)
    for i, part in enumerate(sequence.test_tasks(4).values()):
        top1 = evaluate(learner, part, store=store).metrics["top1"]
        assert top1 == matrix[4][i] == found.metrics[f"task{i + 1}_top1"]
    for name, measure in CONTINUAL.items():
        assert found.metrics[name] == measure(matrix)
    assert found.examples == len(ten.test)
    assert (found.classes, found.shots, found.seed) == (10, ALL_SHOTS, 3)
    saved = sum(tensor.numel() for tensor in learner.saved_tensors().values())
    assert found.trainable_parameters == saved, "experts that are frozen by now were trained too"
    assert len(found.extra["usage"]) == 5
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in found.extra["usage"])


@pytest.mark.parametrize("name", POOLS)
def test_no_test_batch_states_its_task(
    name: str, sequential: MakeRunner, ten: vp.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels, positions and domains of test images are not read, and all classes so far have a score."""
    kind = LearnerSpec.parse(name, SETTINGS).kind
    predict, seen = kind.predict, []

    def blind(self: Any, batch: Any) -> torch.Tensor:
        assert batch.domains is None
        hidden = predict(self, replace(batch, labels=torch.full_like(batch.labels, -1), index=batch.index * 0))
        assert torch.equal(hidden, predict(self, batch))
        assert hidden.shape[1] == len(self.classes)
        seen.append(hidden.shape[1])
        return hidden

    monkeypatch.setattr(kind, "predict", blind)
    one(sequential(epochs=1), ten, name)
    assert seen == [2, 4, 4, 6, 6, 6, 8, 8, 8, 8, 10, 10, 10, 10, 10]


def test_sequential_training_forgets_a_mask_trains_one_task_only_and_joint_training_is_better(
    clip: vp.Clip, sequential: MakeRunner, ten: vp.Task
) -> None:
    runner = sequential(backbone=clip, epochs=20, optimizer="adam", lr=0.005)
    plain, masked, joint = continual.run(
        runner, ten, specs("linear"), masked=specs("linear"), joint=specs("linear"), seeds=(1,)
    )
    assert joint.metrics["average_accuracy"] > plain.metrics["average_accuracy"] + 0.1
    assert plain.metrics["forgetting_max"] > 0.2
    assert "matrix" not in joint.extra
    assert "forgetting_max" not in joint.metrics
    assert [each.variant for each in (plain, masked, joint)] == ["", "mask=classes", "tasks=joint"]
    learned = {
        each.parent.name[:-9]: vp.load(each.parent, clip).trainable()["head.weight"]
        for each in (runner.out / "prompts").rglob("prompt.json")
    }
    pairs = {name: weight.reshape(5, 2, -1).sum(dim=1).abs().max() for name, weight in learned.items()}
    assert pairs["linear-mask=classes-allshot-seed1"] < 1e-4, "two classes from zero, compared with each other alone"
    assert pairs["linear-allshot-seed1"] > 0.01


def test_one_domain_after_another(sequential: MakeRunner, ten: vp.Task) -> None:
    def divided(examples: tuple[vp.Example, ...]) -> tuple[vp.Example, ...]:
        return tuple(replace(e, domain=i % 3) for i, e in enumerate(examples))

    several = replace(ten, domains=("a", "b", "c"), train=divided(ten.train), test=divided(ten.test))
    runner = sequential()
    found = one(runner, several, "dual_prompt", domains=True)
    assert found.task == "digits/domains"
    assert sorted(name for (name,) in found.extra["order"]) == ["a", "b", "c"]
    assert [len(row) for row in found.extra["matrix"]] == [1, 2, 3]
    assert "forgetting_chaudhry" in found.metrics
    common = replace(several, test=tuple(replace(e, domain=2) for e in ten.test))
    common = replace(common, train=tuple(e for e in several.train if e.domain < 2))
    shared = one(runner, common, "linear", domains=True)
    assert [len(row) for row in shared.extra["matrix"]] == [1, 1]
    assert shared.metrics["average_accuracy"] == shared.metrics["all_top1"]
    assert "forgetting_max" not in shared.metrics


@pytest.mark.parametrize("name", POOLS)
def test_pools_work_on_a_clip(name: str, clip: vp.Clip, sequential: MakeRunner, ten: vp.Task) -> None:
    """Prompts enter its image tower, its image feature is the query, and a linear head reads that feature."""
    layers = {"coda_prompt": {"layers": [0, 3]}, "dual_prompt": {"expert_layers": [2, 3], "general_layers": [0]}}
    runner, spec = sequential(backbone=clip), LearnerSpec.parse(name, {**SETTINGS, **layers})
    (found,) = continual.run(runner, ten, [spec], tasks=2, seeds=(1,))
    assert found.backbone == "tiny"
    assert [len(row) for row in found.extra["matrix"]] == [1, 2]
    assert found.metrics["average_accuracy"] > 0.2
    learner = vp.load(next((runner.out / "prompts").rglob("prompt.json")).parent, clip)
    assert learner.trainable()["head.weight"].shape == (10, clip.embed_dim)


def test_learners_that_read_class_names_get_more_names_with_each_task(
    clip: vp.Clip, sequential: MakeRunner, ten: vp.Task
) -> None:
    zero, coop = continual.run(sequential(backbone=clip), ten, specs("zero_shot", "coop"), tasks=2, seeds=(1,))
    assert zero.shots == 0
    assert zero.metrics["task1_top1"] > 0.5
    assert coop.metrics["average_accuracy"] > 0.5


def test_what_is_impossible_is_refused_before_anything_runs(
    clip: vp.Clip, sequential: MakeRunner, ten: vp.Task
) -> None:
    on_clip, runner = sequential(backbone=clip), sequential()
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: continual.run(runner, ten, specs("linear"), tasks=11), "11 tasks were .*, give 2 to 10"),
        (lambda: continual.run(runner, ten, specs("linear"), domains=True), "no domains to learn one after another"),
        (lambda: continual.run(runner, ten, specs("linear", "linear_probe")), "linear_probe cannot change its classes"),
        (lambda: continual.run(on_clip, ten, specs("linear"), masked=specs("coop")), "coop has no linear head here"),
        (lambda: continual.run(on_clip, ten, specs("linear"), masked=specs("vpt")), "vpt has no linear head here"),
        (lambda: continual.run(runner, ten, specs("linear"), test_shots=0), "must be 1 or more"),
    ]
    for start, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            list(start())
    assert not runner.results_file.exists()
    assert not on_clip.results_file.exists()


def test_averages_of_rows() -> None:
    assert continual.summary([[1.0], [0.5, 0.7]])["average_accuracy"] == pytest.approx(0.6)
    common = continual.summary([[0.4], [0.6]])
    assert common == {"average_accuracy": 0.6, "average_accuracy_curve_mean": pytest.approx(0.5)}
