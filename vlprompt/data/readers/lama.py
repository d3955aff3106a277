"""LAMA: facts with the object left out, a relation at a time (Petroni et al. 2019; the files of Shin et al. 2020)."""

from collections.abc import Sequence
from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import Listing, Splits, need_file, need_folder
from vlprompt.data.readers.texts import records
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, unknown

RELATIONS = "relations.jsonl"
SPLITS = {"train": "train.jsonl", "val": "dev.jsonl", "test": "test.jsonl"}


def relations(folder: Path, *, hint: str = "") -> dict[str, str]:
    """The templates of all relations, {"P19": "{sub_label} was born in {mask} ."}.

    Raises:
        VlpromptError: The file is missing, or a line of it says no relation or no template with [X] and [Y].
    """
    found = {}
    file = need_file(need_folder(folder, hint) / RELATIONS, hint)
    for number, row in records(file):
        template = row.get("template", "")
        if not row.get("relation") or template.count("[X]") != 1 or template.count("[Y]") != 1:
            raise VlpromptError(f"{file}, line {number}: no relation with a template of one [X] and one [Y]")
        plain = template.replace("{", "{{").replace("}", "}}")
        found[row["relation"]] = plain.replace("[X]", "{sub_label}").replace("[Y]", "{mask}")
    return found


def read_lama(folder: Path, relation: str, *, hint: str = "") -> Listing:
    """Read one relation: its classes are all objects that occur in it, and its template stands in `relations.jsonl`.

    Args:
        folder: With `relations.jsonl`, and train.jsonl, dev.jsonl and test.jsonl (or test alone) in a folder for each
            relation, lines {"sub_label": ..., "obj_label": ...}; the folders may lie under `original`.
        relation: "P19".
        hint: Where to get it.

    Raises:
        UsageError: There is no such relation.
        VlpromptError: A file is missing, or a line lacks a subject or an object.
    """
    templates = relations(folder, hint=hint)
    if relation not in templates:
        raise (
            unknown("relation", relation, templates, "Name one as in lama/P19.")
            if relation
            else UsageError(
                f"LAMA is read a relation at a time, as lama/{next(iter(templates), 'P19')}; or use `vlprompt probe`."
            )
        )
    place = place_of(folder, relation)
    need_file(need_folder(place, hint) / SPLITS["test"], hint)
    facts = {split: _facts(place / name) if (place / name).is_file() else [] for split, name in SPLITS.items()}
    classes = tuple(sorted({answer for rows in facts.values() for _, answer in rows}))
    number = {name: label for label, name in enumerate(classes)}
    splits = Splits(*(_examples(facts[split], number) for split in Splits._fields))
    return Listing(classes, Files(), splits, templates=(templates[relation],))


def place_of(folder: Path, relation: str) -> Path:
    """The folder of one relation, whether it is there or not."""
    below = folder / "original" / relation
    return below if below.is_dir() else folder / relation


def _facts(file: Path) -> list[tuple[str, str]]:
    """(subject, object) of every line."""
    found = []
    for number, row in records(file):
        subject, answer = (row.get(name, "").strip() for name in ("sub_label", "obj_label"))
        if not subject or not answer:
            raise VlpromptError(f"{file}, line {number}: no sub_label or no obj_label")
        found.append((subject, answer))
    return found


def _examples(facts: Sequence[tuple[str, str]], number: dict[str, int]) -> tuple[Example, ...]:
    return tuple(Example(Text.of(sub_label=subject), number[answer]) for subject, answer in facts)
