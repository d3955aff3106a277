"""What the goldens of MaPLe, IVLP and PromptSRC share: images, and trainable tensors under official names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.training import Learner, Trace, name_lengths
from vlprompt.backbones import Clip
from vlprompt.learners import IVLP, PromptSRC
from vlprompt.prompts.context import PromptLayout

INPUTS = ("classnames", "images", "labels", r"init\..*")
SHALLOW = "resblocks.{}.VPT_shallow"  # the name of the prompt of an official block

Places = Mapping[str, tuple[str, int | None]]  # official name -> our tensor, and which of its rows


def settings(case: Case) -> dict[str, Any]:
    """The settings that IVLP and PromptSRC share."""
    hyper = case.hyper
    return {
        "n_text": int(hyper["n_ctx_text"]),
        "depth_text": int(hyper["prompt_depth_text"]),
        "n_vision": int(hyper["n_ctx_vision"]),
        "depth_vision": int(hyper["prompt_depth_vision"]),
        "words": str(hyper.get("ctx_init") or ""),
    }


def begin_independent(case: Case, learner: IVLP | PromptSRC) -> tuple[dict[str, Any], Places]:
    """Answers of an IVLP's or PromptSRC's texts and own initialisation; then give it the case's initial values."""
    config, prompts = learner.config, learner.prompts
    answers = texts(case, learner.backbone, learner.layout)
    if config.words and prompts.text is not None:
        answers["init.prompt_learner.ctx"] = prompts.text.detach()[0].clone()
    places = independent(config.depth_text, config.depth_vision)
    begin(case, learner, places)
    return answers, places


def independent(depth_text: int, depth_vision: int) -> Places:
    """The places of IVLP's and PromptSRC's official prompts in our tensors."""
    places: dict[str, tuple[str, int | None]] = {
        "prompt_learner.ctx": ("prompts.text", 0),
        "image_encoder.VPT": ("prompts.vision", 0),
    }
    for layer in range(1, depth_text):
        places[f"text_encoder.transformer.{SHALLOW.format(layer)}"] = ("prompts.text", layer)
    for layer in range(1, depth_vision):
        places[f"image_encoder.transformer.{SHALLOW.format(layer)}"] = ("prompts.vision", layer)
    return places


def begin(case: Case, learner: Learner, places: Places) -> None:
    """Give the trainable tensors the case's initial values."""
    tensors = {name: parameter.detach().clone() for name, parameter in learner.trainable().items()}
    for official, (name, row) in places.items():
        value = case.tensor(f"init.{official}")
        if row is None:
            tensors[name] = value
        else:
            tensors[name][row] = value
    learner.restore(tensors, case.file)


def named(prefix: str, tensors: Mapping[str, Tensor], places: Places) -> dict[str, Tensor]:
    """Our tensors under official names."""
    return {f"{prefix}.{o}": tensors[name] if row is None else tensors[name][row] for o, (name, row) in places.items()}


def after_steps(steps: Trace, places: Places) -> dict[str, Tensor]:
    """The trainable tensors after each step, under official names."""
    answers: dict[str, Tensor] = {}
    for number, state in enumerate(steps.states, start=1):
        answers |= named(f"step{number}", state, places)
    return answers


def texts(case: Case, clip: Clip, layout: PromptLayout) -> dict[str, Any]:
    """Lengths of names, and ids with the initial words in the slots of the learned tokens."""
    words = str(case.hyper.get("ctx_init") or "").replace("_", " ")
    ids, first = layout.ids.clone(), len(clip.tokenizer.lead)
    if words:
        ids[:, first : first + layout.slots] = torch.tensor(clip.tokenizer.pieces(words))[: layout.slots]
    return {"name_lens": name_lengths(clip, case.words("classnames")), "tokenized_prompts": ids}
