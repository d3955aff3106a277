"""Which parameters each baseline of VPT trains, by KMnP/vpt's src/models/vit_models.py: names and numbers.

Types that vlprompt does not have (a trainable class token, prompts that are not trained) are inputs; prompt+bias is
what VPT-shallow and bias train together.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import Learner
from vlprompt import learners, methods

METHOD = r"which parameters each vpt baseline trains"
INPUTS = (r"\w+__(cls|cls\+prompt|prompt-noupdate)",)
ALIKE = {"linear": "linear", "tinytl-bias": "bias", "end2end": "full"}
LAYER = "enc.transformer.encoder.layer.{0}."
# A pattern of our names (timm's, for parameters of the model); their names; the goldens' names of timm's parameters.
RULES: tuple[tuple[str, Sequence[str], Sequence[str]], ...] = (
    (r"head\.(\w+)", ["head.last_layer.{0}"], ["head.last_layer.{0}"]),
    (r"hidden\.(\d+)\.0\.(\w+)", ["head.projection.{4*0}.{1}"], ["head.projection.{4*0}.{1}"]),
    (r"hidden\.(\d+)\.2\.(\w+)", ["head.projection.{4*0+2}.{1}"], ["head.projection.{4*0+2}.{1}"]),
    (
        r"bottlenecks\.(\d+)\.(down|up)\.(\w+)",
        [LAYER + "adapter_{1}sample.{2}"],
        ["transformer.encoder.layer.{0}.adapter_{1}sample.{2}"],
    ),
    (r"blocks\.(\d+)\.norm1\.(\w+)", [LAYER + "attention_norm.{1}"], ["blocks.{0}.norm1.{1}"]),
    (r"blocks\.(\d+)\.norm2\.(\w+)", [LAYER + "ffn_norm.{1}"], ["blocks.{0}.norm2.{1}"]),
    (r"blocks\.(\d+)\.mlp\.(\w+)\.(\w+)", [LAYER + "ffn.{1}.{2}"], ["blocks.{0}.mlp.{1}.{2}"]),
    (
        r"blocks\.(\d+)\.attn\.qkv\.(\w+)",
        [LAYER + f"attn.{part}.{{1}}" for part in ("query", "key", "value")],
        [f"blocks.{{0}}.attn.qkv.{{1}}[{part}]" for part in "qkv"],
    ),
    (r"blocks\.(\d+)\.attn\.proj\.(\w+)", [LAYER + "attn.out.{1}"], ["blocks.{0}.attn.proj.{1}"]),
    (r"norm\.(\w+)", ["enc.transformer.encoder.encoder_norm.{0}"], ["norm.{0}"]),
    (r"patch_embed\.proj\.(\w+)", ["enc.transformer.embeddings.patch_embeddings.{0}"], ["patch_embed.proj.{0}"]),
    (r"pos_embed", ["enc.transformer.embeddings.position_embeddings"], ["pos_embed"]),
    (r"cls_token", ["enc.transformer.embeddings.cls_token"], ["cls_token"]),
    (r"prompts", ["enc.transformer.prompt_embeddings"], ["transformer.prompt_embeddings"]),
    (r"deep_prompts", ["enc.transformer.deep_prompt_embeddings"], ["transformer.deep_prompt_embeddings"]),
)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Names and counts of every type that the case holds."""
    answers: dict[str, Any] = {}
    for stored in case.arrays:
        kind, _, transfer = stored.partition("__")
        sizes = trained(transfer, case, models)
        if sizes is None:
            continue
        if kind == "count":
            answers[stored] = torch.tensor(sum(sizes.values()))
        else:
            found = sorted(each for name in sizes for each in renamed(name, 0 if kind == "names" else 1))
            answers[stored] = Answer(np.array(found), stored=np.sort(case.array(stored)), note="in alphabetical order")
    return answers


def trained(transfer: str, case: Case, models: Models) -> dict[str, int] | None:
    """The parameters that we train in a type of theirs: sizes by name; None for a type that we lack."""
    if transfer == "prompt+bias":
        prompt, bias = trained("prompt", case, models), trained("tinytl-bias", case, models)
        return (prompt or {}) | (bias or {})
    learner = learner_of(transfer, case, models)
    if learner is None:
        return None
    sizes = {name.removeprefix("weights.copies."): p.numel() for name, p in learner.trainable().items()}
    sizes = {name.replace("-", "."): size for name, size in sizes.items()}
    if transfer == "prompt-deep":  # theirs has the first layer's prompts separately
        each = sizes["prompts"] // learner.backbone.vision_layers
        sizes |= {"deep_prompts": sizes["prompts"] - each, "prompts": each}
    return sizes


def learner_of(transfer: str, case: Case, models: Models) -> Learner | None:
    """Our learner for a type of theirs."""
    vit, names = models.vit, vision.classes(case)
    kind, _, number = transfer.partition("-")
    tokens = int(case.hyper.get("num_tokens", 1))
    if transfer in ALIKE:
        kind_of = methods.learner_class(ALIKE[transfer])
        return kind_of(vit, names, methods.variant(ALIKE[transfer])[1].config)
    if transfer in ("prompt", "prompt-deep"):
        depth = 1 if transfer == "prompt" else vit.vision_layers
        return learners.VPT(vit, names, learners.VPTConfig(n_prompts=tokens, depth=depth))
    if transfer == "adapter":
        return learners.Adapter(vit, names, learners.AdapterConfig(reduction=int(case.hyper["reduction_factor"])))
    if kind == "partial":
        return learners.Partial(vit, names, learners.PartialConfig(k=int(number)))
    return learners.MLP(vit, names, learners.MLPConfig(k=int(number) + 1)) if kind == "mlp" else None


def renamed(name: str, which: int) -> list[str]:
    """Our name in their code (0) or in the goldens' timm (1); one of ours may be several of theirs."""
    for pattern, *forms in RULES:
        found = re.fullmatch(pattern, name)
        if found:
            groups = found.groups()
            return [_filled(form, groups) for form in forms[which]]
    return [name]


def _filled(form: str, groups: Sequence[str]) -> str:
    """A form with its groups; a group may be multiplied by 4 and increased by 2."""
    place = re.compile(r"\{(4\*)?(\d)(\+2)?\}")
    return place.sub(lambda m: str(4 * int(groups[int(m[2])]) + 2 * bool(m[3])) if m[1] else groups[int(m[2])], form)
