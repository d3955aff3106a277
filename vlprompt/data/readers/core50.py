"""CORe50: fifty objects held in the hand, filmed in eleven sessions: `s1/o1/C_01_01_000.png`.

Each session is a domain. As in Lomonaco and Maltoni (CoRL 2017), one trains on eight of them one after another, and all
of the other three are the test set after each.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, need_folder, need_images

SESSIONS = tuple(f"s{number}" for number in range(1, 12))
TEST_SESSIONS = ("s3", "s7", "s10")
KINDS = (
    "plug adapter", "mobile phone", "scissors", "light bulb", "can", "glasses", "ball", "marker", "cup",
    "remote control",
)  # fmt: skip
CLASSES = tuple(f"{kind} {number}" for kind in KINDS for number in range(1, 6))


def read_core50(images: Path) -> Listing:
    """Read the cropped images (`core50_128x128`): eleven sessions, in each a folder for each of fifty objects."""
    need_folder(images)
    train: list[Example] = []
    test: list[Example] = []
    for domain, session in enumerate(SESSIONS):
        folder = need_folder(images / session)
        for label in range(len(CLASSES)):
            paths = need_images(folder / f"o{label + 1}")
            (test if session in TEST_SESSIONS else train).extend(Example(path, label, domain) for path in paths)
    return Listing(CLASSES, Files(images), Splits(tuple(train), test=tuple(test)), domains=SESSIONS)
