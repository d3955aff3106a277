"""Identity of data: what its examples contain, not how files are called or where they are stored."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example, Images, Item
from vlprompt.data.overlap import shared_examples
from vlprompt.data.splits import SPLITS
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import warn


class Contents:
    """Content digests of examples; each file is read once and then found by its stamp in the feature store.

    Args:
        store: Where digests of files are stored between processes.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._leaks: set[str] = set()  # tasks that were warned of
        self._known: dict[int, tuple[Images, dict[Item, str]]] = {}  # by the id of what opens the items

    def split_hash(self, task: Task) -> str:
        """Sha256 of class names, and of contents, labels and domains of all examples in order."""
        digest = hashlib.sha256(repr(task.classes).encode("utf-8", "surrogateescape"))
        for split in (*SPLITS, "unlabelled"):
            examples = getattr(task, split)
            for example, content in zip(examples, self.of(task.images, examples), strict=True):
                domain = task.domains[example.domain] if task.domains else ""
                digest.update(f"\n{split}\t{content}\t{example.label}\t{domain}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def data_hash(self, task: Task) -> str:
        """The same for every draw from one data set: sha256 of all names, labels and file sizes, and of test contents.

        Contents of training images that were not drawn are not read: ImageNet has 140 GB of them.
        """
        whole = task.source or task
        digest = hashlib.sha256(whole.split_hash.encode())
        sizes = (_size(example.item) for split in (*SPLITS, "unlabelled") for example in getattr(whole, split))
        digest.update(" ".join([*map(str, sizes), *self.of(whole.images, whole.test)]).encode())
        return digest.hexdigest()

    def warn_of_leaks(self, train: Task, test: Task) -> None:
        """Warn once of a user's images if a run is tested on some that it is trained on, under whatever names.

        Of texts, the reader has warned. With several domains, learning from the target's images may be the point.
        """
        if train.dataset or test.dataset or test.words or test.domains or test.name in self._leaks:
            return
        if shared := shared_examples(self.of(train.images, train.train), self.of(test.images, test.test)):
            self._leaks.add(test.name)
            warn(
                f"{test.name}: {shared} of {len(test.test)} test images have the same content as training images of "
                "this run, so its results are not reliable."
            )

    def of(self, images: Images, examples: Sequence[Example]) -> list[str]:
        """The content digest of each example; of an image that cannot be read, its name."""
        _, known = self._known.setdefault(id(images), (images, {}))
        missing = list({each.item: each for each in examples if each.item not in known}.values())
        known |= {each.item: each.item.digest for each in missing if isinstance(each.item, Text)}
        files = [each for each in missing if not isinstance(each.item, Text)]
        for example, digest in zip(files, self._store.digests(images, files), strict=True):
            known[example.item] = digest or f"unreadable {images.name(example.item)}"
        return [known[each.item] for each in examples]


def joint_hash(hashes: Iterable[str]) -> str:
    """The hash of one task, or of several together."""
    distinct = list(dict.fromkeys(hashes))
    return distinct[0] if len(distinct) == 1 else hashlib.sha256(" ".join(distinct).encode()).hexdigest()


def _size(item: Item) -> int:
    """The size of a file in bytes; 0 for other items, and for a file that does not exist."""
    try:
        return item.stat().st_size if isinstance(item, Path) else 0
    except (OSError, ValueError):
        return 0
