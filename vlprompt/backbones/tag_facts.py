"""What belongs to weights and is not in their file: activation and preprocessing, which libraries store by tag."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlprompt.errors import warn


def split_weights(pretrained: str, tags: Iterable[str]) -> tuple[str, Path | None]:
    """The tag and the file of "TAG", "FILE.safetensors" or "TAG:FILE.safetensors"; an empty tag if none is named."""
    tag, colon, file = pretrained.partition(":")
    if tag in tags:
        return tag, Path(file).expanduser() if colon else None
    return "", Path(pretrained).expanduser() if pretrained not in ("", "random") else None


def common_facts(name: str, by_tag: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all tags of an architecture have in common; one warning, with the way to name a tag, about the rest.

    Args:
        name: The architecture.
        by_tag: The facts of each tag.
    """
    common, differing = {}, []
    for key in next(iter(by_tag.values()), {}):
        values = [facts[key] for facts in by_tag.values()]
        if all(value == values[0] for value in values):
            common[key] = values[0]
        else:
            differing.append(key)
    if differing:
        warn(
            f"weights of {name} differ in {', '.join(differing)}, which a file of weights does not hold; the library's "
            f"default is used. Name the tag whose settings the file has as TAG:FILE, such as {next(iter(by_tag))}:FILE "
            f"(tags: {', '.join(by_tag)})."
        )
    return common
