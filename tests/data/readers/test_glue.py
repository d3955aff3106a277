"""GLUE, SuperGLUE, FewGLUE and our own layouts by their descriptors, on small folders, also damaged ones."""

import json
from pathlib import Path

import pytest

from vlprompt.cloze import Template
from vlprompt.data import catalog
from vlprompt.data.catalog import load_task
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import VlpromptError, VlpromptWarning

HEADS = {  # the published header lines
    "mnli": ("MNLI", "dev_matched.tsv", "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label"),
    "mrpc": ("MRPC", "dev.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "qnli": ("QNLI", "dev.tsv", "index\tquestion\tsentence\tlabel"),
    "qqp": ("QQP", "dev.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"),
}
LABELS = {"mnli": ("neutral", 1), "mrpc": ("1", 1), "qnli": ("not_entailment", 0), "qqp": ("0", 0)}
WSC = {"text": "Mark error Pete lies.", "target": {"span1_text": "Mark", "span2_text": "Pete", "span1_index": 0}}
LINES = {
    "boolq": ("BoolQ", {"question": "is it", "passage": "It is.", "label": True}, 1),
    "cb": ("CB", {"premise": "It rained.", "hypothesis": "It was wet", "label": "entailment"}, 2),
    "rte": ("RTE", {"premise": "It rained.", "hypothesis": "It was wet", "label": "not_entailment"}, 0),
    "copa": ("COPA", {"premise": "It fell.", "choice1": "a", "choice2": "b", "question": "cause", "label": 1}, 1),
    "wic": ("WiC", {"word": "bank", "sentence1": "a bank", "sentence2": "the bank", "label": False}, 0),
    "wsc": ("WSC", {**WSC, "label": True}, 1),
    "winogrande": ("winogrande_1.1", {"sentence": "x _", "option1": "a", "option2": "b", "answer": "2"}, 1),
    "multiple_choice": ("multiple-choice", {"question": "q", "choice1": "a", "choice2": "b", "label": "choice1"}, 0),
    "title_choice": ("title-choice", {"body": "b", "title1": "x", "title2": "y", "title3": "z", "label": "2"}, 2),
    "entity_typing": ("entity-typing", {"sentence": "Ann ran.", "entity": "Ann", "label": "person"}, 0),
}


def written(root: Path, name: str) -> Path:
    """A folder with one row in each split, another text in train."""
    folder, row, _ = LINES[name]
    place = root / folder
    place.mkdir()
    first = next(key for key in row if isinstance(row[key], str) and key not in ("label", "question", "answer"))
    files = catalog.describe(name).rows["files"]
    (place / files["test"]).write_text(json.dumps(row) + "\n")
    (place / files["train"]).write_text(json.dumps({**row, first: "another " + str(row[first])}) + "\n")
    return place


def loaded(name: str, root: Path) -> Task:
    with pytest.warns(VlpromptWarning, match="were published") if catalog.describe(name).sizes else _silence():
        return load_task(name, root)


class _silence:  # noqa: N801 - used in place of `pytest.warns`
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("name", LINES)
def test_json_lines_are_read_by_their_descriptor(name: str, tmp_path: Path) -> None:
    written(tmp_path, name)
    task = loaded(name, tmp_path)
    assert (len(task.train), len(task.test), task.test[0].label) == (1, 1, LINES[name][2])
    assert isinstance(task.test[0].item, Text)
    for template in task.templates:
        Template(template).check_blank().check_fields(task.test[0].item)
    assert len(task.words) == len(task.classes)


@pytest.mark.parametrize("name", HEADS)
def test_glue_tables(name: str, tmp_path: Path) -> None:
    folder, dev, head = HEADS[name]
    place = tmp_path / folder
    place.mkdir()
    label, number = LABELS[name]
    column = catalog.describe(name).rows["label"]
    rows = {file: "\t".join(label if each == column else f'{each} "{file}' for each in head.split("\t"))
            for file in ("train.tsv", dev)}  # fmt: skip
    for file, row in rows.items():
        (place / file).write_text(f"{head}\n{row}\n")
    task = loaded(name, tmp_path)
    assert task.test[0].label == number
    assert '"' in task.test[0].item[Template(task.templates[0]).fields[0]]  # type: ignore[index, call-overload]


def test_cola_has_no_header_and_rows_without_consensus_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "CoLA").mkdir()
    for part, text in (("train", "He go."), ("dev", "He goes.")):
        (tmp_path / "CoLA" / f"{part}.tsv").write_text(f"gj04\t{int(part == 'dev')}\t*\t{text}\n")
    task = loaded("cola", tmp_path)
    assert [(e.item["text"], e.label) for e in task.train + task.test] == [("He go.", 0), ("He goes.", 1)]  # type: ignore[index, call-overload]
    place = tmp_path / "MNLI"
    place.mkdir()
    for file in ("train.tsv", "dev_matched.tsv"):
        (place / file).write_text(f"sentence1\tsentence2\tgold_label\na {file}\tb\t-\nc {file}\td\tneutral\n")
    assert len(loaded("mnli", tmp_path).train) == 1


def test_fewglue_has_unlabelled_texts(tmp_path: Path) -> None:
    place = written(tmp_path, "cb")
    bare = {"premise": "Who knows.", "hypothesis": "It", "idx": 3}
    (place / "unlabeled.jsonl").write_text(json.dumps(bare) + "\n" + json.dumps(bare | {"label": "entailment"}) + "\n")
    task = loaded("cb", tmp_path)
    assert [example.label for example in task.unlabelled] == [-1, -1], "a label in that file is ignored"


@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"label": "perhaps"}, r"val\.jsonl, line 1: unknown class 'perhaps'"),
        ({"label": ""}, r"val\.jsonl, line 1: no class in column 'label'"),
        ({"premise": " "}, r"val\.jsonl, line 1: column 'premise' is empty"),
        ({"premise": None}, r"line 1: column 'premise' is missing; there are hypothesis, label"),
    ],
)
def test_errors_name_the_line(change: dict[str, str | None], error: str, tmp_path: Path) -> None:
    place = written(tmp_path, "cb")
    row = {key: value for key, value in {**LINES["cb"][1], **change}.items() if value is not None}
    (place / "val.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(VlpromptError, match=error) as caught:
        load_task("cb", tmp_path)
    assert "\n" not in str(caught.value)


def test_errors_of_missing_files_and_folders_have_the_source(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"missing folder .*CB .*SuperGLUE's CB\.zip"):
        load_task("cb", tmp_path)
    (written(tmp_path, "cb") / "val.jsonl").unlink()
    with pytest.raises(VlpromptError, match=r"missing file .*val\.jsonl"):
        load_task("cb", tmp_path)


def test_texts_in_both_splits_are_warned_about(tmp_path: Path) -> None:
    place = written(tmp_path, "multiple_choice")
    (place / "train.jsonl").write_bytes((place / "test.jsonl").read_bytes())
    with pytest.warns(VlpromptWarning, match="1 texts are both in train and in test"):
        load_task("multiple_choice", tmp_path)


def test_rows_may_offer_fewer_choices_but_two(tmp_path: Path) -> None:
    place = written(tmp_path, "multiple_choice")
    assert "choice3" not in load_task("multiple_choice", tmp_path).test[0].item  # type: ignore[operator]
    (place / "test.jsonl").write_text('{"question": "q", "choice1": "a", "label": "choice1"}\n')
    with pytest.raises(VlpromptError, match="column 'choice2' is missing"):
        load_task("multiple_choice", tmp_path)
