"""FGVC-Aircraft: class names in `variants.txt`, lines "1025794 707-320" in `images_variant_{train,val,test}.txt`."""

from pathlib import Path

from vlprompt.data.classes import check_classes
from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, need_folder
from vlprompt.data.readers.text_files import lines, pairs
from vlprompt.data.splits import SPLITS
from vlprompt.errors import unknown


def read_aircraft(folder: Path, images: Path) -> Listing:
    """Read the published lists (as CoOp, `datasets/fgvc_aircraft.py`); labels count the lines of `variants.txt`."""
    variants = [line.strip() for line in lines(need_file(folder / "variants.txt"))]
    classes = check_classes([name for name in variants if name], str(folder / "variants.txt"))
    need_folder(images)
    labels = {name: label for label, name in enumerate(classes)}
    splits = (_read_list(folder / f"images_variant_{split}.txt", images, labels) for split in SPLITS)
    return Listing(classes, Files(images), Splits(*splits))


def _read_list(file: Path, images: Path, labels: dict[str, int]) -> tuple[Example, ...]:
    examples = []
    for where, image, variant in pairs(file, "an image", "a variant"):
        if variant not in labels:
            raise DataError(f"{where}: {unknown('variant', variant, labels)}")
        examples.append(Example(images / f"{image}.jpg", labels[variant]))
    return tuple(examples)
