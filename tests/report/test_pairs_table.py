"""The table of pairs of domains: averages within seeds, and the data set's own metric."""

from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.report import tables


def result(pair: str, learner: str, seed: int, **metrics: float) -> Result:
    return Result(
        protocol="domain_adaptation",
        learner=learner,
        backbone="tiny",
        fingerprint="f",
        task=f"visda/transductive/{pair}",
        split_hash=pair,
        classes=2,
        shots=0 if learner == "zero_shot" else ALL_SHOTS,
        seed=seed,
        metrics=metrics,
        extra={"metric": "class_mean"},
    )


def test_the_table_averages_within_seeds_and_shows_the_data_sets_own_metric() -> None:
    found = [result(pair, "zero_shot", 0, top1=0.1, class_mean=value) for pair, value in (("a:b", 0.5), ("b:a", 0.7))]
    for seed, values in ((1, (0.6, 0.8)), (2, (0.8, 0.6))):
        found += [
            result(pair, "dapl", seed, top1=0.1, class_mean=value)
            for pair, value in zip(("a:b", "b:a"), values, strict=True)
        ]
    found.append(result("a:b", "coop", 1, top1=0.1, class_mean=0.3))
    lines = tables.pairs_table(found, "markdown").splitlines()
    assert lines[0].startswith("visda/transductive: class_mean in percent")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["domains", "zero_shot", "coop", "dapl"]
    assert cells[3:] == [
        ["a:b", "50.0", "30.0", "70.0 ± 127.1"],
        ["b:a", "70.0", "–", "70.0 ± 127.1"],
        ["average", "60.0", "–", "70.0 ± 0.0"],  # variation over pairs is not part of the interval
    ]
