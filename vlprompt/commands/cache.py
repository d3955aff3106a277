"""The command `vlprompt cache`."""

from vlprompt.commands.output import as_json


def run(clear: bool = False) -> None:
    """Print the size of the feature store, or empty it.

    It holds the frozen models' features of images and texts, in $VLPROMPT_CACHE.

    Args:
        clear: Delete everything in it.
    """
    from vlprompt.data.features import FeatureStore

    store = FeatureStore()
    if clear:
        store.clear()
    print(as_json(store.info()))
