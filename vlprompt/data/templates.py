"""Templates for class names: "a photo of a {}." parsed once into a frozen value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from vlprompt.errors import UsageError

DEFAULT_TEMPLATE = "a photo of a {}."

# The seven that OpenAI's search on ImageNet chose, in CoOp's order (KaiyangZhou/CoOp, trainers/imagenet_templates.py).
IMAGENET_SELECT = (
    "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
    "art of the {}.", "a photo of the small {}.",
)  # fmt: skip

# PromptSRC keeps its text features near the mean of these sixty, of the eighty in CLIP's ImageNet notebook
# (muzairkhattak/PromptSRC, trainers/imagenet_templates.py).
_SIXTY = """
    a photo of a {}. | a bad photo of a {}. | a photo of many {}. | a sculpture of a {}. |
    a photo of the hard to see {}. | a low resolution photo of the {}. | a rendering of a {}. | graffiti of a {}. |
    a bad photo of the {}. | a cropped photo of the {}. | a tattoo of a {}. | the embroidered {}. |
    a photo of a hard to see {}. | a bright photo of a {}. | a photo of a clean {}. | a photo of a dirty {}. |
    a dark photo of the {}. | a drawing of a {}. | a photo of my {}. | the plastic {}. | a photo of the cool {}. |
    a close-up photo of a {}. | a black and white photo of the {}. | a painting of the {}. | a painting of a {}. |
    a pixelated photo of the {}. | a sculpture of the {}. | a bright photo of the {}. | a cropped photo of a {}. |
    a plastic {}. | a photo of the dirty {}. | a jpeg corrupted photo of a {}. | a blurry photo of the {}. |
    a photo of the {}. | a good photo of the {}. | a rendering of the {}. | a {} in a video game. | a photo of one {}. |
    a doodle of a {}. | a close-up photo of the {}. | the origami {}. | the {} in a video game. | a sketch of a {}. |
    a doodle of the {}. | a origami {}. | a low resolution photo of a {}. | the toy {}. | a rendition of the {}. |
    a photo of the clean {}. | a photo of a large {}. | a rendition of a {}. | a photo of a nice {}. |
    a photo of a weird {}. | a blurry photo of a {}. | a cartoon {}. | art of a {}. | a sketch of the {}. |
    a embroidered {}. | a pixelated photo of a {}. | itap of the {}.
"""
IMAGENET_60 = tuple(text.strip() for text in _SIXTY.replace("\n", " ").split("|"))


@dataclass(frozen=True)
class Template:
    """Words around one class name.

    Attributes:
        text: The words, with one `{}` where the name goes.
    """

    text: str

    def __post_init__(self) -> None:
        """Raise UsageError unless the text has exactly one `{}`."""
        if self.text.count("{}") != 1:
            raise UsageError(f"template {self.text!r} must hold {{}} exactly once, as in 'a photo of a {{}}.'")

    def __call__(self, name: str) -> str:
        """The template filled with a class name."""
        return self.text.replace("{}", readable(name))


@dataclass(frozen=True)
class OneName:
    """A condition on settings (`vlprompt.config`): a template, or each of several, has exactly one `{}`.

    Attributes:
        text: What is allowed, for errors.
        optional: A template may be empty.
    """

    text: str = "with {} exactly once, as in 'a photo of a {}.'"
    optional: bool = False

    def allows(self, value: str | Sequence[str]) -> bool:
        """Whether a template, or each of a sequence, fulfils it."""
        texts = [value] if isinstance(value, str) else value
        return all(text.count("{}") == 1 or (self.optional and not text) for text in texts)


OneTemplate = Annotated[str, OneName()]
OptionalTemplate = Annotated[str, OneName("empty, or with {} exactly once, as in 'a photo of a {}.'", optional=True)]
Templates = Annotated[tuple[str, ...], OneName()]  # may be empty, where a method has templates of its own


def readable(name: str) -> str:
    """A class name as words: in the field's data sets an underscore is a space."""
    return name.replace("_", " ")


def ensemble(templates: Sequence[str]) -> tuple[Template, ...]:
    """Several templates, each checked; UsageError if there is none, or one has not exactly one `{}`."""
    if not templates:
        raise UsageError("no template given; give at least one, such as 'a photo of a {}.'")
    return tuple(Template(text) for text in templates)
