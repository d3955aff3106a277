"""Templates for class names: "a photo of a {}." parsed once into a frozen value."""

from collections.abc import Sequence
from dataclasses import dataclass

from vlprompt.errors import UsageError

# The seven that OpenAI's search on ImageNet chose, in CoOp's order (KaiyangZhou/CoOp, trainers/imagenet_templates.py).
IMAGENET_SELECT = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

# The sixty whose mean PromptSRC's text features stay near, of the eighty in CLIP's ImageNet notebook
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
        """Raise UsageError unless there is exactly one place for the name."""
        if self.text.count("{}") != 1:
            raise UsageError(f"template {self.text!r} must hold {{}} exactly once, as in 'a photo of a {{}}.'")

    def __call__(self, name: str) -> str:
        """The template filled with a class name."""
        return self.text.replace("{}", readable(name))


def readable(name: str) -> str:
    """A class name as words: underscores stand for spaces in every data set of the field."""
    return name.replace("_", " ")


def ensemble(templates: Sequence[str]) -> tuple[Template, ...]:
    """Several templates, each checked.

    Raises:
        UsageError: There is none, or one has no place for the name.
    """
    if not templates:
        raise UsageError("no template given; give at least one, such as 'a photo of a {}.'")
    return tuple(Template(text) for text in templates)
