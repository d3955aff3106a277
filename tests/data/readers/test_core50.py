from pathlib import Path

import pytest

from vlprompt.data.readers import read_core50
from vlprompt.errors import VlpromptError


@pytest.fixture
def core50(tmp_path: Path) -> Path:
    """Two empty images of each thing in each session."""
    for session in range(1, 12):
        for thing in range(1, 51):
            folder = tmp_path / f"s{session}" / f"o{thing}"
            folder.mkdir(parents=True)
            for frame in range(2):
                (folder / f"C_{session:02}_{thing:02}_{frame:03}.png").touch()
    return tmp_path


def test_eight_sessions_to_learn_from_and_three_to_be_judged_on(core50: Path) -> None:
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
            session, thing = Path(listing.images.name(example.item)).parts[:2]
            assert (session, thing) == (listing.domains[example.domain], f"o{example.label + 1}")
    assert len(set(listing.classes)) == 50
    assert (listing.classes[0], listing.classes[7], listing.classes[49]) == (
        "plug adapter 1",
        "mobile phone 3",
        "remote control 5",
    )


def test_says_what_is_missing(core50: Path) -> None:
    folder = core50 / "s4" / "o17"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(VlpromptError, match=r"s4/o17 has no images; it holds nothing. Look here.$"):
        read_core50(core50, hint="Look here.")
    folder.rmdir()
    with pytest.raises(VlpromptError, match=r"missing folder .*s4/o17 \(its folder holds o1, o10, .*\). Look here.$"):
        read_core50(core50, hint="Look here.")
    (core50 / "s1").rename(core50 / "session1")
    with pytest.raises(VlpromptError, match=r"missing folder .*/s1 \(its folder holds s10, "):
        read_core50(core50)
    with pytest.raises(VlpromptError, match=r"missing folder .*/core50_128x128 "):
        read_core50(core50 / "core50_128x128")
