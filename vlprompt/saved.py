"""What a saved prompt states about itself, checked: it is data of unknown origin until its fields have been checked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlprompt import checkpoint
from vlprompt.backbones.sources import HUB, LOCAL, TIMM, folder_of
from vlprompt.errors import VlpromptError
from vlprompt.randomness import SEEDS

MOST_CLASSES, LONGEST_NAME, LONGEST_TEXT = 100_000, 1000, 5000
LARGEST_SETTING = 100_000  # of the config, such as the number of learned tokens
DEEPEST = 4  # methods that wrap one another


def description(folder: str | Path) -> dict[str, Any]:
    """Read the description of a saved prompt.

    Raises:
        VlpromptError: The prompt is missing or damaged, lacks a field, or a field is not what vlprompt writes.
    """
    return checked(checkpoint.load(folder)[1], str(folder))


def checked(meta: Mapping[str, Any], source: str, depth: int = 1) -> dict[str, Any]:
    """Return a description after a check of all its fields; errors as for `description`."""
    missing = [key for key in _FIELDS if key not in meta]
    if missing:
        raise VlpromptError(f"{source} lacks {', '.join(missing)}; it is not a prompt that vlprompt saved.")
    for key, (fits, allowed) in _FIELDS.items():
        if not fits(meta[key]):
            raise _misfit(source, key, meta[key], allowed)
    if not _is_text(meta.get("backbone", "")):
        raise _misfit(source, "backbone", meta["backbone"], "the name of a model")
    if "over" in meta:
        if not isinstance(meta["over"], dict) or depth == DEEPEST:
            raise _misfit(source, "over", meta["over"], f"the description of a learner, at most {DEEPEST} deep")
        checked(meta["over"], source, depth + 1)
    return dict(meta)


def saved_backbone(folder: str | Path, *, of_texts: bool = False) -> tuple[str, str]:
    """The name and the weights of a saved prompt's backbone, as the loading functions take them.

    Only what is on this machine or part of a library opens without the caller's word: the bundled model, a local
    folder, and, for images, a name that open_clip or timm knows.

    Args:
        folder: What `learner.save` wrote.
        of_texts: Whether the backbone is a language model; other names than "tiny" and folders are of the hub then.

    Raises:
        VlpromptError: The backbone must be named by the caller, or its folder has moved.
    """
    stated = str(description(folder).get("backbone", ""))
    name, _, weights = stated.partition("/")
    if stated.startswith(LOCAL):
        return _local(stated, str(folder))
    if not of_texts and not stated.startswith(HUB) and (name.startswith(TIMM) or _is_known(name)):
        return (stated, "") if name.startswith(TIMM) else (name, weights)
    if stated == "tiny":
        return stated, ""
    raise VlpromptError(
        f"{folder} was trained with the backbone {stated!r}, which is not on this machine or not part of a library. If "
        f"you trust it, name it: --backbone {stated}, or load({str(folder)!r}, backbone) in Python."
    )


def _local(stated: str, source: str) -> tuple[str, str]:
    """A folder and its weights ("" or "random") of "local-dir:PATH" or "local-dir:PATH/random"."""
    path = stated.removesuffix("/random")
    try:
        if path != stated and not (folder_of(path) / "random").is_dir():
            return path, "random"
        folder_of(stated)
    except VlpromptError as error:
        raise VlpromptError(
            f"{source} was trained with the backbone {stated!r}, and there is no such folder; if it has moved, give "
            f"--backbone {LOCAL}NEW, or load({source!r}, backbone) in Python."
        ) from error
    return stated, ""


def _is_known(name: str) -> bool:
    """Whether open_clip has a model of this name."""
    if name == "tiny":
        return True
    import open_clip

    return name in open_clip.list_models()


def _misfit(source: str, key: str, value: Any, allowed: str) -> VlpromptError:
    given = str(value)[:80]
    return VlpromptError(f"{source}: its field {key!r} is {given!r} ({type(value).__name__}); it must be {allowed}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _are_classes(value: Any) -> bool:
    if not (isinstance(value, list) and 1 <= len(value) <= MOST_CLASSES):
        return False
    return all(isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME for name in value)


def _is_seed(value: Any) -> bool:
    return type(value) is int and value in SEEDS


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(each) is not int or abs(each) <= LARGEST_SETTING for each in value.values()
    )


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "method": (_is_text, "the name of a method"),
    "config": (_is_config, f"a table of settings, whole numbers up to {LARGEST_SETTING}"),
    "classes": (_are_classes, f"a list of 1 to {MOST_CLASSES} names of 1 to {LONGEST_NAME} characters"),
    "fingerprint": (_is_text, "the fingerprint of a model"),
    "seed": (_is_seed, f"a whole number from 0 to {SEEDS.stop - 1}"),
}
