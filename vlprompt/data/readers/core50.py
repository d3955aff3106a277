"""CORe50: fifty things in the hand, filmed in eleven sessions: `s1/o1/C_01_01_000.png`.

Each session is a domain. As Lomonaco and Maltoni (CoRL 2017) set it up, one learns from eight of them one after the
other, and all of the other three are the test set, the same after each.
"""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, images_in, need_folder, what_is_there
from vlprompt.errors import VlpromptError

SESSIONS = tuple(range(1, 12))
TESTED = (3, 7, 10)
KINDS = (
    "plug adapter",
    "mobile phone",
    "scissors",
    "light bulb",
    "can",
    "glasses",
    "ball",
    "marker",
    "cup",
    "remote control",
)
CLASSES = tuple(f"{kind} {number}" for kind in KINDS for number in range(1, 6))


def read_core50(images: Path, *, hint: str = "") -> Listing:
    """Read the cropped images (`core50_128x128`): eleven sessions, in each a folder for each of fifty things.

    Raises:
        VlpromptError: A session or a thing in it is missing or has no images.
    """
    need_folder(images, hint)
    train: list[Example] = []
    test: list[Example] = []
    for domain, session in enumerate(SESSIONS):
        place = need_folder(images / f"s{session}", hint)
        for label in range(len(CLASSES)):
            folder = need_folder(place / f"o{label + 1}", hint)
            paths = list(images_in(folder))
            if not paths:
                raise VlpromptError(f"{folder} has no images; it holds {what_is_there(folder)}. {hint}".strip())
            (test if session in TESTED else train).extend(Example(path, label, domain) for path in paths)
    names = tuple(f"s{session}" for session in SESSIONS)
    return Listing(CLASSES, Files(images), Splits(tuple(train), test=tuple(test)), domains=names)
