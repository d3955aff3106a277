"""Every kind of experiment: parts, protocols, streams, domains, folders of images, texts."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vlprompt as vp

FILE = Path(__file__).parents[2] / "experiment_files" / "stream.toml"
STREAM = f"""# A stream of classes.
{FILE.read_text()}seeds = [1]

[set]
train = {{ augment = "none", epochs = 1 }}
"""
TEXTS = """# Texts: the bundled language model, three epochs.
protocol = "few_shot"
task = "reviews"
backbone = "tiny"
learners = ["hard_prompt"]
shots = [4]
seeds = [13]

[[part]]
learners = ["prompt_tuning"]
set = { train = { epochs = 3, lr = 1e-3 }, prompt_tuning = { length = 2 } }
"""


def test_parts_are_rows_of_one_table_with_their_own_settings(
    place: Any, small: str, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    part = '\n[[part]]\nlearners = ["kgcoop"]\nshots = [2]\nset.train = { augment = "none", epochs = 2 }\n'
    place.write("small", small + part)
    assert place.command("small") == 0
    assert trained[1:] == ["coop 1", "coop 2", "kgcoop 2"]
    found = {(result.learner, result.shots): result.train_config.get("epochs") for result in place.results("small")}
    assert found == {("zero_shot", 0): None, ("coop", 1): 1, ("coop", 2): 1, ("kgcoop", 2): 2}
    assert "kgcoop" in capsys.readouterr().out


def test_a_stream_of_tasks_is_an_experiment_with_plots(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    part = '\n[[part]]\nlearners = ["l2p"]\nset.train = { augment = "none", epochs = 1, lr = 0.01 }\n'
    place.write("stream", STREAM + part)
    assert place.command("stream") == 0
    results = place.results("stream")
    found = [(each.learner, each.variant, each.train_config["epochs"]) for each in results]
    assert found == [("linear", "", 1), ("linear", "mask=classes", 1), ("linear", "tasks=joint", 1), ("l2p", "", 1)]
    assert {each.examples for each in results} == {10}
    assert [len(row) for row in results[0].extra["matrix"]] == [1, 2]
    assert "forgetting_chaudhry" in capsys.readouterr().out
    pictures = {path.name for path in (place.root / "benchmarks/results").glob("*.png")}
    assert pictures == {"stream-matrix.png", "stream-tasks.png", "stream-usage.png"}


def test_an_impossible_stream_is_an_error(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("stream", STREAM.replace("tasks = 2", "tasks = 11"))
    assert place.command("stream") == 1
    assert "give 2 to 10" in capsys.readouterr().err
    assert not (place.root / "benchmarks").exists()


def test_other_protocols(place: Any, small_base_to_new: str, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("base_to_new", small_base_to_new)
    place.write("zero", 'protocol = "zero_shot"\ntask = "digits"\nlearners = ["zero_shot"]\n')
    assert place.command() == 0
    assert {"base_top1", "new_top1", "harmonic_mean"} <= place.results("base_to_new")[0].metrics.keys()
    assert place.results("zero")[0].examples > 900, "zero-shot uses all digits, as on the command line"
    assert "zero_shot" in capsys.readouterr().out


def test_domain_adaptation(place: Any, small: str, trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        path = place.root / "photos" / "ab"[number % 2] / ("circle", "square", "star")[number // 2 % 3] / "1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 20 * number).save(path.with_stem(str(number)))
    text = small.replace("few_shot", "domain_adaptation").replace('"digits"', '"photos"').replace("shots = [1, 2]", "")
    rows = f'pseudo = ["coop"]\nroot = "{place.root}"\n'
    place.write("adapted", text.replace("set = ", f'{rows}pairs = ["a:b"]\nset = '))
    assert place.command("adapted") == 0
    assert [result.task for result in place.results("adapted")] == ["photos/transductive/a:b"] * 3
    assert len(trained) == 3
    assert "a:b" in capsys.readouterr().out
    assert place.command("adapted") == 0
    assert len(trained) == 3, "no run is repeated"


def test_folders_of_images_are_targets(place: Any, small_base_to_new: str) -> None:
    digits = vp.load_task("digits")
    for label, name in ((0, "zero"), (1, "one")):
        images = [example for example in digits.test if example.label == label][:4]
        for number, example in enumerate(images):
            file = place.root / "data" / "pictures" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            digits.images.open(example.item).save(file)
    text = small_base_to_new.replace("base_to_new", "cross_dataset")
    place.write("cross", f'{text}targets = ["pictures"]\nroot = "{place.root}/data"\n')
    assert place.command() == 0
    for result in place.results("cross"):
        assert result.metrics.keys() >= {"digits_top1", "pictures_top1"}
        assert str(place.root) not in result.to_json()


def test_an_experiment_on_texts_uses_a_language_model(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("texts", TEXTS)
    assert place.command("texts") == 0
    found = [(r.learner, r.shots, r.task, r.backbone) for r in place.results("texts")]
    assert found == [("hard_prompt", 0, "reviews", "tiny"), ("prompt_tuning", 4, "reviews", "tiny")]
    assert "hard_prompt" in capsys.readouterr().out
    place.write("texts", TEXTS.replace('"tiny"', '"local-dir:nowhere"'))
    assert place.command("texts") == 0
    assert "skipped: there is no folder nowhere" in capsys.readouterr().out
