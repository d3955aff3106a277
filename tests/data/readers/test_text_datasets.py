"""Data sets of texts that are Python objects."""

from typing import Any

import numpy as np
import pytest
import torch

from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning


def test_rows_are_read_and_checked() -> None:
    class Names:
        names = ("bad", "good")

    class Rows(list):  # as a Hugging Face data set looks
        features = {"label": Names()}  # noqa: RUF012

    rows = Rows([{"text": f"text {n}", "label": n % 2, "id": n} for n in range(20)])
    task = Task.from_text_dataset(rows, template="{text} It was {mask}.")
    assert (len(task.train), len(task.val), len(task.test)) == (10, 4, 6)
    assert task.words == (("bad",), ("good",))
    with pytest.warns(VlpromptWarning, match="the data set: 4 of 4 test examples are also in train"):
        both = Task.from_text_dataset(rows, test=rows[:4], template="{text} {mask}", text_columns=["text"])
    assert (len(both.train), len(both.test)) == (20, 4)
    for bad, error in (
        ({"text": "x", "label": 2}, "has label 2; there are 2 classes"),
        ({"text": " ", "label": 1}, "no text"),
        ({"text": "x"}, "has no column 'label'"),
    ):
        with pytest.raises(VlpromptError, match=error):
            Task.from_text_dataset(Rows([bad]), template="{text} {mask}")
    with pytest.raises(UsageError, match="does not name its classes"):
        Task.from_text_dataset([{"text": "x", "label": 0}], template="{text} {mask}")


def test_a_real_data_set_of_hugging_face() -> None:
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
    if not hasattr(datasets, "Dataset"):
        pytest.skip("needs Hugging Face's datasets; the folder of that name is ours")
    made = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 1]})
    made = made.cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
    test = made.select([0, 2]).map(lambda row: {"text": row["text"] * 2})
    assert Task.from_text_dataset(made, test=test, template="{text} {mask}").classes == ("bad", "good")


ROWS = [{"text": f"text {n}", "label": n % 2} for n in range(12)]


def with_cells(**cells: Any) -> list[dict[str, Any]]:
    return [{**ROWS[0], **cells}, *ROWS[1:]]


@pytest.mark.parametrize("label", [1, np.int64(1), torch.tensor(1), np.float64(1.0), 1.0, "good"])
def test_labels_are_numbers_of_any_library_or_names(label: Any) -> None:
    task = Task.from_text_dataset(with_cells(label=label), template="{text} {mask}", classes=["bad", "good"])
    assert {e.label for split in (task.train, task.val, task.test) for e in split if e.item["text"] == "text 0"} == {1}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("label", [2, -2, 1.5, True, "fine", [1], b"bad", 10**30])
def test_other_labels_are_refused(label: Any) -> None:
    with pytest.raises(VlpromptError, match=r"example 0 of train has label .*; there are 2 classes"):
        Task.from_text_dataset(with_cells(label=label), template="{text} {mask}", classes=["bad", "good"])


@pytest.mark.parametrize("missing", [None, float("nan"), np.float64("nan")])
def test_missing_cells_are_counted(missing: Any) -> None:
    options: dict[str, Any] = {"template": "{text} {mask}", "classes": ("bad", "good"), "text_columns": "text"}
    with pytest.warns(VlpromptWarning, match="1 examples of train have no label and are unlabelled"):
        task = Task.from_text_dataset(with_cells(label=missing), **options)
    assert task.test[-1].label == -1
    with pytest.warns(VlpromptWarning, match="1 examples of train have no text and are left out; the first is"):
        task = Task.from_text_dataset(with_cells(text=missing), **options)
    assert sum(map(len, (task.train, task.val, task.test))) == 11


@pytest.mark.parametrize("rows", [None, "text", {"text": ["a"]}, 5, ["a text"], [("a", 1)], [None]])
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    with pytest.raises(UsageError, match=r"must be a (list of rows|dictionary) such as"):
        Task.from_text_dataset(rows, template="{text} {mask}", classes=["bad", "good"])


def test_generators_and_data_frames_are_rows() -> None:
    options: dict[str, Any] = {"template": "{text} {mask}", "classes": (name for name in ("bad", "good"))}
    assert len(Task.from_text_dataset(iter(ROWS), **options).train) == 6

    class Frame:  # as a data frame of pandas
        columns = ("text", "label")

        def to_dict(self, kind: str) -> list[dict[str, Any]]:
            return ROWS if kind == "records" else []

    assert len(Task.from_text_dataset(Frame(), template="{text} {mask}", classes=["bad", "good"]).train) == 6


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(VlpromptError, match="example 0 of train contains half of a surrogate pair"):
        Task.from_text_dataset(with_cells(text="a \ud800"), template="{text} {mask}", classes=["bad", "good"])
