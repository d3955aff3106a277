"""vlprompt show."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt import cli


@pytest.mark.filterwarnings("ignore:.*not trained in steps")
def test_found_words_and_triggers_are_printed(
    tmp_path: Path, reviews: list[str], fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--learners", "label_words", "autoprompt", "soft_verbalizer", "prompt_tuning", "text_linear"]
    small = ["--set", "autoprompt.candidates=4", "label_words.candidates=6", "prompt_tuning.length=3"]
    small += ["train.epochs=2", "train.lr=0.001"]
    cli.main(["cloze", *reviews, "--words", "bad", "good", *rows, *small, "--shots", "2", "--seeds", "13", "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in found] == rows[1:]
    prompts = tmp_path / "runs" / "prompts" / "few_shot" / "reviews"

    def shown(method: str, *more: str) -> list[str]:
        (folder,) = prompts.glob(f"{method}-*")
        cli.main(["show", str(folder), *more])
        return capsys.readouterr().out.splitlines()

    assert [line.split(":")[0] for line in shown("label_words")] == ["no", "yes"]
    (trigger,) = shown("autoprompt")
    assert re.fullmatch(r"trigger: (\S+, ){2}\S+", trigger)
    lines = shown("prompt_tuning", "--count", "2")
    assert [line.split()[0] for line in lines] == ["tokens[0]", "tokens[1]", "tokens[2]"]
    assert all(re.search(r"norm +[\d.]+  start +[\d.-]+  \S+ [\d.-]+, \S+ [\d.-]+$", line) for line in lines)
    (first, *_) = (json.loads(line) for line in shown("prompt_tuning", "--json"))
    assert first["words"][0] == "bad", "two steps from the first label word"
    (folder,) = prompts.glob("text_linear-*")
    assert "text_linear has no learned tokens among words" in fails(["show", str(folder)])


def test_the_words_near_a_context_are_printed(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = vp.learners.CoOpConfig(words="a photo of a")
    vp.learners.CoOp(vp.load_clip("tiny"), ["one", "two"], config).save(tmp_path / "coop")
    cli.main(["show", str(tmp_path / "coop"), "--count", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines] == [[word, "1.00"] for word in ("a", "photo", "of", "a")]
    assert all("start  1.00" in line for line in lines)
    assert "ask for 1 word or more" in fails(["show", str(tmp_path / "coop"), "--count", "0"])
