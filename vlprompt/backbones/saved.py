"""The frozen model that a saved prompt names; a prompt is data of unknown origin."""

from pathlib import Path

from vlprompt.backbones.sources import HUB, LOCAL, TIMM, folder_of
from vlprompt.checkpoint import description
from vlprompt.errors import VlpromptError


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
