"""LAMA: facts without their object, one relation at a time (Petroni et al. 2019; the files of Shin et al. 2020)."""

from pathlib import Path

from vlprompt.data.images import Example, Files
from vlprompt.data.readers.listing import DataError, Listing, Splits, need_file, need_folder
from vlprompt.data.readers.rows import records
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, unknown

RELATIONS = "relations.jsonl"
FILES = ("train.jsonl", "dev.jsonl", "test.jsonl")


def relations(folder: Path) -> dict[str, str]:
    """The templates of all relations, {"P19": "{sub_label} was born in {mask} ."}.

    Raises:
        DataError: The file is missing, or a line has no relation or no template with [X] and [Y].
    """
    templates = {}
    file = need_file(need_folder(folder) / RELATIONS)
    for number, row in records(file):
        template = row.get("template", "")
        if not row.get("relation") or template.count("[X]") != 1 or template.count("[Y]") != 1:
            raise DataError(f"{file}, line {number}: no relation with a template of one [X] and one [Y]")
        plain = template.replace("{", "{{").replace("}", "}}")
        templates[row["relation"]] = plain.replace("[X]", "{sub_label}").replace("[Y]", "{mask}")
    return templates


def read_lama(folder: Path, relation: str) -> Listing:
    """Read one relation: its classes are all its objects, and its template is in `relations.jsonl`.

    Args:
        folder: With `relations.jsonl`, and train.jsonl, dev.jsonl and test.jsonl (or test alone) in a folder for each
            relation, lines {"sub_label": ..., "obj_label": ...}; the folders may be in `original`.
        relation: Its name, such as "P19".

    Raises:
        UsageError: The relation is unknown.
        DataError: A file is missing, or a line lacks a subject or an object.
    """
    templates = relations(folder)
    if not relation:
        example = next(iter(templates), "P19")
        raise UsageError(f"LAMA is read one relation at a time, as lama/{example}; or use `vlprompt probe`.")
    if relation not in templates:
        raise unknown("relation", relation, templates, "Name one as in lama/P19.")
    place = need_folder(relation_folder(folder, relation))
    need_file(place / FILES[-1])
    facts = [_facts(place / name) if (place / name).is_file() else [] for name in FILES]
    classes = tuple(sorted({answer for rows in facts for _, answer in rows}))
    number = {name: label for label, name in enumerate(classes)}
    splits = (tuple(Example(text, number[answer]) for text, answer in rows) for rows in facts)
    return Listing(classes, Files(), Splits(*splits), templates=(templates[relation],))


def relation_folder(folder: Path, relation: str) -> Path:
    """The folder of one relation, which need not exist."""
    below = folder / "original" / relation
    return below if below.is_dir() else folder / relation


def _facts(file: Path) -> list[tuple[Text, str]]:
    """(subject, object) of every line."""
    facts = []
    for number, row in records(file):
        subject, answer = (row.get(name, "").strip() for name in ("sub_label", "obj_label"))
        if not subject or not answer:
            raise DataError(f"{file}, line {number}: no sub_label or no obj_label")
        facts.append((Text.of(sub_label=subject), answer))
    return facts
