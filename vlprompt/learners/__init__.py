"""One file per method; the folder is the register."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vlprompt import checkpoint
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.learners import (
    adapter,
    bias,
    clip_adapter,
    clip_lora,
    clip_text,
    cocoop,
    coda_prompt,
    coop,
    ctpt,
    dapl,
    dual_prompt,
    full,
    ivlp,
    kgcoop,
    l2p,
    linear,
    linear_probe,
    lora,
    maple,
    mlp,
    mta,
    norm,
    partial,
    prograd,
    promptsrc,
    side,
    tda,
    tip_adapter,
    tip_adapter_f,
    tpt,
    vpt,
    zero,
    zero_shot,
)
from vlprompt.learners.adapter import Adapter, AdapterConfig
from vlprompt.learners.base import Prediction, PromptLearner, Reads, Variant
from vlprompt.learners.bias import Bias, BiasConfig
from vlprompt.learners.clip_adapter import CLIPAdapter, CLIPAdapterConfig
from vlprompt.learners.clip_lora import CLIPLoRA, CLIPLoRAConfig
from vlprompt.learners.clip_text import ClipText, ClipTextConfig
from vlprompt.learners.cocoop import CoCoOp, CoCoOpConfig
from vlprompt.learners.coda_prompt import CODAPrompt, CODAPromptConfig
from vlprompt.learners.coop import CoOp, CoOpConfig
from vlprompt.learners.ctpt import CTPT, CTPTConfig
from vlprompt.learners.dapl import DAPL, DAPLConfig
from vlprompt.learners.dual_prompt import DualPrompt, DualPromptConfig
from vlprompt.learners.full import Full, FullConfig
from vlprompt.learners.ivlp import IVLP, IVLPConfig
from vlprompt.learners.kgcoop import KgCoOp, KgCoOpConfig
from vlprompt.learners.l2p import L2P, L2PConfig
from vlprompt.learners.linear import Linear, LinearConfig
from vlprompt.learners.linear_probe import LinearProbe, LinearProbeConfig
from vlprompt.learners.lora import LoRA, LoRAConfig
from vlprompt.learners.maple import MaPLe, MaPLeConfig
from vlprompt.learners.mlp import MLP, MLPConfig
from vlprompt.learners.mta import MTA, MTAConfig
from vlprompt.learners.norm import Norm, NormConfig
from vlprompt.learners.partial import Partial, PartialConfig
from vlprompt.learners.prograd import ProGrad, ProGradConfig
from vlprompt.learners.promptsrc import PromptSRC, PromptSRCConfig
from vlprompt.learners.side import Side, SideConfig
from vlprompt.learners.tda import TDA, TDAConfig
from vlprompt.learners.tip_adapter import TipAdapter, TipAdapterConfig
from vlprompt.learners.tip_adapter_f import TipAdapterF, TipAdapterFConfig
from vlprompt.learners.tpt import TPT, TPTConfig
from vlprompt.learners.vpt import VPT, VPTConfig
from vlprompt.learners.zero import Zero, ZeroConfig
from vlprompt.learners.zero_shot import ZeroShot, ZeroShotConfig

__all__ = [
    "CTPT",
    "DAPL",
    "IVLP",
    "L2P",
    "MLP",
    "MTA",
    "TDA",
    "TPT",
    "VPT",
    "Adapter",
    "AdapterConfig",
    "Bias",
    "BiasConfig",
    "CLIPAdapter",
    "CLIPAdapterConfig",
    "CLIPLoRA",
    "CLIPLoRAConfig",
    "CODAPrompt",
    "CODAPromptConfig",
    "CTPTConfig",
    "ClipText",
    "ClipTextConfig",
    "CoCoOp",
    "CoCoOpConfig",
    "CoOp",
    "CoOpConfig",
    "DAPLConfig",
    "DualPrompt",
    "DualPromptConfig",
    "Full",
    "FullConfig",
    "IVLPConfig",
    "KgCoOp",
    "KgCoOpConfig",
    "L2PConfig",
    "Linear",
    "LinearConfig",
    "LinearProbe",
    "LinearProbeConfig",
    "LoRA",
    "LoRAConfig",
    "MLPConfig",
    "MTAConfig",
    "MaPLe",
    "MaPLeConfig",
    "Norm",
    "NormConfig",
    "Partial",
    "PartialConfig",
    "Prediction",
    "ProGrad",
    "ProGradConfig",
    "PromptLearner",
    "PromptSRC",
    "PromptSRCConfig",
    "Reads",
    "Side",
    "SideConfig",
    "TDAConfig",
    "TPTConfig",
    "TipAdapter",
    "TipAdapterConfig",
    "TipAdapterF",
    "TipAdapterFConfig",
    "VPTConfig",
    "Variant",
    "Zero",
    "ZeroConfig",
    "ZeroShot",
    "ZeroShotConfig",
    "adapter",
    "backbone_of",
    "bias",
    "clip_adapter",
    "clip_lora",
    "clip_text",
    "cocoop",
    "coda_prompt",
    "coop",
    "ctpt",
    "dapl",
    "dual_prompt",
    "full",
    "ivlp",
    "kgcoop",
    "l2p",
    "learner_class",
    "linear",
    "linear_probe",
    "load",
    "lora",
    "make_config",
    "maple",
    "mlp",
    "mta",
    "names",
    "norm",
    "partial",
    "prograd",
    "promptsrc",
    "side",
    "tda",
    "tip_adapter",
    "tip_adapter_f",
    "tpt",
    "variant",
    "variants",
    "vpt",
    "zero",
    "zero_shot",
]

SHARED = ("backbone", "base", "checks", "frozen_head", "headed", "tuned")  # what methods have in common


CLOZE = "vlprompt.cloze"  # the text side's folder; imported by name and late, since it stands on this package


def names() -> tuple[str, ...]:
    """Every method, by the name of its file."""
    return tuple(sorted(_places()))


def _places() -> dict[str, str]:
    """The package of every method: this one, and that of the text side."""
    cloze = importlib.import_module(CLOZE)
    own = dict.fromkeys((m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED), __name__)
    other = (m.name for m in pkgutil.iter_modules(cloze.__path__) if m.name not in cloze.SHARED)
    return own | dict.fromkeys(other, CLOZE)


def _module(name: str) -> ModuleType:
    places = _places()
    if name not in places:
        raise unknown("learner", name, places)
    return importlib.import_module(f"{places[name]}.{name}")


def learner_class(name: str) -> type[PromptLearner[Any]]:
    """The learner that a method's file defines.

    Raises:
        UsageError: There is no such file.
    """
    module = _module(name)
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    return next(c for c in own if issubclass(c, PromptLearner))


def variants(name: str) -> Mapping[str, Variant]:
    """The published settings of a method, by name; the first is the default."""
    return _module(name).VARIANTS  # type: ignore[no-any-return]


def variant(name: str, which: str = "") -> tuple[str, Variant]:
    """One published setting of a method and its name; the first without a name.

    Raises:
        UsageError: The method has none of that name.
    """
    known = variants(name)
    if which and which not in known:
        raise unknown(f"variant of {name}", which, known)
    which = which or next(iter(known))
    return which, known[which]


def make_config(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A configuration dataclass from plain values, as JSON or a command line gives them.

    Raises:
        UsageError: A field it does not have, nearest names first, or a value it refuses.
    """
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise unknown(f"setting of {kind.__name__}", key, hints)
        if not _fits(value, hints[key]):
            raise UsageError(f"{kind.__name__}.{key} is {value!r}; it must be {_described(hints[key])}.")
    return kind(**values)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value may stand in a field of a type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(x, inside[0]) for x in value)
    if origin is dict:
        return isinstance(value, dict)
    if origin is not None or not isinstance(hint, type):
        return any(_fits(value, x) for x in inside)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(value) for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list, each {_described(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "a table"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))


