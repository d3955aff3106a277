"""vlprompt predict."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.errors import UsageError


def test_a_prompt_classifies_images_with_other_class_names(
    tmp_path: Path, twelve_digits: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["few-shot", "--out", str(tmp_path), "--shots", "1", "--seeds", "1", "--learners", "coop", *quick])
    (prompt,) = (tmp_path / "prompts").glob("few_shot/digits/coop*")
    capsys.readouterr()
    image = str(next(twelve_digits.rglob("*.png")))
    cli.main(["predict", str(prompt), image, "--classes", "zero", "one", "star", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["probabilities"].keys() == {"zero", "one", "star"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_it_adapts_to_the_users_images(
    tmp_path: Path,
    twelve_digits: Path,
    quick: list[str],
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = sorted(map(str, twelve_digits.rglob("*.png")))[:3]
    options = ["--task", str(twelve_digits), "--out", str(tmp_path), "--seeds", "1", *quick]
    cli.main(["few-shot", *options, "--shots", "1", "--learners", "zero_shot", "coop"])
    prompts = {path.name.split("-")[0]: str(path) for path in (tmp_path / "prompts" / "few_shot" / "photos").iterdir()}
    capsys.readouterr()

    def probabilities(*more: str) -> list[dict[str, float]]:
        cli.main(["predict", prompts["zero_shot"], *images, "--json", *more])
        return [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]

    zero = ["--adapt", "zero", "--set", "zero.views=4", "zero.confident=1.0"]
    adapted = probabilities(*zero)
    assert len(adapted) == 3
    assert adapted == probabilities(*zero) != probabilities()
    votes = [4 * share for answer in adapted for share in answer.values()]
    assert all(min(abs(vote - k) for k in (0, 0.8, 1.6, 2.4, 1, 2, 3, 4)) < 1e-3 for vote in votes), "shares of votes"
    silent = probabilities("--adapt", "tda", "--set", "tda.positive_alpha=0", "tda.negative_alpha=0")
    assert silent == [pytest.approx(answer, abs=1e-5) for answer in probabilities()]
    for adapt, message in (
        ("mta", "not on what coop has learned"),
        ("coop", "coop cannot wrap coop"),
        ("mta+coop", "give mta alone"),
        ("mtb", "did you mean 'mta'"),
    ):
        assert message in fails(["predict", prompts["coop"], images[0], "--adapt", adapt])
    assert "--adapt names" in fails(["predict", prompts["coop"], images[0], "--set", "mta.views=4"])
    assert "give both" in fails(["predict", prompts["coop"], images[0], "--pretrained", "openai"])
    assert "nothing to classify" in fails(["predict", prompts["coop"]])


def test_a_missing_prompt_is_one_line(fails: Callable[..., str]) -> None:
    assert "/nowhere/prompt" in fails(["predict", "/nowhere/prompt", "a.png"], 1)


def test_bad_images_do_not_hide_the_answers_for_the_others(
    tmp_path: Path,
    twelve_digits: Path,
    quick: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--task", str(twelve_digits), "--out", str(tmp_path), "--seeds", "1", *quick]
    cli.main(["few-shot", *options, "--shots", "1", "--learners", "coop"])
    (prompt,) = (tmp_path / "prompts" / "few_shot" / "photos").iterdir()
    first, last = sorted(map(str, twelve_digits.rglob("*.png")))[:2]
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(SystemExit) as stop:
        cli.main(["predict", str(prompt), first, str(tmp_path / "empty.jpg"), str(tmp_path), last])
    shown = capsys.readouterr()
    assert stop.value.code == 1
    assert "empty.jpg: not an image" in shown.err
    assert "2 images cannot be read" in shown.err
    assert [line.split(": ")[0] for line in shown.out.splitlines()[-2:]] == [first, last]


def test_a_prompt_is_found_without_the_key_of_its_run(tmp_path: Path) -> None:
    from vlprompt.commands.prompts import find_prompt

    (tmp_path / "coop-1shot-seed1-0123abcd").mkdir()
    (tmp_path / "coop-1shot-seed11-0123abcd").mkdir()
    plain = tmp_path / "coop-1shot-seed1"
    assert find_prompt(plain).name == "coop-1shot-seed1-0123abcd"
    assert find_prompt(tmp_path / "coop-4shot-seed1") == tmp_path / "coop-4shot-seed1", "opening reports the rest"
    (tmp_path / "coop-1shot-seed1-89abcdef").mkdir()
    with pytest.raises(UsageError, match="several runs: coop-1shot-seed1-0123abcd, coop-1shot-seed1-8"):
        find_prompt(plain)
    plain.mkdir()
    assert find_prompt(plain) == plain
