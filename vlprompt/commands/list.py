"""The command `vlprompt list`."""

from typing import Any

from vlprompt import learners
from vlprompt.data import catalog
from vlprompt.where import as_json


def run(json: bool = False) -> None:
    """List learners with their published settings, data sets and protocols.

    Args:
        json: Print one JSON object.
    """
    found: dict[str, dict[str, Any]] = {
        "learners": {name: {v: x.source for v, x in learners.variants(name).items()} for name in learners.names()},
        "data sets": {name: _summary(catalog.describe(name)) for name in catalog.names()},
    }
    if json:
        print(as_json(found))
        return
    for title, rows in found.items():
        print(title)
        for name, about in rows.items():
            lines = [about] if isinstance(about, str) else [f"{v}: {source}" for v, source in about.items()]
            for number, line in enumerate(lines):
                print(f"  {name if not number else '':<18} {line}")


def _summary(known: catalog.Descriptor) -> str:
    sizes = ", ".join(f"{size:,} {split}" for split, size in known.sizes.items())
    parts = ", ".join(f"{known.name}/{part}" for part in known.parts)
    title = f"{known.title}: {known.classes} classes" if known.classes else known.title
    return "; ".join(filter(None, (title, sizes, parts)))
