"""Find a method by name (ours, an installed plug-in's, or a class by import path), and open saved prompts.

A saved prompt never imports code: one that a method outside the package has saved opens only where that method is an
installed plug-in (entry-point groups in `PLUGINS`), or where the caller passes its class.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from vlprompt import checkpoint, cloze, learners
from vlprompt.config import make_config
from vlprompt.errors import UsageError, VlpromptError, out_of_memory, unknown
from vlprompt.learner import USER_FILES, PromptLearner
from vlprompt.training.config import Variant

PLUGINS = ("vlprompt.learners", "vlprompt.cloze")  # entry-point groups
IMPORT_PATH = re.compile(r"(?P<module>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?::(?P<variant>.*))?")
HINT = "A method of your own is named MODULE:CLASS or FILE.py:CLASS."

Learner = type[PromptLearner[Any, Any]]


@runtime_checkable
class Wraps(Protocol):
    """A method that adapts a trained learner of another method to test images."""

    @classmethod
    def over(cls, learner: PromptLearner[Any, Any], config: Any = None) -> PromptLearner[Any, Any]:
        """Wrap a trained learner; UsageError with the reason where the method cannot."""


def names() -> tuple[str, ...]:
    """Every method that has a short name: ours, named like their files, and installed plug-ins."""
    return tuple(sorted({*learners.FILES, *cloze.FILES, *_plugins()}))


def split_name(text: str) -> tuple[str, str]:
    """The method and the variant of "coop", "coop:cocoop-paper", "my.module:Mine" or "my.module:Mine:fast"."""
    method, _, variant = text.partition(":")
    if method in learners.FILES or method in cloze.FILES or method in _plugins():
        return method, variant
    match = IMPORT_PATH.fullmatch(text)
    if match is None or not (match["module"].endswith(".py") or "." in match["module"] or _is_importable(method)):
        return method, variant
    return f"{match['module']}:{match['name']}", match["variant"] or ""


def learner_class(name: str) -> Learner:
    """The class of a method.

    Args:
        name: A name of `names()`, or the import path of a class: "my.module:MyLearner" or "path/to/file.py:MyLearner".

    Raises:
        UsageError: There is no such method, module, file or class.
    """
    if name in learners.FILES or name in cloze.FILES:
        package = learners if name in learners.FILES else cloze
        module = importlib.import_module(f"{package.__name__}.{name}")
        return next(kind for kind in _learners_of(module) if kind.__module__ == module.__name__)
    if name in (plugins := _plugins()):
        return _checked(plugins[name].load(), name)
    match = IMPORT_PATH.fullmatch(name)
    if match is None:
        raise unknown("learner", name, names(), HINT)
    module = _load_file(match["module"]) if match["module"].endswith(".py") else _import(match["module"])
    if not hasattr(module, match["name"]):
        raise unknown(f"learner in {match['module']}", match["name"], [kind.__name__ for kind in _learners_of(module)])
    return _checked(getattr(module, match["name"]), name)


def variants(method: str | Learner) -> Mapping[str, Variant]:
    """The published settings of a method by name, the first is the default.

    A method outside the package may define `VARIANTS` in its module, or nothing: then its default config and the
    default training settings are used.
    """
    kind = learner_class(method) if isinstance(method, str) else method
    module = sys.modules[kind.__module__]
    named: dict[str, Variant] = vars(module).get("VARIANTS", {})
    own = {name: each for name, each in named.items() if isinstance(each.config, kind.Config)}
    return own or {"default": Variant(kind.Config())}


def variant(method: str | Learner, which: str = "") -> tuple[str, Variant]:
    """One published setting of a method and its name; the first without a name.

    Raises:
        UsageError: The method has none of that name.
    """
    known = variants(method)
    if which and which not in known:
        raise unknown(f"variant of {method if isinstance(method, str) else method.method()}", which, known)
    which = which or next(iter(known))
    return which, known[which]


def wrap(kind: Learner, learner: PromptLearner[Any, Any], config: Any = None) -> PromptLearner[Any, Any]:
    """Wrap a trained learner in a method that adapts it to test images, as in "tpt+coop".

    Raises:
        UsageError: The method wraps no other, or not this one.
    """
    if not issubclass(kind, Wraps):
        raise UsageError(f"{kind.method()} cannot wrap {learner.method()}: it does not adapt a trained learner.")
    return kind.over(learner, config)


def load(
    folder: str | Path,
    backbone: Any,
    classes: Sequence[str] | None = None,
    *,
    learner: Learner | Sequence[Learner] = (),
) -> PromptLearner[Any, Any]:
    """Open a saved prompt on the backbone it was trained with.

    Args:
        folder: What `learner.save` wrote.
        backbone: The frozen model, loaded by the same name.
        classes: Class names to use instead of those of the training, where the method allows it.
        learner: The class (or classes, for a wrapped learner) of a method that is neither ours nor installed.

    Raises:
        VlpromptError: The folder is missing or damaged, or belongs to another backbone or to an unknown method.
    """
    tensors, meta = checkpoint.load(folder)
    checkpoint.checked(meta, str(folder))
    if meta["fingerprint"] != backbone.fingerprint:
        raise VlpromptError(
            f"{folder} was trained with the backbone {meta.get('backbone')} ({meta['fingerprint']}), this is "
            f"{backbone.name} ({backbone.fingerprint}); load the backbone that the prompt was trained with."
        )
    given = (learner,) if isinstance(learner, type) else tuple(learner)
    with _one_error(str(folder)):
        opened = _from_description(meta, backbone, given, str(folder))
        opened.restore(tensors, str(folder))
    if classes is not None:
        opened.set_classes(classes)
    return opened.eval()


def saved_class(method: str, given: Sequence[Learner] = (), source: str = "the prompt") -> Learner:
    """The class of a saved method, found without importing anything but vlprompt and installed plug-ins.

    Raises:
        VlpromptError: The method is neither ours nor installed, and no given class is it.
    """
    for kind in given:
        if method in (kind.method(), kind.__qualname__) or method.rpartition(":")[2] == kind.__qualname__:
            return kind
    installed = {entry.value: name for name, entry in _plugins().items()}
    if (name := installed.get(method, method)) in names():
        return learner_class(name)
    raise VlpromptError(
        f"{source} was saved by {method!r}, which is neither part of vlprompt nor an installed plug-in; pass its "
        "class: load(folder, backbone, learner=MyLearner), or --learner MODULE:CLASS on the command line."
    )


def _from_description(
    meta: Mapping[str, Any], backbone: Any, given: Sequence[Learner], source: str
) -> PromptLearner[Any, Any]:
    """The learner that a saved prompt describes, without its tensors; with the one it wraps, if it wraps one."""
    kind = saved_class(str(meta["method"]), given, source)
    config = make_config(kind.Config, meta["config"])
    if "over" in meta:
        return wrap(kind, _from_description(meta["over"], backbone, given, source), config)
    return kind(backbone, meta["classes"], config, seed=meta["seed"])


@contextmanager
def _one_error(source: str) -> Iterator[None]:
    """Turn what a learner raises about settings that it never saves into one line."""
    try:
        with out_of_memory(f"while {source} is opened; its settings or its classes are too large"):
            yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise VlpromptError(f"{source}: its description does not fit its method ({why}).") from error


def _plugins() -> dict[str, EntryPoint]:
    """The installed methods of other packages by name; one of our names cannot be taken."""
    found = {entry.name: entry for group in PLUGINS for entry in entry_points(group=group)}
    return {name: entry for name, entry in found.items() if name not in (*learners.FILES, *cloze.FILES)}


def _learners_of(module: ModuleType) -> list[Learner]:
    """The learners that can be built among a module's classes."""
    found = [each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, PromptLearner)]
    return [each for each in found if not inspect.isabstract(each)]


def _checked(found: Any, name: str) -> Learner:
    if not (isinstance(found, type) and issubclass(found, PromptLearner)):
        raise UsageError(f"{name} is not a learner; give a subclass of vlprompt.PromptLearner.")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UsageError(f"{name} does not define {missing}; a learner needs it.")
    return found


def _is_importable(module: str) -> bool:
    """Whether a top-level module of this name exists; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _import(module: str) -> ModuleType:
    """Import a module that the user named, also from the working directory, as `python -m` would."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise  # the module exists, and one that it needs does not
        raise UsageError(f"there is no module {module!r}. {HINT}") from error


def _load_file(given: str) -> ModuleType:
    """Load a Python file that the user named, once a process."""
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {given!r}. {HINT}")
    name = f"{USER_FILES}.{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
