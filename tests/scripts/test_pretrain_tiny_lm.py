"""The pre-training script of tiny language models: masking, reproducibility, refused input."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import vlprompt as vp
from vlprompt.data import catalog


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("pretrain_tiny_lm")


def lines(folder: Path) -> Path:
    file = folder / "texts.txt"
    file.write_text("\n".join(f"the {a} was {b} and {c}" for a in "xyz" for b in ("good", "bad") for c in "abcdef"))
    return file


def test_the_same_command_writes_the_same_bytes_and_the_model_can_be_loaded(script: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        flags = ["--texts", str(lines(tmp_path)), "--steps", "3", "--out", str(tmp_path / name)]
        with torch.random.fork_rng(devices=[]):
            script.main(flags)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    lm = vp.load_lm(f"local-dir:{tmp_path / 'one'}")
    assert lm.kind == "masked"
    assert len(lm.vocabulary.pieces(" good")) == 1


def test_labels_and_test_texts_of_a_task_are_not_used(script: ModuleType, tmp_path: Path) -> None:
    place = tmp_path / "sst2"
    place.mkdir()
    for part in ("train", "dev", "test"):
        (place / f"stsa.binary.{part}").write_text(f"1 fine {part} film\n0 dull {part} film\n")
    with pytest.warns(vp.errors.VlpromptWarning, match="were published"):
        assert script.read_task("sst2", tmp_path) == ["fine train film", "dull train film"]


def test_the_bundled_reviews_are_those_of_the_script(script: ModuleType, tmp_path: Path) -> None:
    script.write_task(tmp_path, 0)
    shipped = Path(catalog.__file__).parents[2] / "datasets" / "reviews"
    for name in script.SPLITS:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (shipped / f"{name}.jsonl").read_bytes()


def test_the_task_and_the_training_texts_have_different_sentences_and_things(script: ModuleType) -> None:
    trained = set(script.reviews.corpus(0, 400, 0))
    words = {word for text in trained for word in text.split()}
    agree = 0
    for made in script.reviews.task(0, 100, 2):
        assert made.text not in trained
        assert not set(made.text.split()) & set(script.reviews.THINGS)
        said = [sum(word in own for word in made.text.split()) for own in script.reviews.ADJECTIVES]
        said = [a + sum(w in own for w in made.text.split()) for a, own in zip(said, script.reviews.VERBS, strict=True)]
        agree += said[made.label] > said[1 - made.label]
    assert agree > 90, "one sentence of a review may have the opposite label, with two words"
    assert not words & set(script.reviews.OTHER_THINGS), "things of the task occur in neutral texts only"
    assert script.reviews.corpus(0, 50, 20) == script.reviews.corpus(0, 50, 20) != script.reviews.corpus(1, 50, 20)


def test_bags_lose_only_order_and_frequent_pieces(script: ModuleType) -> None:
    rows = torch.tensor([[5, 6, 7, 8, 9, 0], [6, 6, 0, 0, 0, 0]])
    common = torch.zeros(12, dtype=torch.bool).index_fill(0, torch.tensor([6]), True)
    made = script.bags(rows, common, torch.Generator().manual_seed(0))
    assert sorted(made[0].tolist()) == [0, 0, 5, 7, 8, 9]
    assert made[0, 4:].tolist() == [0, 0], "padding is at the end"
    assert made[1].tolist() == [0] * 6


def test_targets_are_the_masked_pieces(script: ModuleType) -> None:
    rows = torch.randint(5, 60, (200, 20), generator=torch.Generator().manual_seed(0))
    rows[:, 15:] = script.PAD
    chances = torch.full((60,), 0.3)
    chances[:5], chances[40:] = 0, 0
    ids, wanted = script.mask_pieces(rows, chances, torch.Generator().manual_seed(1))
    chosen = wanted != script.IGNORED
    assert torch.equal(wanted[chosen], rows[chosen])
    assert torch.equal(ids[~chosen], rows[~chosen])
    assert not chosen[rows >= 40].any()
    assert not chosen[:, 15:].any()
    assert (ids[chosen] == script.MASK).float().mean() == pytest.approx(0.8, abs=0.06)
    ids, wanted = script.framed(ids[:, :16], wanted[:, :16])
    assert (ids[:, 0] == script.FIRST).all()
    assert (ids[:, 16] == script.LAST).all()
    assert (wanted[:, 0] == script.IGNORED).all()


def test_a_step_depends_on_its_number_only(script: ModuleType) -> None:
    rows = torch.randint(5, 60, (50, 20), generator=torch.Generator().manual_seed(0))
    common, plan = torch.zeros(60, dtype=torch.bool), replace(script.TEXTS, batch=8)
    first = script.draw(rows, common, plan, 0, 7)
    torch.rand(5)
    assert torch.equal(first[0], script.draw(rows, common, plan, 0, 7)[0])
    assert not torch.equal(first[0][:, :12], script.draw(rows, common, plan, 0, 8)[0][:, :12])


def test_pieces_that_occur_together_have_similar_vectors(script: ModuleType) -> None:
    one, two = torch.tensor([5, 6, 7, 5]), torch.tensor([8, 9, 10, 8])
    rows = torch.stack([own[torch.randperm(4, generator=torch.Generator().manual_seed(n))][:3]
                        for n in range(60) for own in (one, two)])  # fmt: skip
    found = script.associations(rows, torch.zeros(12, dtype=torch.bool), 4)
    near = torch.nn.functional.normalize(found, dim=1)
    assert near[6] @ near[7] > near[6] @ near[9] + 0.5


def test_unreadable_input_is_an_error(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="could not be read"):
        script.main(["--out", str(tmp_path), "--texts", str(tmp_path / "no.txt")])
    with pytest.raises(SystemExit, match="unknown data set of texts 'sst3'"):
        script.main(["--out", str(tmp_path), "--task", "sst3"])


def test_every_version_of_transformers_has_the_tokenizer_class(script: ModuleType) -> None:
    folder = Path(vp.backbones.lm_loading.__file__).parent / "tiny_lm"
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
