"""Checks of the examples that a user's data set holds: classes without any, repeated ones, test examples in train."""

from collections.abc import Hashable, Iterable

from vlprompt.data.readers.listing import Listing
from vlprompt.errors import warn


def shared_examples(train: Iterable[Hashable], test: Iterable[Hashable]) -> int:
    """The number of test examples that are also in train.

    Args:
        train: Of each training example what its content determines: a digest, a text, or else its path.
        test: The same of each test example.
    """
    known = set(train)
    return sum(key in known for key in test)


def warn_of_shared(source: str, train: Iterable[Hashable], test: Iterable[Hashable]) -> None:
    """Warn once if test examples are also in train; arguments as for `shared_examples`, `source` for the message."""
    if fact := _shared(train, test):
        warn(f"{source}: {fact}; results on them are not reliable")


def checked(listing: Listing, source: str) -> Listing:
    """Return what was read, with one warning of all that is odd about its examples.

    Args:
        listing: The contents of a user's data set.
        source: Its file or folder, for the warning.
    """
    train, val, test = ([example.item for example in split] for split in listing.splits)
    facts = [*_gaps(listing)]
    if repeated := sum(len(items) - len(set(items)) for items in (train, val, test)):
        facts.append(f"{repeated} examples repeat one of the same split")
    if fact := _shared(train, test):
        facts.append(fact)
    if facts:
        warn(f"{source}: {'; '.join(facts)}")
    return listing


def _shared(train: Iterable[Hashable], test: Iterable[Hashable]) -> str:
    items = list(test)
    count = shared_examples(train, items)
    return f"{count} of {len(items)} test examples are also in train" if count else ""


def _gaps(listing: Listing) -> Iterable[str]:
    """The classes without training examples and those without test examples, where any other class has some."""
    for split, examples in (("training", listing.splits.train), ("test", listing.splits.test)):
        present = {example.label for example in examples if example.label >= 0}
        absent = [name for label, name in enumerate(listing.classes) if label not in present]
        if present and absent:
            count = f"{len(absent)} of {len(listing.classes)} classes have no {split} examples"
            yield f"{count}: {', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}"
