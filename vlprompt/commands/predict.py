"""The command `vlprompt predict`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from vlprompt.errors import UsageError
from vlprompt.runner import Entry
from vlprompt.settings import by_owner
from vlprompt.text_cli import text_of
from vlprompt.where import as_json, load_prompt


def run(
    prompt: Positional[Path],
    items: Positional[tuple[str, ...]],
    classes: tuple[str, ...] = (),
    adapt: str = "",
    set: tuple[str, ...] = (),  # noqa: A002
    backbone: str = "",
    pretrained: str = "",
    precision: str = "fp32",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Name what is in some images, or what some texts are, with a saved prompt.

    Args:
        prompt: The folder that holds prompt.safetensors.
        items: Image files; or texts, those of several fields as JSON objects.
        classes: Other class names than those it was trained with.
        adapt: Adapt to each image with this method (mta, zero, tda:tda-paper-shift); over a prompt that was trained if
            it can wrap one.
        set: Changed settings of it, as mta.views=32.
        backbone: The frozen model, where it is not found under the name it was trained with.
        pretrained: Its weights.
        precision: fp32 or bf16.
        device: cpu, cuda, ...
        json: Print one JSON object a line.
    """
    if not items:
        raise UsageError("nothing to name; give one or more image files, or texts, after the prompt's folder.")
    learner = load_prompt(prompt, list(classes) or None, backbone, pretrained, precision=precision, device=device)
    if adapt:
        entry = Entry.parse(adapt, by_owner(set))
        if entry.over:
            raise UsageError(f"--adapt {adapt}: what is adapted is the prompt in {prompt}; give {entry.method} alone.")
        learner = entry.kind.over(learner, entry.config)
    texts = learner.reads.of_texts
    given: list[Any] = [text_of(item) for item in items] if texts else list(items)
    for item, answer in zip(items, learner.classify(given), strict=True):
        if json:
            print(as_json({"text" if texts else "image": item, **asdict(answer)}))
        else:
            print(f"{item}: {answer.label} ({100 * answer.probability:.1f} %)")
