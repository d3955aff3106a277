"""The command `vlprompt predict`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from vlprompt.commands.output import as_json
from vlprompt.commands.prompts import PromptRun
from vlprompt.config import by_owner
from vlprompt.errors import UsageError, VlpromptError, printable
from vlprompt.files import parse_json


def run(
    prompt: Positional[Path],
    items: Positional[tuple[str, ...]],
    options: PromptRun,
    classes: tuple[str, ...] = (),
    adapt: str = "",
    set: tuple[str, ...] = (),  # noqa: A002
) -> None:
    """Classify images or texts with a saved prompt.

    Args:
        prompt: The folder that holds prompt.safetensors.
        items: Image files, or texts; a text of several fields is a JSON object.
        options: Frozen model and output format.
        classes: Class names to use instead of those that the prompt was trained with.
        adapt: A method that adapts to each image: mta, zero, tda:tda-paper-shift, ... On a trained prompt, one that can
            wrap it: tpt.
        set: Changed settings of that method, as mta.views=32.

    Raises:
        VlpromptError: Images cannot be read; the others are classified first.
    """
    from vlprompt import methods
    from vlprompt.experiments.spec import parse_specs

    if not items:
        raise UsageError("nothing to classify; give one or more image files, or texts, after the prompt's folder.")
    if set and not adapt:
        raise UsageError("--set changes settings of the method that --adapt names, and none is given.")
    learner = options.load_prompt(prompt, list(classes) or None)
    if adapt:
        (spec,) = parse_specs([adapt], by_owner(set))
        if spec.wrapped:
            raise UsageError(f"--adapt {adapt}: the prompt in {prompt} is what is adapted; give {spec.method} alone.")
        learner = methods.wrap(spec.kind, learner, spec.config)
    of_texts = learner.needs.input.of_texts
    bad = {} if of_texts else _unreadable(items)
    items = tuple(item for item in items if item not in bad)
    given: list[Any] = [_text(item) for item in items] if of_texts else list(items)
    for item, answer in zip(items, learner.classify(given), strict=True):
        if options.json:
            print(as_json({"text" if of_texts else "image": item, **asdict(answer)}))
        else:
            print(printable(f"{item}: {answer.label} ({100 * answer.probability:.1f} %)"))
    if bad:
        more = f" ({len(bad)} images cannot be read; this is the first)" if len(bad) > 1 else ""
        raise VlpromptError(next(iter(bad.values())) + more)


def _unreadable(items: Sequence[str]) -> dict[str, str]:
    """The images that cannot be read, and why: they must not hide the answers for the others."""
    from vlprompt.data.images import BadImageError, Files
    from vlprompt.data.items import image_item

    bad = {}
    for position, item in enumerate(items):
        try:
            Files().open(image_item(position, item))
        except BadImageError as error:
            bad[item] = str(error)
    return bad


def _text(given: str) -> str | Mapping[str, str]:
    """A text from the command line: plain words, or the fields of a JSON object.

    Raises:
        UsageError: It begins like a JSON object and is not one.
    """
    if not given.lstrip().startswith("{"):
        return given
    try:
        fields = parse_json(given, "a text that begins with {")
    except VlpromptError as error:
        raise UsageError(f'{error} Give {{"field": "text"}}, or plain words: {given[:80]!r}.') from error
    if empty := [name for name, value in fields.items() if value is None]:
        raise UsageError(f"the field {empty[0]!r} of {given[:80]!r} is null; give its text.")
    return {name: str(value) for name, value in fields.items()}
