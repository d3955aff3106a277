from pathlib import Path

import pytest

from vlprompt.data.readers.listing import DataError
from vlprompt.data.readers.text_files import label_numbers, lines, pairs, table_rows
from vlprompt.errors import UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.txt"


def test_lines_without_a_byte_order_mark(file: Path) -> None:
    file.write_bytes("\ufeffa\nb\n".encode())
    assert list(lines(file)) == ["a\n", "b\n"]
    file.write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"list.txt, line 2: not UTF-8 text"):
        list(lines(file))


def test_pairs_are_divided_at_the_first_or_the_last_blank(file: Path) -> None:
    file.write_text("a b c\n\n  d e \n")
    assert [each[1:] for each in pairs(file, "x", "y")] == [("a", "b c"), ("d", "e")]
    assert [each[1:] for each in pairs(file, "x", "y", at_last_blank=True)] == [("a b", "c"), ("d", "e")]
    file.write_text("a b\nc\n")
    with pytest.raises(DataError, match=r"list.txt, line 2: expected an id and a name, found 'c'"):
        list(pairs(file, "an id", "a name"))
    with pytest.raises(DataError, match="missing file"):
        list(pairs(file.with_name("gone.txt"), "x", "y"))


def test_tables_with_and_without_a_header(file: Path) -> None:
    file.write_text('a,b\n1,"2\n3"\n\n4,5\n')
    assert list(table_rows(file)) == [(3, {"a": "1", "b": "2\n3"}), (5, {"a": "4", "b": "5"})]
    assert next(table_rows(file, header=("x", "y"))) == (1, {"x": "a", "y": "b"})
    with pytest.raises(UsageError, match=r"no column 'c'; its columns are: a, b"):
        list(table_rows(file, ("a", "c")))
    file.write_text("a,b\n1\n")
    with pytest.raises(DataError, match=r"list.txt, line 2: 1 columns where the header has 2"):
        list(table_rows(file))


def test_labels_may_be_numbers_unless_they_are_names() -> None:
    assert label_numbers(["cat", "0"], numbers=False) == {"cat": 0, "0": 1}
    assert label_numbers(["cat", "0"], numbers=True) == {"cat": 0, "0": 1, "1": 1}


@pytest.mark.parametrize("line", [b"caf\xe9 1\n", b"a \xf4\n", b"\xff\xfea 1\n"])
def test_lists_that_are_not_utf_8_name_the_line(file: Path, line: bytes) -> None:
    file.write_bytes(b"a b\n" + line)
    with pytest.raises(DataError, match=r"list.txt, line 2: not UTF-8 text"):
        list(pairs(file, "x", "y"))
