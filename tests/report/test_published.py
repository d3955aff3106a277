"""Sums in benchmarks/paper.toml, and one-line errors for a wrong file."""

import math
import re
from pathlib import Path

import pytest

from vlprompt import methods
from vlprompt.data import catalog
from vlprompt.errors import VlpromptError
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.statistics import harmonic_mean
from vlprompt.report.published import AVERAGE, METRICS, Published, read_paper

FILE = Path(__file__).parents[2] / "benchmarks" / "paper.toml"
PAPER = read_paper(FILE)
NAMES = [f"{row.source}, {row.method}, {row.shots} shots, {row.backbone}" for row in PAPER]


@pytest.mark.parametrize("row", PAPER, ids=NAMES)
def test_averages_and_harmonic_means_are_those_published(row: Published) -> None:
    """To the precision of the source's decimals."""
    for (task, metric), percent in row.values.items():
        if metric == "harmonic_mean":
            base, new = row.values[task, "base_top1"], row.values[task, "new_top1"]
            assert percent == pytest.approx(harmonic_mean(base, new), abs=0.0101)
        elif task == AVERAGE:
            others = [row.values.get((each, metric)) for each in row.tasks if each != row.trained_on]
            if None in others:
                assert set(others) == {None}, "a row has every task or the average alone"
                continue
            decimals = 1 if all(round(each, 1) == each for each in others) else 2
            assert percent == pytest.approx(math.fsum(others) / len(others), abs=0.06 if decimals == 1 else 0.0101)


def test_the_file_is_complete() -> None:
    """It has all eleven data sets and their average for each method and protocol."""
    full = {
        (row.protocol, row.backbone, row.method) for row in PAPER if len(row.values) >= 12 * len(METRICS[row.protocol])
    }
    for method in ("CLIP", "CoOp", "CoCoOp", "MaPLe", "PromptSRC"):
        assert ("base_to_new", "ViT-B-16/openai", method) in full
        assert method == "CLIP" or ("cross_dataset", "ViT-B-16/openai", method) in full
    few = {backbone: [method for protocol, of, method in full if protocol == "few_shot" and of == backbone]
           for backbone in ("RN50/openai", "ViT-B-16/openai")}  # fmt: skip
    assert len(few["RN50/openai"]) == 5
    assert len(few["ViT-B-16/openai"]) == 7
    shifted = [row for row in PAPER if row.protocol == "domain_shift"]
    assert len(shifted) == 12
    assert all(len(row.values) == 5 for row in shifted)


@pytest.mark.parametrize("row", PAPER, ids=NAMES)
def test_names_are_those_in_results(row: Published) -> None:
    """Tasks are in the catalogue, and our settings have the labels of `LearnerSpec`; otherwise nothing would match."""
    assert set(row.tasks) <= set(catalog.names())
    assert row.trained_on in ("", *row.tasks)
    for learner, variant in row.ours:
        words = variant.split(" ") if variant else []
        named = [word for word in words if "=" not in word]
        changed = dict(word.split("=") for word in words if "=" in word)
        spec = LearnerSpec.parse(
            ":".join([learner, *named]), {learner: {key: int(item) for key, item in changed.items()}}
        )
        assert spec.label == " ".join([learner, *words])
        assert methods.learner_class(learner).needs.trains == bool(row.shots)


def test_only_methods_that_we_lack_have_no_match() -> None:
    """A row without `ours` is of a method or a training that we do not have."""
    unmatched = {row.method for row in PAPER if not row.ours}
    assert unmatched == {
        "ProDA", "TCP", "MMA", "CoPrompt", "PromptKD", "IVLP, 4+4 tokens, 20 epochs",
        "CoOp, as MaPLe trains it", "CLIP",
    }  # fmt: skip


GOOD = """
[evidence]
rd = "read somewhere"
[[table]]
source = "a paper"
evidence = "rd"
protocol = "few_shot"
backbone = "RN50/openai"
shots = 16
tasks = ["dtd", "eurosat"]
[[table.row]]
method = "CoOp"
ours = ["coop:cocoop-paper n_ctx=4", "coop"]
top1 = [63.58, 83.53]
average = { top1 = 73.555 }
"""


def test_every_field_of_a_row_is_read(tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text(GOOD)
    (row,) = read_paper(file)
    assert row == Published(
        source="a paper",
        evidence="read somewhere",
        protocol="few_shot",
        backbone="RN50/openai",
        shots=16,
        tasks=("dtd", "eurosat"),
        trained_on="",
        method="CoOp",
        ours=(("coop", "cocoop-paper n_ctx=4"), ("coop", "")),
        values={("dtd", "top1"): 63.58, ("eurosat", "top1"): 83.53, (AVERAGE, "top1"): 73.555},
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[evidence]", "[evidenc]", "did you mean 'evidence'"),
        ('evidence = "rd"', 'evidence = "dr"', "unknown evidence in table 1 'dr'; did you mean 'rd'"),
        ('"few_shot"', '"few_shots"', "did you mean 'few_shot'"),
        ('source = "a paper"', "", "table 1 lacks 'source'"),
        ("shots = 16", 'shots = "16"', "shots of table 1 is '16'; it must be of type int"),
        ("method", "methods", "did you mean 'method'"),
        ("ours = [", "our = [", "did you mean 'ours'"),
        ('"eurosat"]', "3]", "must be a list of names"),
        ("[63.58, 83.53]", "[63.58]", "top1 in table 1, row 1 has 1 numbers for 2 tasks"),
        ("63.58", '"63.58"', "must be a number from 0 to 100"),
        ("63.58", "nan", "must be a number from 0 to 100"),
        ("63.58", "163.58", "must be a number from 0 to 100"),
        ("{ top1 = 73.555 }", "{ top5 = 73.555 }", "did you mean 'top1'"),
        ("[[table.row]]", "[table.row]", "row of table 1 is"),
        ("[evidence]", "evidence", "is not TOML"),
        (GOOD, "", "lacks 'evidence'"),
    ],
)
def test_an_error_names_what_is_wrong_in_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in GOOD
    file = tmp_path / "paper.toml"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(VlpromptError) as error:
        read_paper(file)
    assert str(error.value).startswith(str(file))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_another_file_type_are_errors(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=re.escape(f"{tmp_path / 'none.toml'} could not be read (No such file")):
        read_paper(tmp_path / "none.toml")
    (tmp_path / "image.toml").write_bytes(b"\x89PNG\xff\x00")
    with pytest.raises(VlpromptError, match="is not TOML"):
        read_paper(tmp_path / "image.toml")
