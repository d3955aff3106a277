"""Writes docs/backbones.md from the models that the tests cover: python -m tests.backbones.supported."""

from collections.abc import Iterable
from pathlib import Path

from tests.backbones.architectures import REFUSED, SIZES, WORKING
from tests.backbones.conftest import FAMILIES
from tests.backbones.lm_texts import NO_PREFIX, OTHERS
from vlprompt.backbones.image_towers import REASONS
from vlprompt.backbones.timm_towers import TOWERS

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
TEMPLATE = """# Supported backbones

The tests compare every model below with its library's own forward: features with and without prompts, and gradients.
`python -m tests.backbones.supported` writes this page from the tests' lists.

A backbone is checked when it is loaded, and an image tower at the first prompt. A model that fails the check is refused
with the reason. A model that takes no image prompts still gives features, for methods that do not prompt images.

## Files from others

Weights are read from safetensors only, never from pickles. A model's folder runs no code: `auto_map`,
`trust_remote_code` and attention kernels of a hub are refused, and so are files and links that lead out of the folder,
towers and tokenizers of other repositories, and sizes far beyond those of the weights. In the cache of the Hugging Face
hub, links to the blobs of the same repository are allowed.

A saved prompt names its backbone. The bundled models, names of open_clip and timm, and local folders open without
asking; an address of a hub opens only when you name it (`--backbone`, or `load(folder, backbone)`). If a folder has
moved, name its new place in the same way.

A file of weights does not hold its activation function and its preprocessing. `load_clip("ViT-B-32", FILE)` takes what
all tags of the model have in common, and warns where they differ. `load_clip("ViT-B-32", "openai:FILE")` takes those of
the tag, and `load_vit("timm:resnet18.tv_in1k", FILE)` those of the tag in the name.

## CLIP (open_clip)

`load_clip` loads any model of open_clip. The text of a prompt takes one of two paths; both are exact.
*Shared prefix* computes the tokens that all texts start with once, and needs a causal text tower of open_clip.
*Whole text* runs the library's own forward and works for all others. Deep text prompts need a text tower of open_clip.

{families}

Image prompts need open_clip's own vision transformer or one of the models of timm below.

## Vision transformers (timm)

`load_vit("timm:NAME")` loads them, with any weights. Prompts are supported for the exact classes
{classes}.
"Changed options" are those that the test sets in addition to a smaller size.

{working}

These take no prompts:

{refused}

## Language models (transformers)

`load_lm` loads masked, causal and T5 models with safetensors weights. Soft tokens work in all of them. A prefix (keys
and values in every layer) needs attention that accepts a cache.

{language}
"""


def page() -> str:
    """The page as Markdown."""
    reasons = {timms: next(reason for reason in REASONS if part in reason) for timms, part in REFUSED.items()}
    languages = ("BertForMaskedLM", "RobertaForMaskedLM", "GPT2LMHeadModel", "T5ForConditionalGeneration", *OTHERS)
    return TEMPLATE.format(
        families=_table(("Family", "Text path"), ((name, family.path) for name, family in FAMILIES.items())),
        classes=", ".join(f"`{name.rpartition('.')[2]}`" for name in TOWERS),
        working=_table(
            ("Model", "Architecture", "Changed options"),
            ((f"`{timms}`", name, _changed(options)) for name, (timms, options) in WORKING.items()),
        ),
        refused=_table(("Model", "Reason"), ((f"`{timms}`", reason) for timms, reason in reasons.items())),
        language=_table(("Class", "Prefix"), ((f"`{n}`", "no" if n in NO_PREFIX else "yes") for n in languages)),
    )


def _changed(options: dict[str, object]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in options.items() if name not in SIZES)


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
