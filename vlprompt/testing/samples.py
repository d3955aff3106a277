"""Small frozen models, tasks and settings on which any learner can be checked within seconds."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch

from vlprompt.backbones import Clip, LanguageModel, Vit, load_clip, load_lm
from vlprompt.data.catalog import load_task
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner

Learner = type[PromptLearner[Any, Any]]
LAYERS = 3  # of the small models
VIEWS = 12
STEPS = 4  # of methods that train models of their own inside
TOKENS = 8  # of a prompt in a text
WORDS = (("terrible", "bad", "awful", "dull"), ("great", "good", "lovely", "fine"))


def backbone_for(kind: Learner, precision: str = "fp32") -> Any:
    """A small frozen model of the first kind that a method works with.

    Raises:
        UsageError: The kind is not one of vlprompt's.
    """
    if (first := kind.backbones[0]) is Clip:
        return load_clip("tiny", precision=precision)
    if first is LanguageModel:
        return load_lm("tiny", precision=precision)
    if first is Vit:
        return small_vit(precision)
    raise UsageError(f"{kind.method()} works with a {first.__name__}; pass backbone=.")


def small_vit(precision: str = "fp32") -> Vit:
    """A ViT of three layers for images of 32 pixels, with random weights that are the same everywhere."""
    import timm

    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": LAYERS, "num_heads": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("vit_base_patch16_224", **sizes)
    for parameter in model.parameters():  # timm's start is so narrow that an image hardly changes the features
        parameter.data *= 1 if parameter.ndim == 1 else 5
    return Vit(model, Preprocess(32, (0.5,) * 3, (0.5,) * 3), name="small", precision=precision)


def task_for(kind: Learner) -> Task:
    """Two shots of digits and 60 test images, with labels and without; or 16 opinions and 24 to test on."""
    if kind.needs.input.of_texts:
        return opinions()
    digits = load_task("digits").few_shot(2, seed=1)
    test = digits.test[::15]
    unlabelled = tuple(replace(example, label=-1, domain=1) for example in test)
    return replace(digits, test=test, unlabelled=unlabelled, domains=("source", "target"))


def opinions() -> Task:
    """Short texts of two classes."""
    rows = tuple(
        Example(Text.of(text=f"the {noun} was {word} ." + " and i saw it" * (number % 3)), label)
        for number, noun in enumerate(("film", "story", "actor", "music", "probe"))
        for label, own in enumerate(WORDS)
        for word in own
    )
    unlabelled = tuple(replace(row, label=-1) for row in rows[16:])
    splits = (rows[:16], (), rows[16:], unlabelled)
    return Task("opinions", ("no", "yes"), ("{text} it was {mask} .",), *splits, words=(("dull",), ("lovely",)))


def small_config(kind: Learner) -> Any:
    """The default settings, as deep as the small models allow, with few views and steps, and nothing to download."""
    config: Any = kind.Config()
    if not is_dataclass(kind.Config):
        raise UsageError(f"{kind.method()}: Config must be a dataclass, {type(config).__name__} is not one.")
    text = kind.needs.input.of_texts
    limits = {"views": VIEWS, "steps": STEPS, **({"length": TOKENS} if text else {})}
    changes: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name.startswith("depth"):
            changes[field.name] = LAYERS - 1
        elif "layers" in field.name and isinstance(value, tuple):
            changes[field.name] = tuple(layer for layer in value if layer < LAYERS)
        elif field.name in limits and isinstance(value, int):
            changes[field.name] = min(value, limits[field.name])
        elif field.name == "pretrained":
            changes[field.name] = False
    return replace(config, **changes)
