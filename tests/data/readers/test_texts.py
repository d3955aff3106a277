"""Texts from tables and JSON lines; errors name the line."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlprompt.data.images import Example
from vlprompt.data.readers.texts import read_texts
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

ROWS = [("it rained, a lot", "it was wet", "yes"), ('a "quoted" word', "no word", "no")] * 5


def written(folder: Path, kind: str) -> Path:
    file = folder / f"data.{kind}"
    if kind == "jsonl":
        lines = [json.dumps({"premise": a, "hypothesis": b, "label": c, "idx": 3}) for a, b, c in ROWS]
    elif kind == "tsv":  # GLUE's have single quotation marks
        lines = ["premise\thypothesis\tlabel", *(f"{a}\t{b}\t{c}" for a, b, c in ROWS)]
    else:
        quoted = [[each.replace('"', '""') for each in row] for row in ROWS]
        lines = ["premise,hypothesis,label", *(f'"{a}","{b}",{c}' for a, b, c in quoted)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_the_same_rows_from_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    listing = read_texts(written(tmp_path, kind))
    assert listing.classes == ("no", "yes")
    found = {example.item: example.label for split in listing.splits for example in split}
    assert found == {Text.of(premise=a, hypothesis=b): int(c == "yes") for a, b, c in ROWS}
    assert [len(split) for split in listing.splits] == [4, 2, 4]


def test_columns_and_classes_are_options(tmp_path: Path) -> None:
    file = written(tmp_path, "csv")
    listing = read_texts(file, text_columns=["hypothesis"], classes=["yes", "no"])
    assert {(str(e.item["hypothesis"]), e.label) for e in listing.splits.train} == {("it was wet", 0), ("no word", 1)}  # type: ignore[index, call-overload]
    with pytest.raises(UsageError, match=r"data.csv has no column 'text'; its columns are: premise, hypothesis, label"):
        read_texts(file, text_columns=["text"])
    with pytest.raises(VlpromptError, match=r"line 2: unknown class 'yes'"):
        read_texts(file, classes=["no", "maybe"])


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\nit was good\tgood\nit was bad\tbad\n")
    (tmp_path / "dev.tsv").write_text("text\tlabel\nso good\tgood\n")
    (tmp_path / "test.tsv").write_text("text\nwho knows\n")
    with pytest.warns(VlpromptWarning, match=r"no column 'label' \(its columns are: text\); its 1 rows are unlabelled"):
        task = Task.from_texts(tmp_path, template="{text} It was {mask}.")
    assert (len(task.train), len(task.val), len(task.test)) == (2, 1, 1)
    assert task.test[0].label == -1
    assert task.words == (("bad",), ("good",))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="holds no train or test file"):
        read_texts(empty)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.csv", "text,label\nx,y,z\n", "line 2: 3 columns where the header has 2"),
        ("a.tsv", "text\tlabel\nx\n", "line 2: 1 columns where the header has 2"),
        ("a.csv", "text,label\n ,yes\n", "line 2: no text"),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text"\n', r"line 2 is not valid JSON \(.+ column"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.txt", "x\n", "is not of the kinds .csv, .tsv, .jsonl"),
        ("a.csv", "text,label\n", "a.csv has a header but no rows"),
    ],
)
def test_errors_name_the_line(name: str, text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(VlpromptError, match=error) as caught:
        read_texts(tmp_path / name)
    assert "\n" not in str(caught.value)


LABELLED = "good film,pos\nbad film,neg\nfine film,pos\nweak film,neg\n"


@pytest.mark.parametrize(
    "header", ["text,label", "text, label", " Text ,LABEL", "\ufefftext,Label", ",text,label", "Unnamed: 0,text,label"]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_the_same_rows_from_every_program(tmp_path: Path, header: str, delimiter: str, end: str, suffix: str) -> None:
    index = "7," if header.count(",") == 2 else ""
    text = header + "\n" + "".join(f"{index}{line}\n" for line in LABELLED.splitlines())
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(text.replace(",", delimiter).replace("\n", end).encode())
    task = Task.from_texts(file, template="{text} It was {mask}.")
    assert task.classes == ("neg", "pos")
    examples = task.train + task.val + task.test
    rows = [line.split(",") for line in LABELLED.splitlines()]
    assert {e.item: e.label for e in examples} == {Text.of(text=words): int(name == "pos") for words, name in rows}


def test_tables_with_tabs_are_quoted_or_not(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text('"text"\t"label"\n"a ""fine"" film"\t"pos"\n"two\nlines"\t"neg"\n"x, y"\t"neg"\n')
    assert texts_of(file) == {'a "fine" film', "two\nlines", "x, y"}
    file.write_text('text\tlabel\n"a fine film\tpos\nnot "good" at all\tneg\nbad"\tneg\n')
    assert texts_of(file) == {'"a fine film', 'not "good" at all', 'bad"'}
    file.write_text("text\tlabel\n\"one\" two\tpos\n'x'\tneg\n")
    assert texts_of(file) == {'"one" two', "'x'"}


def texts_of(file: Path) -> set[str]:
    return {e.item["text"] for split in read_texts(file).splits for e in split}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_encodings_with_a_mark_are_read(tmp_path: Path, encoding: str, suffix: str) -> None:
    rows = [("caf\u00e9", "a"), ("\u732b\u2028x", "b")]
    lines = [json.dumps({"text": t, "label": c}, ensure_ascii=False) for t, c in rows]
    text = "\n".join(lines if suffix == "jsonl" else ["text,label", *(f"{t},{c}" for t, c in rows)])
    (tmp_path / f"a.{suffix}").write_bytes(text.encode(encoding))
    assert texts_of(tmp_path / f"a.{suffix}") == {"caf\u00e9", "\u732b\u2028x"}


@pytest.mark.parametrize("missing", ["", "null", "NaN", "nan", "None", "<NA>", " "])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_missing_texts_and_labels_are_counted(tmp_path: Path, missing: str, suffix: str) -> None:
    value = json.loads(missing) if suffix == "jsonl" and missing in ("null", "NaN") else missing
    rows = [{"text": f"film {number}", "label": "ab"[number % 2]} for number in range(12)]
    rows[3]["text"], rows[5]["label"] = value, value
    file = tmp_path / f"a.{suffix}"
    table = ["text,label", *(f"{row['text']},{row['label']}" for row in rows)]
    file.write_text("\n".join(map(json.dumps, rows) if suffix == "jsonl" else table))
    with pytest.warns(VlpromptWarning) as caught:
        listing = read_texts(file)
    line = 5 if suffix == "csv" else 4
    assert [str(each.message).partition("a." + suffix)[2] for each in caught] == [
        f": 1 rows have no text and are left out; the first is line {line}",
        f", line {line + 2}: no class in column 'label'; such rows (1) are unlabelled test rows",
    ]
    assert listing.classes == ("a", "b")
    assert listing.splits.test[-1] == Example(Text.of(text="film 5"), -1)
    assert sum(map(len, listing.splits)) == 11
    (tmp_path / f"train.{suffix}").write_bytes(file.read_bytes())
    with pytest.warns(VlpromptWarning), pytest.raises(VlpromptError, match=rf"train.*, line {line + 2}: no class in"):
        read_texts(tmp_path)


def test_a_class_may_be_called_none_where_classes_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,None\ny,1.0\nz,0\n")
    splits = read_texts(tmp_path / "a.csv", classes=["None", "some"]).splits
    assert sorted((e.item["text"], e.label) for split in splits for e in split) == [("x", 0), ("y", 1), ("z", 0)]  # type: ignore[index, call-overload]


@pytest.mark.parametrize("name", ["lable", "labels", "labell"])
def test_a_misspelt_label_of_test_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.csv").write_text("text,label\nx,a\ny,b\n")
    (tmp_path / "test.csv").write_text(f"text,{name}\nz,a\n")
    with pytest.raises(UsageError, match=rf"test.csv has no column 'label'; its columns are: text, {name}; rename"):
        read_texts(tmp_path)
    (tmp_path / "test.csv").write_text("text,sentiment\nz,a\n")
    with pytest.warns(VlpromptWarning, match=r"no column 'label' \(its columns are: text, sentiment\)"):
        assert read_texts(tmp_path).splits.test[0].label == -1


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.jsonl", b"\n", "a.jsonl is empty"),
        ("a.csv", b"text,sentiment\nx,a\n", "has no column 'label'; its columns are: text, sentiment"),
        ("a.csv", b"text,label,label\nx,a,b\n", "several columns called 'label'"),
        ("a.csv", b"text,label\nx,a\ncaf\xe9,b\n", "line 3: not UTF-8 text .* save it as UTF-8"),
        ("a.csv", b"text,label\nx,\ny,NaN\n", "no row has a label in column 'label'"),
        ("a.jsonl", b"[" * 100_000, "line 1 is nested too deeply"),
        ("a.jsonl", b'{"text": "x", "label": ' + b"9" * 5000 + b"}", "line 1 is not valid JSON"),
        ("a.jsonl", b'{"text": "\\ud800", "label": "a"}', "line 1 contains half of a surrogate pair"),
        ("a.jsonl", b'{"text": "x", "label": Infinity}', "line 1 is not valid JSON"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes, error: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VlpromptError, match=error) as caught:
        read_texts(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_numbers_are_classes_in_order_of_their_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"text {n},{n}\n" for n in (10, 2, 1, 33)))
    assert read_texts(tmp_path / "a.csv").classes == ("1", "2", "10", "33")


@pytest.mark.parametrize(
    "options",
    [{"label_column": None}, {"label_column": 5}, {"text_columns": 5}, {"text_columns": [None]}, {"classes": "ab"}],
)
def test_options_of_another_type_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,a\ny,b\n")
    with pytest.raises(UsageError):
        read_texts(tmp_path / "a.csv", **options)
    nothing: dict[str, Any] = {"text_columns": None, "classes": None}
    assert read_texts(tmp_path / "a.csv", **nothing).classes == ("a", "b")


def test_the_delimiter_that_excel_states_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=;\ntext;label\na, b, c, d;x\ny;z\n")
    assert texts_of(tmp_path / "a.csv") == {"a, b, c, d", "y"}
