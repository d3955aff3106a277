"""What a user gets wrong about a blank is said in one line, with what was given and what to do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vlprompt import cli
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.cloze import HardPrompt, HardPromptConfig, PromptTuning, PromptTuningConfig
from vlprompt.data import Batch
from vlprompt.errors import UsageError, VlpromptError

Make = Callable[..., LanguageModel]


def one_line(call: Callable[[], object], kind: type[VlpromptError] = UsageError) -> str:
    """The message of an error, which must be one line that ends a sentence."""
    with pytest.raises(kind) as caught:
        call()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) > 40, "it says what to do"
    return said


def prompt(lm: LanguageModel, template: str, words: tuple[str, str] = ("bad", "good"), **more: int) -> HardPrompt:
    config = HardPromptConfig(template, ((words[0],), (words[1],)), **more)  # type: ignore[arg-type]
    return HardPrompt(lm, ("no", "yes"), config)


def test_left_padding_is_read_as_right_padding_or_refused(tiny_lm: Make) -> None:
    ids = torch.tensor([[7, 8, 9, 10], [7, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    right = Sequences(ids, mask, torch.tensor([3, 1]))
    pushed = (torch.stack([each[0], each[1].roll(2)]) for each in (ids, mask))
    left = Sequences(*pushed, torch.tensor([3, 3]))
    words = torch.tensor([3, 5])
    for name in ("bert", "roberta", "gpt2"):
        lm = tiny_lm(name)
        torch.testing.assert_close(lm.scores(left, words), lm.scores(right, words), rtol=0, atol=1e-5)
    said = one_line(lambda: tiny_lm("t5").scores(left, words))
    assert said == "tiny t5 counts positions by itself; pad its texts on the right, not on the left."


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_blank_is_never_cut_off(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = prompt(lm, "{text} it was {mask}", max_length=12)
    (row,) = (learner.renderer.row({"text": "the film " * 40}),)
    assert len(row.ids) == 12
    assert row.read >= 0
    if name in ("bert", "roberta"):
        assert row.ids[row.read] == lm.vocabulary.blank
    said = one_line(lambda: prompt(lm, "{text} " + "the film was " * 30 + "{mask}"))
    assert "its blank would be cut off. Shorten the template or raise max_length." in said
    said = one_line(lambda: PromptTuning(lm, ("bad", "good"), PromptTuningConfig("{text} {mask}", length=300)))
    assert "its blank would be cut off" in said
    said = one_line(lambda: prompt(lm, "{text:whole} {mask}").predict(Batch.of_texts(["the film " * 200])))
    assert "fields that are never cut make a row" in said


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_label_words_blanks_and_slots(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    said = one_line(lambda: prompt(lm, "{text} {mask}", ("greatly", "good")))
    assert "label word ' greatly' of class 'no' is" in said
    whole = "left_to_right" if lm.kind == "causal" else "masks"
    assert f"or say what to do: pieces={whole!r} (all of them count), 'first', 'mean' or 'max' (one blank)." in said
    assert "column 15: a second {mask}; a cloze has one blank" in one_line(lambda: prompt(lm, "{text} {mask} {mask}"))
    said = one_line(lambda: prompt(lm, "{text} it"))
    assert "column 10: no {mask}; a cloze has one blank, as in '{text} It was {mask}.'" in said
    said = one_line(lambda: prompt(lm, "{txt} it was {mask}").predict(Batch.of_texts([{"text": "it"}])))
    assert "column 1: unknown slot 'txt'; did you mean 'text'? Known: text, mask" in said


def test_a_tokenizer_without_a_mask_token(make_lm: Make) -> None:
    model, other = make_lm("roberta").model, make_lm("gpt2").vocabulary.tokenizer
    said = one_line(lambda: LanguageModel(model, other, "masked", name="mine"), VlpromptError)
    assert said == "mine: its tokenizer has no mask token, and a masked model needs one."


@pytest.fixture
def saved(make_lm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Flags for a made-up file of opinions and a tiny model of a kind."""
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards
    rows = [{"text": f"the {noun} was {word}", "label": label}
            for noun in ("film", "story", "actor", "music", "probe")
            for word, label in (("good", "yes"), ("bad", "no"))]  # fmt: skip
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def flags(name: str) -> list[str]:
        lm = make_lm(name)
        lm.model.save_pretrained(tmp_path / name)
        lm.vocabulary.tokenizer.save_pretrained(tmp_path / name)
        where = ["--backbone", f"local-dir:{tmp_path / name}", "--out", str(tmp_path / "runs")]
        return ["cloze", "--task", str(tmp_path / "reviews.jsonl"), *where, "--learners", "hard_prompt"]

    return flags


def test_the_command_line_says_the_same_in_one_line(
    saved: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    flags, words = saved("bert"), ["--words", "bad", "good"]
    for arguments, said in (
        (["--template", "{text} it was {mask}", "--words", "bad", "greatly"], "is 3 pieces for local-dir:"),
        (["--template", "{text} {mask} {mask}", *words], "a second {mask}"),
        (["--template", "{text} it was", *words], "no {mask}"),
        (["--template", "{txt} {mask}", *words], "column 1: unknown slot 'txt'"),
        (["--template", "{text} {mask", *words], "column 8: a { that is never closed"),
        (["--template", "{text} {soft:2} {mask}", *words], "hard_prompt learns no tokens"),
        (["--template", "{text} it was {mask}", *words, "--set", "hard_prompt.max_length=4"], "would be cut off"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([*flags, *arguments])
        lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("vlprompt: ")]
        assert stop.value.code == 2, arguments
        assert len(lines) == 1, lines
        assert said in lines[0]


def test_a_saved_model_without_a_mask_token_fails_in_one_line(
    saved: Callable[[str], list[str]], make_lm: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = saved("roberta")
    for file in (tmp_path / "roberta").glob("*token*"):
        file.unlink()
    make_lm("gpt2").vocabulary.tokenizer.save_pretrained(tmp_path / "roberta")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([*flags, "--template", "{text} it was {mask}", "--words", "bad", "good"])
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("vlprompt: ")]
    assert stop.value.code == 1
    assert "its tokenizer has no mask token" in line
