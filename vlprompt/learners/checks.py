"""What every learner checks when it is made: its backbone and its class names."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlprompt.backbones import Clip, LanguageModel, Vit
from vlprompt.errors import UsageError, warn

KINDS: Mapping[type[Any], str] = {
    Clip: "a CLIP (it reads class names), such as 'ViT-B-16'",
    Vit: "a ViT, such as 'timm:vit_base_patch16_224'",
    LanguageModel: "a language model, such as load_lm('bert-base-uncased')",
}


def check_kind(method: str, takes: Sequence[type[Any]], backbone: Any) -> None:
    """Raise UsageError where a backbone is of another kind than a method needs."""
    if type(backbone) in KINDS and type(backbone) not in takes:
        other = "a method that reads no names, such as linear or vpt" if type(backbone) is Vit else "another method"
        raise UsageError(
            f"{method} needs {KINDS[takes[0]]}; {backbone.name} is not one. Choose another backbone, or {other}."
        )


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Class names as a tuple; a name that is there twice is warned about, since nothing can tell the two apart.

    (It is no error: ImageNet's usual list has "missile" and "sunglasses" twice.)

    Raises:
        UsageError: There is none, or one is empty.
    """
    if isinstance(names, str) or not names:
        raise UsageError(f"classes must be a list of names, one or more; {names!r} was given.")
    empty = [number for number, name in enumerate(names) if not name.strip()]
    if empty:
        raise UsageError(f"class {empty[0]} has an empty name; every class needs one, it becomes part of the prompt.")
    seen: set[str] = set()
    repeated = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    if repeated:
        warn(f"class names appear more than once: {', '.join(repeated[:5])}; give each class a name of its own.")
    return tuple(names)
