"""The table of methods that adapt to a stream of test images."""

import pytest

from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.report.streams import stream_table


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table without its rule."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [lines[0], *lines[2:]]


def test_gains_are_within_a_seed_and_online_learners_are_marked() -> None:
    def run(learner: str, adaptation: str, seed: int, before: float | None, after: float) -> Result:
        metrics = {"top1": after, "ece_15_equal_width": 0.1}
        metrics |= {} if before is None else {"before_top1": before, "before_ece_15_equal_width": 0.05}
        extra = {"adaptation": adaptation, "seconds_per_image": 0.001 * seed}
        settings = {"backbone": "tiny", "fingerprint": "f" * 16, "task": "digits", "split_hash": "s", "classes": 10}
        settings |= {"protocol": "test_time", "shots": 0, "metrics": metrics, "extra": extra}
        return Result(learner=learner, seed=seed, **settings)

    results = [
        run("zero_shot", "none", 1, None, 0.7),
        *(run("mta", "episodic", seed, 0.6 + 0.1 * seed, 0.65 + 0.1 * seed) for seed in (1, 2)),
        run("tda", "online", 1, 0.7, 0.65),
    ]
    header, _, *found = rows(stream_table(results, "markdown"))
    assert header == ["learner", "top1 before", "after", "gain", "ECE before", "after", "s/image"]
    assert found == [
        ["mta, episodic", "75.0 ± 63.5", "80.0 ± 63.5", "5.0 ± 0.0", "5.0 ± 0.0", "10.0 ± 0.0", "0.00150 ± 0.00635"],
        ["tda, online", "70.0", "65.0", "-5.0", "5.0", "10.0", "0.00100"],
        ["zero_shot", "–", "70.0", "–", "–", "10.0", "0.00100"],
    ]
    lines = stream_table(results).splitlines()
    assert "before and after adaptation" in lines[0]
    assert len({line.index("s/image") for line in lines if "s/image" in line}) == 1
    latex = stream_table(results, "latex")
    assert r"$0.00150 \pm 0.00635$" in latex
    with pytest.raises(UsageError, match="no result of test_time"):
        stream_table([])
