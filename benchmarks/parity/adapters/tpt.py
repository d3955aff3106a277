"""TPT from words, from a given context or on CoCoOp, by azshue/TPT's tpt_classification.py and clip/.

The official code marks the position of the class name in the initial words by [CLS]; its `tokenized_prompts` are ids of
the words without it. With CoCoOp it has a fault (see `reference_quirks`), which is replayed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.parity.adapters.cocoop import NAMES
from benchmarks.parity.adapters.coop import ids_as_stored
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import DEFAULT_BETAS, above_noise, name_lengths
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.learners import TPT, CoCoOp, CoCoOpConfig, CoOp, CoOpConfig, TPTConfig
from vlprompt.prompts.context_tuning import NAME, confident
from vlprompt.prompts.tuned_per_image import TunedPerImage

METHOD = r"tpt\b.*"
NETWORK = {theirs: ours for theirs, ours in NAMES.items() if theirs != "ctx"}
INPUTS = ("classnames", "views", "base_ctx", r"meta_net\..*")
MARK = "[CLS]"


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the context at the start to the scores after the last step."""
    clip = models.clip
    learner = build(case, clip)
    views = clip.encode_image(case.tensor("views"))  # (V, E)
    batch = Batch(torch.tensor([-1]), torch.tensor([0]), views=views[None])
    with torch.no_grad():
        answers = at_the_start(case, clip, learner, views)
    answers["logits_before"] = learner(batch).detach()
    losses, gradients, states, final = traced(learner, batch)
    shape = case.array("ctx_steps").shape[1:]  # (M, D), (C, M, D), or (1, M, D) on CoCoOp
    gradients, states = (each.reshape(len(each), *shape) for each in (gradients, states))
    return answers | {
        "loss_steps": losses,
        "grad_ctx_steps": gradients,
        "ctx_steps": above_noise(states, gradients[:1]),
        "logits_final": final,
    }


def on_cocoop(case: Case) -> bool:
    """Whether the context comes from a CoCoOp."""
    return "base_ctx" in case.arrays


def settings_of(case: Case) -> dict[str, Any]:
    """The settings of TPT and C-TPT; CaseError where the optimiser is not TPT's."""
    hyper = case.hyper
    optimizer = (str(hyper.get("optimizer", "AdamW")), list(hyper.get("betas", DEFAULT_BETAS)), hyper.get("eps", 1e-8))
    if optimizer != ("AdamW", DEFAULT_BETAS, 1e-8):
        raise CaseError(f"TPT's optimiser is AdamW with torch's betas and eps, not {optimizer}")
    return {
        "views": len(case.array("views")),
        "confident": float(hyper.get("selection_p", 0.1)),
        "steps": int(hyper.get("tta_steps", 1)),
        "lr": float(hyper.get("lr", 0.005)),
        "weight_decay": float(hyper.get("weight_decay", 0.01)),
        "reference_quirks": True,
    }


def build(case: Case, clip: Clip) -> TPT:
    """The learner of a case; CaseError where the optimiser is not TPT's."""
    hyper, names = case.hyper, case.words("classnames")
    words = str(hyper.get("ctx_init") or "")
    settings = TPTConfig(**settings_of(case))
    if on_cocoop(case):
        return TPT.over(cocoop(case, clip), settings)
    position, loaded = hyper.get("class_token_position", "end"), "coop" in case.method.lower()
    if words and not loaded and (MARK in words or position == "end"):
        return TPT(clip, names, replace(settings, words=words.replace(MARK, NAME)))
    context = case.tensor("ctx_init")
    coop = CoOp(clip, names, CoOpConfig(n_ctx=context.shape[-2], position=position, class_specific=context.ndim == 3))
    coop.restore({"context": context}, case.file)
    return TPT.over(coop, settings)


def cocoop(case: Case, clip: Clip) -> CoCoOp:
    """The CoCoOp of a case."""
    tensors = {"context": case.tensor("base_ctx")} | {ours: case.tensor(theirs) for theirs, ours in NETWORK.items()}
    reduction = clip.embed_dim // len(tensors[NETWORK["meta_net.linear1.bias"]])
    config = CoCoOpConfig(n_ctx=len(tensors["context"]), words="", reduction=reduction)
    learner = CoCoOp(clip, case.words("classnames"), config)
    learner.restore(tensors, case.file)
    return learner


def at_the_start(case: Case, clip: Clip, learner: TunedPerImage[Any], views: Tensor) -> dict[str, Any]:
    """Ids, the context, and the views' scores before adaptation."""
    words = str(case.hyper.get("ctx_init") or "").replace("_", " ").replace(MARK, "")
    context = learner.inner.initial_contexts(views[:1], reference_quirks=True)  # (1, M, D)
    scores = clip.scores(views, clip.encode_text(learner.inner.context_layout().fill(context)))
    log_p = scores.log_softmax(dim=-1)
    answers: dict[str, Any] = {
        "name_lens": name_lengths(clip, learner.classes),
        "ctx_init": context.reshape(case.array("ctx_init").shape) if "ctx_init" in case.arrays else context,
        "pgen_ctx": context,
        "logits_views": scores,
        "entropy_views": -(log_p.exp() * log_p).sum(dim=-1),
        "selected_idx": confident(scores, learner.config.confident),
    }
    if "tokenized_prompts" in case.arrays:
        answers["tokenized_prompts"] = ids_as_stored(case, clip, learner.inner.context_layout(), words)
    if isinstance(learner.inner, CoCoOp):
        plain = Batch(torch.tensor([-1]), torch.tensor([0]), features=views[:1])
        answers["cocoop_logits_view0"] = learner.inner.predict(plain)
    return answers


def traced(learner: TunedPerImage[Any], batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (steps,), gradients and contexts (steps, 1, n, D) of the adaptation, and the scores at its end."""
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    states: list[Tensor] = []
    objective = learner.objective

    def recording(scores: Tensor, text: Tensor) -> Tensor:
        loss = objective(scores, text)
        losses.append(loss.detach())
        return loss

    def after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        (context,) = optimizer.param_groups[0]["params"]
        gradients.append(context.grad.clone())
        states.append(context.detach().clone())

    hook = register_optimizer_step_post_hook(after_step)
    learner.objective = recording
    try:
        final = learner.predict(batch)
    finally:
        hook.remove()
        del learner.objective
    return torch.stack(losses), torch.stack(gradients), torch.stack(states), final
