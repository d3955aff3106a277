"""The command `vlprompt cache`."""

from vlprompt.data.features import FeatureStore
from vlprompt.where import as_json


def run(clear: bool = False) -> None:
    """Look at the store of features of images and texts, or empty it.

    Args:
        clear: Delete everything in it.
    """
    store = FeatureStore()
    if clear:
        store.clear()
    print(as_json(store.info()))
