from pathlib import Path

import pytest

from vlprompt.data.readers.core50 import read_core50
from vlprompt.data.readers.listing import DataError


@pytest.fixture
def core50(tmp_path: Path) -> Path:
    """Two empty images of each object in each session."""
    for session in range(1, 12):
        for number in range(1, 51):
            folder = tmp_path / f"s{session}" / f"o{number}"
            folder.mkdir(parents=True)
            for frame in range(2):
                (folder / f"C_{session:02}_{number:02}_{frame:03}.png").touch()
    return tmp_path


def test_eight_sessions_for_training_and_three_for_testing(core50: Path) -> None:
    listing = read_core50(core50)
    assert listing.domains == tuple(f"s{session}" for session in range(1, 12))
    assert [len(part) for part in listing.splits] == [800, 0, 300]
    assert {listing.domains[e.domain] for e in listing.splits.test} == {"s3", "s7", "s10"}
    assert {listing.domains[e.domain] for e in listing.splits.train} == {
        "s1",
        "s2",
        "s4",
        "s5",
        "s6",
        "s8",
        "s9",
        "s11",
    }
    for part in listing.splits:
        for example in part:
            session, name = Path(listing.images.name(example.item)).parts[:2]
            assert (session, name) == (listing.domains[example.domain], f"o{example.label + 1}")
    assert len(set(listing.classes)) == 50
    assert (listing.classes[0], listing.classes[7], listing.classes[49]) == (
        "plug adapter 1",
        "mobile phone 3",
        "remote control 5",
    )


def test_errors_name_what_is_missing(core50: Path) -> None:
    folder = core50 / "s4" / "o17"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"s4/o17 has no images; it holds nothing.$"):
        read_core50(core50)
    folder.rmdir()
    with pytest.raises(DataError, match=r"missing folder .*s4/o17 \(its folder holds o1, o10, .*\).$"):
        read_core50(core50)
    (core50 / "s1").rename(core50 / "session1")
    with pytest.raises(DataError, match=r"missing folder .*/s1 \(its folder holds s10, "):
        read_core50(core50)
    with pytest.raises(DataError, match=r"missing folder .*/core50_128x128 "):
        read_core50(core50 / "core50_128x128")
