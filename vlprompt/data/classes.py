"""Class names, and an answer in terms of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError, warn


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or text: the most probable class, and the probability of every class by name."""

    label: str
    probability: float
    probabilities: Mapping[str, float]

    @classmethod
    def of(cls, classes: Sequence[str], probabilities: Tensor) -> "Prediction":
        """The answer of (C,) probabilities."""
        by_name = dict(zip(classes, probabilities.tolist(), strict=True))
        best = int(probabilities.argmax())
        return cls(classes[best], float(probabilities[best]), by_name)


def check_classes(names: Sequence[str], source: str = "") -> tuple[str, ...]:
    """Return class names as a tuple, with a warning where two of them give the same prompt ("_" becomes a space).

    Equal names are no error: ImageNet's usual list has "missile" and "sunglasses" twice.

    Args:
        names: Class names by label.
        source: The file or object that they were read from, for the messages; empty for a caller's own list.

    Raises:
        UsageError: There is no name, or one is empty (VlpromptError where they were read from a source).
    """
    error, where = (VlpromptError, source) if source else (UsageError, "classes")
    if isinstance(names, str) or not names:
        raise error(f"{where}: expected a list of names for the classes, one or more; got {names!r}.")
    words = [name.replace("_", " ").strip() for name in names]
    if "" in words:
        raise error(f"{where}: class {words.index('')} has an empty name; every class needs one for its prompt.")
    repeated = [name for name, count in Counter(words).items() if count > 1]
    if repeated:
        labels = [label for label, name in enumerate(words) if name in repeated]
        warn(
            f"{where}: class names appear more than once: {', '.join(repeated[:5])} (classes "
            f"{', '.join(map(str, labels[:10]))}); no prompt can distinguish such classes."
        )
    return tuple(names)
