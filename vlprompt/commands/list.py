"""The command `vlprompt list`."""

import ast
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from vlprompt import cloze, learners
from vlprompt.commands.output import as_json
from vlprompt.data import descriptors
from vlprompt.experiments import protocols

Row = tuple[str, list[str]]  # a description, and the names of published settings or parts


def run(json: bool = False) -> None:
    """List methods with their published settings, data sets and protocols.

    Args:
        json: Print one JSON object: for each name a description, and a list of its settings or parts.
    """
    found = {
        "learners": dict(sorted({**_modules(learners), **_modules(cloze)}.items())),
        "data sets": {name: _data_set(descriptors.describe(name)) for name in descriptors.names()},
        "protocols": _modules(protocols),
    }
    if json:
        print(as_json(found))
        return
    for title, rows in found.items():
        print(title)
        for name, (about, more) in rows.items():
            print(f"  {name:<28} {about}", *([f"\n  {'':<28} {', '.join(more)}"] if more else []), sep="")


def _modules(package: ModuleType) -> dict[str, Row]:
    """The files of a package, and installed plug-ins. Files are parsed, not imported: an import would load torch."""
    plugins = entry_points(group=package.__name__)
    found: dict[str, Row] = {entry.name: (f"plug-in: {entry.value}", []) for entry in plugins}
    for module in iter_modules(package.__path__):
        if not module.ispkg:
            tree = ast.parse((Path(package.__path__[0]) / f"{module.name}.py").read_text(encoding="utf-8"))
            found[module.name] = ((ast.get_docstring(tree) or "").partition("\n")[0], _settings(tree))
    return found


def _settings(tree: ast.Module) -> list[str]:
    """The keys of the dictionary `VARIANTS` of a method's file."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="VARIANTS")], value=ast.Dict(keys=keys)):
                return [ast.literal_eval(key) for key in keys if key is not None]
    return []


def _data_set(known: descriptors.Descriptor) -> Row:
    """The title, classes and sizes of a data set, and its parts."""
    sizes = ", ".join(f"{size:,} {split}" for split, size in known.sizes.items())
    title = f"{known.title}: {known.classes} classes" if known.classes else known.title
    return "; ".join(filter(None, (title, sizes))), [f"{known.name}/{part}" for part in known.parts]
