"""Which runs share a cell of a table."""

from typing import Any

import pytest

from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.report.series import Series, arrange, by_task


def run(learner: str = "coop", shots: int = 16, seed: int = 1, top1: float = 0.5, **more: Any) -> Result:
    settings: dict[str, Any] = {"protocol": "few_shot", "backbone": "tiny", "fingerprint": "f" * 16, "task": "digits"}
    settings |= {"split_hash": f"draw {shots} {seed}", "classes": 10, "metrics": {"top1": top1}}
    return Result(learner=learner, shots=shots, seed=seed, **(settings | more))


def by_shots(runs: list[Result]) -> list[Series]:
    return arrange(runs, lambda each: each.shots)


def test_seeds_share_a_cell_and_shots_a_row() -> None:
    runs = [run(shots=shots, seed=seed, train_config={"seed": seed}) for seed in (2, 1, 3) for shots in (16, 1)]
    (series,) = by_shots(runs)
    assert series.label == "coop"
    assert {at: [each.seed for each in cell] for at, cell in series.runs.items()} == {1: [1, 2, 3], 16: [1, 2, 3]}


def test_a_recipe_that_depends_on_shots_is_one_row() -> None:
    (series,) = by_shots([run(shots=s, train_config={"epochs": e}) for s, e in ((1, 50), (4, 100), (16, 200))])
    assert list(series.runs) == [1, 4, 16]


def test_labels_show_floats_without_rounding_errors() -> None:
    found = by_shots([run(shots=16, train_config={"lr": 10 * lr, "warmup_lr": 0.1 * lr}) for lr in (0.0003, 0.001)])
    assert [each.label for each in found] == ["coop (lr=0.003, warmup_lr=3e-05)", "coop (lr=0.01, warmup_lr=0.0001)"]


def test_two_settings_with_different_seeds_are_two_rows() -> None:
    runs = [run(seed=1, train_config={"lr": 0.1, "epochs": 5}), run(seed=2, train_config={"lr": 0.2, "epochs": 5})]
    first, second = by_shots(runs)
    assert (first.label, second.label) == ("coop (lr=0.1)", "coop (lr=0.2)")
    assert [len(series.runs[16]) for series in (first, second)] == [1, 1]


def test_a_setting_of_one_column_is_part_of_the_label_in_all_columns() -> None:
    runs = [run(shots=s, config={"n_ctx": n}) for s, n in ((16, 4), (16, 8), (1, 4))]
    assert {each.label: list(each.runs) for each in by_shots(runs)} == {
        "coop (n_ctx=4)": [1, 16],
        "coop (n_ctx=8)": [16],
    }


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ({"precision": "fp32"}, {"precision": "bf16"}, ["coop (precision=bf16)", "coop (precision=fp32)"]),
        ({"variant": "paper"}, {"variant": ""}, ["coop", "coop (paper)"]),
        ({"config": {"words": ""}}, {"config": {}}, ['coop (words="")', "coop (words=none)"]),
        (
            {"augment": "none", "train_config": {"augment": "none"}},
            {"augment": "paper", "train_config": {"augment": "paper"}},
            ["coop (augment=none)", "coop (augment=paper)"],
        ),
        (
            {"config": {"lr": 1}, "train_config": {"lr": 2}},
            {"config": {"lr": 1}, "train_config": {"lr": 3}},
            ["coop (train.lr=2)", "coop (train.lr=3)"],
        ),
    ],
)
def test_the_label_states_the_settings_that_differ(
    one: dict[str, Any], other: dict[str, Any], labels: list[str]
) -> None:
    assert sorted(each.label for each in by_shots([run(**one), run(seed=2, **other)])) == labels


def test_the_latest_run_of_a_seed_is_used() -> None:
    (series,) = by_shots([run(top1=0.1, train_config={"seed": 1}), run(top1=0.9)])
    assert [each.metrics["top1"] for each in series.runs[16]] == [0.9]


def test_runs_on_other_examples_are_rows_of_their_own() -> None:
    pair = [run(top1=0.1, split_hash="old"), run(top1=0.9, split_hash="new")]
    assert [each.label for each in by_shots(pair)] == ["coop (split_hash=new)", "coop (split_hash=old)"]
    seeds = [run(seed=seed, examples=count) for seed in (1, 2) for count in (20, 50)]
    assert [each.label for each in by_shots(seeds)] == ["coop (examples=20)", "coop (examples=50)"]
    assert [len(each.runs[16]) for each in by_shots(seeds)] == [2, 2], "and their seeds stay together"


def test_data_sets_of_one_name_are_apart() -> None:
    runs = [run(data_hash=mark * 64, seed=seed) for mark in "ab" for seed in (1, 2)]
    assert list(by_task(runs, "few_shot")) == ["digits [data aaaaaaaa]", "digits [data bbbbbbbb]"]
    assert all(len(own) == 2 for own in by_task(runs, "few_shot").values())
    with_old = [run(), run(data_hash="a" * 64)]
    assert list(by_task(with_old, "few_shot")) == ["digits [data unknown]", "digits [data aaaaaaaa]"]
    assert list(by_task(runs[:2], "few_shot")) == ["digits"], "a name is enough where it is unique"


def test_backbones_of_one_name_have_their_fingerprints_in_the_title() -> None:
    runs = [run(fingerprint="a" * 16), run(fingerprint="b" * 16), run(backbone="RN50")]
    assert [each.backbone for each in by_shots(runs)] == ["RN50", "tiny [aaaaaaaa]", "tiny [bbbbbbbb]"]


def test_untrained_learners_come_first() -> None:
    assert [each.label for each in by_shots([run("coop"), run("zero_shot", shots=0)])] == ["zero_shot", "coop"]


def test_tasks_are_sorted_and_the_first_protocol_with_results_is_used() -> None:
    runs = [run(task="b"), run(task="a"), run(task="a", protocol="zero_shot")]
    assert {task: len(each) for task, each in by_task(runs, "few_shot", "zero_shot").items()} == {"a": 1, "b": 1}
    assert list(by_task(runs[2:], "few_shot", "zero_shot")) == ["a"]


def test_nothing_to_show_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no result of few_shot or zero_shot to show"):
        by_task([run(protocol="base_to_new")], "few_shot", "zero_shot")
