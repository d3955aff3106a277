"""vlprompt cloze, and vlprompt predict on texts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read


def test_it_trains_and_saves_and_predict_classifies_texts(
    tmp_path: Path, reviews: list[str], fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--learners", "hard_prompt", "prompt_tuning", "--set", "prompt_tuning.length=3", "train.epochs=1"]
    quick = [*reviews, "--words", "bad,dull", "good", *rows, "--shots", "1", "--seeds", "13"]
    cli.main(["cloze", *quick, "--json"])
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["learner"], line["shots"]) for line in first] == [("hard_prompt", 0), ("prompt_tuning", 1)]
    assert first[0]["config"]["words"] == [["bad", "dull"], ["good"]]
    cli.main(["cloze", *quick])
    assert "prompt_tuning" in capsys.readouterr().out
    assert len(read(tmp_path / "runs" / "results.jsonl")) == 2, "the second time prints the first time's results"
    (folder,) = (tmp_path / "runs" / "prompts" / "few_shot" / "reviews").glob("prompt_tuning*")
    cli.main(["predict", str(folder), "the film was good .", '{"text": "a dull story"}'])
    assert len(re.findall(r": (yes|no) \(", capsys.readouterr().out)) == 2
    assert "is not valid JSON" in fails(["predict", str(folder), '{"text"'])


@pytest.mark.filterwarnings("ignore:.*not trained in steps")
def test_training_texts_are_used_without_their_labels(
    tmp_path: Path, reviews: list[str], fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*reviews, "--words", "bad", "good", "--shots", "1", "--seeds", "13", "--json"]
    assert "unlabelled texts" in fails(["cloze", *own, "--learners", "pet"])
    small = ["--set", "pet.steps=1", "pet.repetitions=1", "train.steps=2", "--unlabelled", "4"]
    cli.main(["cloze", *own, "--learners", "pet", "in_context", *small])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in found] == ["pet", "in_context"]
    assert found[0]["config"]["patterns"] == ["{text} it was {mask} ."]
    (folder,) = (tmp_path / "runs" / "prompts" / "few_shot" / "reviews").glob("in_context*")
    cli.main(["predict", str(folder), "the film was good ."])
    assert re.search(r": (yes|no) \(", capsys.readouterr().out)


@pytest.mark.filterwarnings("default::vlprompt.errors.VlpromptWarning")
def test_a_clip_classifies_texts_as_a_baseline(
    reviews: list[str], fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*reviews[:2], "--template", "{text} {mask}", "--backbone", "tiny", *reviews[-2:], "--json"]
    command = ["cloze", *options, "--learners", "clip_text"]
    cli.main(command)
    printed = capsys.readouterr()
    assert re.search(r"warning: tiny was never trained on \d+ of the \d+ words of these texts", printed.err)
    (line,) = (json.loads(line) for line in printed.out.splitlines())
    assert (line["learner"], line["shots"], line["backbone"]) == ("clip_text", 0, "tiny")
    assert "--kind is for language models" in fails([*command, "--kind", "masked"])


def test_mistakes_about_texts_are_one_line(reviews: list[str], fails: Callable[..., str]) -> None:
    assert "the classes no, yes; one each" in fails(["cloze", *reviews, "--words", "good"])
    assert "data set of texts" in fails(["cloze", "--task", "digits"])
    assert "column 1" in fails(["cloze", *reviews, "--template", "{txt} {mask}"])
    assert "needs a template" in fails(["cloze", *reviews[:2], *reviews[4:]])
    assert "--pretrained is for CLIPs" in fails(["cloze", *reviews, "--pretrained", "openai"])
    assert "for your own files" in fails(["cloze", "--task", "reviews", "--text-columns", "text"])


def test_it_prints_which_words_mean_which_class(reviews: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["cloze", *reviews, "--words", "bad,dull", "good", "--learners", "hard_prompt", "--json"])
    printed = capsys.readouterr()
    assert "label words: class 'no' is 'bad' or 'dull', class 'yes' is 'good'\n" in printed.err
    assert "label words" not in printed.out
