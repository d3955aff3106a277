"""Labels of data sets that are Python objects."""

import math
import operator
from collections.abc import Sequence
from typing import Any

from vlprompt.errors import VlpromptError


def label_number(value: Any, classes: Sequence[str], where: str) -> int | None:
    """The number of a label: an integer (of any library), a whole float or a class name; None where it is missing.

    Args:
        value: The label; None and NaN are missing.
        classes: Class names by label.
        where: Whose label it is, for the error.

    Raises:
        VlpromptError: It is neither -1 (unknown) nor the number or the name of a class.
    """
    plain = value.item() if getattr(value, "ndim", None) == 0 else value
    if plain is None or (isinstance(plain, float) and math.isnan(plain)):
        return None
    if isinstance(plain, str) and plain in classes:
        return list(classes).index(plain)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    try:
        number = len(classes) if isinstance(plain, bool) else operator.index(plain)
    except TypeError:
        number = len(classes)
    if not -1 <= number < len(classes):
        count = f"there are {len(classes)} classes, so labels go to {len(classes) - 1}"
        raise VlpromptError(f"{where} has label {plain!r}; {count} (-1: unknown), or are class names")
    return number
