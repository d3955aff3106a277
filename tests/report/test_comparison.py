"""Our results and published numbers: pairs, differences, and a note where they are not comparable."""

from dataclasses import replace
from pathlib import Path

import pytest

from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.experiments.statistics import harmonic_mean
from vlprompt.report.comparison import comparison_tables
from vlprompt.report.published import AVERAGE, Published, read_paper

VIT = "ViT-B-16/openai"
FILE = Path(__file__).parents[2] / "benchmarks" / "paper.toml"
ELEVEN = (
    "imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft", "sun397",
    "dtd", "eurosat", "ucf101",
)  # fmt: skip


def run(protocol: str, learner: str, *, task: str = "caltech101", seed: int = 1, **changes: object) -> Result:
    known = {"backbone": VIT, "shots": 16, "metrics": {"top1": 0.9}} | changes
    made = {"fingerprint": str(known["backbone"]), "split_hash": task, "classes": 100} | known
    return Result(protocol=protocol, learner=learner, task=task, seed=seed, **made)  # type: ignore[arg-type]


def halves(base: float, new: float, **changes: object) -> Result:
    metrics = {"base_top1": base, "new_top1": new, "harmonic_mean": harmonic_mean(base, new)}
    return run("base_to_new", "coop", **({"variant": "cocoop-paper", "metrics": metrics} | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def paper() -> tuple[Published, ...]:
    return read_paper(FILE)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each Markdown table, without its rule, empty cells and titles."""
    found = []
    for block in text.split("\n\n"):
        lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
        if block.startswith("|"):
            found.append([line for line in lines if len(line) > 1 and line[0] != "---"])
    return found


def test_base_to_new_shows_the_difference_on_the_same_backbone(paper: tuple[Published, ...]) -> None:
    shown = comparison_tables(
        [halves(0.97, 0.90), halves(0.99, 0.92, seed=2), halves(0.98, 0.91, seed=3)], paper, "markdown"
    )
    ((header, theirs, ours, difference),) = tables(shown)
    assert header == ["method", "base", "new", "H"]
    assert theirs == ["paper: CoOp, 16 shots", "98.0", "89.8", "93.7"]
    # 4.3027 * 1 / sqrt(3) either way; H of the averages, 2 * 98 * 91 / 189, less 93.73
    assert ours[:3] == ["ours: coop (cocoop-paper)", "98.0 ± 2.5", "91.0 ± 2.5"]
    assert ours[3].startswith("94.4 ± ")
    assert difference == ["difference", "0.0", "1.2", "0.6"]
    caption = shown.splitlines()[0]
    assert caption == (
        "base_to_new, caltech101: top1 in percent, H of the averages, ours and published; both on ViT-B-16/openai; "
        "±: 95 % interval (Student t) over 3 seeds."
    )
    assert "Zhou et al., CVPR 2022 (CoCoOp, arXiv:2203.05557), Table 1 (from memory, its sums checked)" in shown


def test_another_backbone_is_shown_but_not_compared(paper: tuple[Published, ...]) -> None:
    shown = comparison_tables([halves(0.9, 0.8, backbone="lit_tiny")], paper, "markdown")
    ((_, theirs, ours),) = tables(shown)
    assert (theirs[1], ours[1]) == ("98.0", "90.0")
    assert "not comparable: the paper's backbone is ViT-B-16/openai, ours lit_tiny." in shown.splitlines()[0]
    assert "difference" not in shown


def test_the_average_needs_every_task_and_its_h_is_that_of_the_averages(paper: tuple[Published, ...]) -> None:
    results = [halves(0.9, 0.5 + 0.01 * at, task=task) for at, task in enumerate(ELEVEN)]
    *singles, average = tables(comparison_tables(results, paper, "markdown"))
    assert len(singles) == 11
    assert average[1] == ["paper: CoOp, 16 shots", "82.7", "63.2", "71.7"]
    assert average[2] == ["ours: coop (cocoop-paper)", "90.0", "55.0", "68.3"]  # 2 * 90 * 55 / 145
    assert average[3] == ["difference", "7.3", "-8.2", "-3.4"]
    assert len(tables(comparison_tables(results[1:], paper, "markdown"))) == 10, "no average of ten"


def test_an_average_alone_is_compared_with_an_average(paper: tuple[Published, ...]) -> None:
    results = [replace(halves(0.9, 0.6, task=task), learner="kgcoop", variant="") for task in ELEVEN]
    ((_, theirs, ours, _),) = tables(comparison_tables(results, paper, "markdown"))
    assert theirs[1:] == ["80.7", "73.6", "77.0"]
    assert ours[1:] == ["90.0", "60.0", "72.0"]
    assert comparison_tables(results[:-1], paper) == ""


def test_only_the_same_method_setting_shots_and_task_match(paper: tuple[Published, ...]) -> None:
    for other in (
        halves(0.9, 0.8, variant=""),  # the CoOp paper's CoOp is another setting
        halves(0.9, 0.8, variant="cocoop-paper n_ctx=8"),
        halves(0.9, 0.8, shots=8),
        halves(0.9, 0.8, task="digits"),
        run("few_shot", "zero_shot", task="digits", shots=0),
        run("few_shot", "coop", shots=4),
    ):
        assert comparison_tables([other], paper) == ""


def test_few_shot_has_a_column_for_each_task_we_have(paper: tuple[Published, ...]) -> None:
    results = [
        run("few_shot", "coop", task="dtd", backbone="RN50-quickgelu/openai", metrics={"top1": 0.65}),
        run("few_shot", "coop", task="caltech101", backbone="RN50-quickgelu/openai", metrics={"top1": 0.92}),
        run("few_shot", "coop", task="caltech101", backbone="RN50-quickgelu/openai", shots=1, metrics={"top1": 0.8}),
        run("zero_shot", "zero_shot", backbone="RN50-quickgelu/openai", shots=0, seed=0, metrics={"top1": 0.86}),
    ]
    (table,) = tables(comparison_tables(results, paper, "markdown"))
    assert table == [
        ["method", "caltech101", "dtd"],
        ["paper: CLIP", "86.3", "42.3"],
        ["ours: zero_shot", "86.0", "–"],
        ["difference", "-0.3", "–"],
        ["paper: CoOp, M=16, class at the end, 16 shots", "91.8", "63.6"],
        ["ours: coop", "92.0", "65.0"],
        ["difference", "0.2", "1.4"],
        ["paper: CoOp, M=16, class at the end, 1 shot", "87.5", "44.4"],
        ["ours: coop", "80.0", "–"],
        ["difference", "-7.5", "–"],
        ["paper: CoOp, M=16, class at the end, 16 shots", "92.0", "–"],  # COOP.md, with today's transforms
        ["ours: coop", "92.0", "–"],
        ["difference", "0.0", "–"],
    ]


def test_a_paper_on_our_backbone_hides_papers_on_others(paper: tuple[Published, ...]) -> None:
    ours = run("few_shot", "coop")
    assert comparison_tables([ours], paper).count("both on ViT-B-16/openai") == 1
    assert "not comparable" not in comparison_tables([ours], paper)
    assert comparison_tables([replace(ours, backbone="lit_tiny")], paper).count("not comparable") == 2, (
        "RN50 and ViT-B/16"
    )


def test_transfer_has_columns_for_targets_and_the_published_average(paper: tuple[Published, ...]) -> None:
    metrics = {f"{task}_top1": 0.5 for task in ELEVEN} | {"imagenet_top1": 0.7}
    ours = run("cross_dataset", "maple", task="imagenet", variant="maple-cross-dataset", metrics=metrics)
    ((header, theirs, mine, difference),) = tables(comparison_tables([ours], paper, "markdown"))
    assert header == ["method", *ELEVEN, AVERAGE]
    assert (theirs[1], theirs[-1]) == ("70.7", "66.3")
    assert (mine[1], mine[-1]) == ("70.0", "50.0"), "the average leaves the source out"
    assert difference[-1] == "-16.3"
    partly = replace(ours, metrics={"imagenet_top1": 0.7, "dtd_top1": 0.5, "my_photos_top1": 0.1})
    ((header, *_),) = tables(comparison_tables([partly], paper, "markdown"))
    assert header == ["method", "imagenet", "dtd"]
    assert comparison_tables([replace(ours, task="caltech101")], paper) == "", "it was trained on ImageNet"


def test_domain_shift_distinguishes_context_lengths(paper: tuple[Published, ...]) -> None:
    metrics = {"imagenet_top1": 0.72, "imagenet_a_top1": 0.5}
    long = run("domain_shift", "coop", task="imagenet", metrics=metrics)
    short = replace(long, variant="n_ctx=4", config={"n_ctx": 4})
    (table,) = tables(comparison_tables([long, short], paper, "markdown"))
    assert [line[0] for line in table[1:]] == [
        "paper: CoOp, M=16, 16 shots", "ours: coop", "difference",
        "paper: CoOp, M=4, 16 shots", "ours: coop (n_ctx=4)", "difference",
    ]  # fmt: skip
    assert [line[1:] for line in table[1:]][3] == ["71.7", "49.9"]


def test_the_label_states_epochs_and_augmentation(paper: tuple[Published, ...]) -> None:
    ours = halves(0.9, 0.8, train_config={"epochs": 2}, augment="none")
    assert "ours: coop (cocoop-paper), 2 epochs, augment none" in comparison_tables([ours], paper)
    ours = halves(0.9, 0.8, train_config={"epochs": 200}, augment="paper")
    assert "ours: coop (cocoop-paper), 200 epochs " in comparison_tables([ours], paper)


def test_our_settings_that_differ_are_separate_rows(paper: tuple[Published, ...]) -> None:
    one, two = (halves(0.9, 0.8, train_config={"epochs": epochs}) for epochs in (1, 2))
    ((_, *lines),) = tables(comparison_tables([one, two], paper, "markdown"))
    assert sum(line[0].startswith("ours: ") for line in lines) == 2


@pytest.mark.parametrize(("form", "sign"), [("terminal", "----"), ("markdown", "| ---: |"), ("latex", r"\toprule")])
def test_formats_are_those_of_other_tables(form: str, sign: str, paper: tuple[Published, ...]) -> None:
    assert sign in comparison_tables([halves(0.9, 0.8)], paper, form)


def test_an_unknown_format_is_refused(paper: tuple[Published, ...]) -> None:
    with pytest.raises(UsageError, match="did you mean 'latex'"):
        comparison_tables([halves(0.9, 0.8)], paper, "latx")