def kept_in(folder: str | Path, key: str) -> str:
    """What a saved prompt says of itself: its "method", the name of its "backbone"."""
    return str(checkpoint.load(folder)[1].get(key, ""))


def backbone_of(folder: str | Path) -> tuple[str, str]:
    """The name and the weights of the backbone a prompt was trained with, as `load_backbone` takes them."""
    name, _, pretrained = kept_in(folder, "backbone").partition("/")
    return (name, pretrained) if ":" not in name else (f"{name}/{pretrained}".rstrip("/"), "")


def load(folder: str | Path, backbone: Any, classes: list[str] | None = None) -> PromptLearner[Any]:
    """Open a saved prompt on the backbone it was trained with.

    Args:
        folder: What `learner.save` wrote.
        backbone: The frozen model, loaded by the same name.
        classes: Other class names than those it was trained with, where the method allows it.

    Raises:
        VlpromptError: The folder is missing or damaged, or belongs to another backbone or method.
    """
    tensors, meta = checkpoint.load(folder)
    lacking = [key for key in ("method", "config", "classes", "fingerprint", "seed") if key not in meta]
    if lacking:
        raise VlpromptError(f"{folder} lacks {', '.join(lacking)}; it is not a prompt that vlprompt saved.")
    if meta["fingerprint"] != backbone.fingerprint:
        raise VlpromptError(
            f"{folder} was trained with the backbone {meta.get('backbone')} ({meta['fingerprint']}), this is "
            f"{backbone.name} ({backbone.fingerprint}); load the one it belongs to."
        )
    learner = _of_meta(meta, backbone)
    learner.restore(tensors, str(folder))
    if classes is not None:
        learner.set_classes(classes)
    return learner.eval()


def _of_meta(meta: Mapping[str, Any], backbone: Any) -> PromptLearner[Any]:
    """The learner that a checkpoint speaks of, without its tensors; with the one it wraps, if it wraps one."""
    kind = learner_class(str(meta["method"]))
    config_type = type(next(iter(variants(str(meta["method"])).values())).config)
    config = make_config(config_type, meta["config"])
    if "over" in meta:
        return kind.over(_of_meta(meta["over"], backbone), config)
    return kind(backbone, meta["classes"], config, seed=meta["seed"])
