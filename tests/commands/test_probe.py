"""vlprompt probe."""

import json
from pathlib import Path

import pytest

from vlprompt import cli

FACTS = {"train": [("Bach", "good"), ("Klee", "bad")], "dev": [("Haydn", "good")], "test": [("Rodin", "bad")]}


def test_it_probes_all_relations_on_the_disk(
    tmp_path: Path, reviews: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "LAMA" / "original" / "P106"
    folder.mkdir(parents=True)
    for split, facts in FACTS.items():
        lines = [json.dumps({"sub_label": subject, "obj_label": thing, "uuid": 3}) for subject, thing in facts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    relation = json.dumps({"relation": "P106", "template": "[X] was [Y] ."})
    (tmp_path / "LAMA" / "relations.jsonl").write_text(relation + "\n")
    cli.main(["probe", "--root", str(tmp_path), *reviews[4:], "--json"])
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (line["protocol"], line["task"], line["examples"]) == ("knowledge_probing", "lama/P106", 1)
