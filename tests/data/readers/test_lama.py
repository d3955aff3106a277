"""LAMA's relations: facts and templates, also damaged ones."""

import json
from pathlib import Path

import pytest

from vlprompt.data import catalog
from vlprompt.data.catalog import load_task
from vlprompt.errors import UsageError, VlpromptError

FACTS = {"train": [("Bach", "music"), ("Klee", "art")], "dev": [("Haydn", "music")], "test": [("Rodin", "art")]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "LAMA"
    for relation in ("P106", "P101"):
        folder = place / "original" / relation
        folder.mkdir(parents=True)
        for split, facts in FACTS.items():
            lines = [json.dumps({"sub_label": a, "obj_label": b, "uuid": 3}) for a, b in facts]
            (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    error = [{"relation": each, "template": "[X] works in {the} [Y] ."} for each in ("P101", "P106", "P17")]
    (place / "relations.jsonl").write_text("\n".join(map(json.dumps, error)) + "\n")
    return tmp_path


def test_a_relation_is_a_task_with_its_own_template(root: Path) -> None:
    task = load_task("lama/P106", root)
    assert task.name == "lama/P106"
    assert task.classes == ("art", "music")
    assert task.words == (("art",), ("music",))
    assert task.templates == ("{sub_label} works in {{the}} {mask} .",)
    assert [(e.item["sub_label"], e.label) for e in task.train] == [("Bach", 1), ("Klee", 0)]  # type: ignore[index, call-overload]
    assert (len(task.val), len(task.test)) == (1, 1)
    assert catalog.relations("lama", root) == ["P101", "P106"], "those that are there"


def test_folders_may_be_beside_the_list_and_hold_a_test_only(root: Path) -> None:
    old = root / "LAMA" / "original" / "P101"
    for part in ("train", "dev"):
        (old / f"{part}.jsonl").unlink()
    old.rename(root / "LAMA" / "P101")
    task = load_task("lama/P101", root)
    assert (len(task.train), len(task.test), task.classes) == (0, 1, ("art",))


def test_errors_name_what_is_wrong(root: Path) -> None:
    with pytest.raises(UsageError, match="one relation at a time, as lama/P101"):
        load_task("lama", root)
    with pytest.raises(UsageError, match="unknown relation 'P1066'; did you mean 'P106'"):
        load_task("lama/P1066", root)
    with pytest.raises(VlpromptError, match=r"missing folder .*P17 .*AutoPrompt"):
        load_task("lama/P17", root)
    with pytest.raises(UsageError, match="unknown data set of facts 'sst2'"):
        catalog.relations("sst2", root)
    test = root / "LAMA" / "original" / "P106" / "test.jsonl"
    test.write_text('{"sub_label": "Rodin"}\n')
    with pytest.raises(VlpromptError, match=r"test\.jsonl, line 1: no sub_label or no obj_label"):
        load_task("lama/P106", root)
    (root / "LAMA" / "relations.jsonl").write_text('{"relation": "P106", "template": "[X] works"}\n')
    with pytest.raises(VlpromptError, match=r"relations\.jsonl, line 1: no relation with a template of one \[X\]"):
        load_task("lama/P106", root)
    (root / "LAMA" / "relations.jsonl").unlink()
    with pytest.raises(VlpromptError, match=r"missing file .*relations\.jsonl"):
        load_task("lama/P106", root)
