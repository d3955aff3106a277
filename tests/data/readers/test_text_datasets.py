"""Data sets of texts that are Python objects."""

import pytest

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
