"""FGVC-Aircraft: `variants.txt` names the classes, `images_variant_{train,val,test}.txt` say "1025794 707-320"."""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, check_classes, need_file, need_folder
from vlprompt.errors import VlpromptError, unknown


def read_aircraft(folder: Path, images: Path, *, hint: str = "") -> Listing:
    """Read the published text lists (as CoOp, `datasets/fgvc_aircraft.py`); labels count the lines of `variants.txt`.

    Raises:
        VlpromptError: A list is missing, or names a variant that `variants.txt` does not know.
    """
    variants = need_file(folder / "variants.txt", hint).read_text(encoding="utf-8").splitlines()
    classes = check_classes([line.strip() for line in variants if line.strip()], str(folder / "variants.txt"))
    need_folder(images, hint)
    labels = {name: label for label, name in enumerate(classes)}
    lists = [need_file(folder / f"images_variant_{part}.txt", hint) for part in Splits._fields]
    return Listing(classes, Files(images), Splits(*(_read_list(file, images, labels) for file in lists)))


def _read_list(file: Path, images: Path, labels: dict[str, int]) -> tuple[Example, ...]:
    """One list: image number, blank, variant."""
    examples = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        image, _, variant = line.strip().partition(" ")
        if not image:
            continue
        if variant not in labels:
            raise VlpromptError(f"{file}, line {number}: {unknown('variant', variant, labels)}")
        examples.append(Example(images / f"{image}.jpg", labels[variant]))
    return tuple(examples)
