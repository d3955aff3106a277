"""CoOp: a few steps on one batch, by CoOp's trainers/coop.py.

The official `tokenized_prompts` are ids of the text "X X X X name." (or of the initial words and the name), whatever
the position of the name in the prompt: "middle" and "front" prompts are rearranged as embeddings only. So they are
compared with our ids after moving the learned slots to the front; and the position of end-of-text, which does not move,
directly.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, after_steps, batch_of, gradients, name_lengths, trace, train_config
from vlprompt.backbones import Clip
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.prompts.context import PromptLayout

METHOD = r"coop(?![/\w])(?!.*\b(schedule|split|sampling)).*"
INPUTS = ("classnames", "images", "labels", "ctx_init")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the context after some steps of `fit`."""
    learner = build(case, models.clip)
    batch = batch_of(models.clip, learner, case.tensor("images"), case.tensor("labels"))
    answers = start(case, models.clip, learner)
    with torch.no_grad():
        answers |= {"text_features": learner.text()[0], "logits": learner.predict(batch), "loss": learner.loss(batch)}
    gradient = answers["grad_ctx"] = gradients(learner, batch)["context"]
    count = int(case.hyper["steps"]) if "steps" in case.hyper else len(case.array("ctx_steps"))
    config = train_config(case, epochs=count, batch_size=len(batch))
    steps = trace(learner, OneBatch(batch), config)
    with torch.no_grad():
        after = learner.loss(batch)
    return answers | {
        "loss_steps": torch.stack([*steps.losses, after]),
        "ctx_steps": after_steps(config, steps.stacked("context"), gradient),
        "logits_final": learner.predict(batch),
    }


def build(case: Case, clip: Clip) -> CoOp:
    """The learner with the case's initial context."""
    context = case.tensor("ctx_init")
    config = CoOpConfig(
        n_ctx=int(case.hyper.get("n_ctx", context.shape[-2])),
        position=case.hyper.get("class_token_position", "end"),
        class_specific=context.ndim == 3,  # the official code ignores CSC silently where there are initial words
    )
    learner = CoOp(clip, case.words("classnames"), config)
    learner.restore({"context": context}, case.file)
    return learner


def start(case: Case, clip: Clip, learner: CoOp) -> dict[str, Any]:
    """The parts of the prompts: name lengths, ids, embeddings, and the context where it is initialised from words."""
    names, words = case.words("classnames"), str(case.hyper.get("ctx_init") or "")
    prompt = learner.prompt()
    rows = torch.cat([prompt.prefix.expand(len(names), -1, -1), prompt.suffix], dim=1)  # (C, P + S, D)
    ends = prompt.prefix.shape[1] + prompt.ends
    read = torch.arange(rows.shape[1]) <= ends[:, None]
    answers: dict[str, Any] = {
        "name_lens": name_lengths(clip, names),
        "tokenized_prompts": ids_as_stored(case, clip, learner.layout, words),
        "prompts": Answer(rows, where=read[..., None].expand_as(rows).numpy(), note="up to end-of-text"),
    }
    if words:
        from_words = CoOp(clip, names, CoOpConfig(words=words, class_specific=learner.config.class_specific))
        answers["ctx_init"] = from_words.context
    return answers


def ids_as_stored(case: Case, clip: Clip, layout: PromptLayout, words: str) -> Answer:
    """Our ids (C, L) with the learned slots moved to the front, and a column with the position of end-of-text."""
    ids, tokens = layout.ids, clip.tokenizer
    rows = torch.cat([layout.prefix_index.expand(len(ids), -1), layout.suffix_index], dim=1)  # (C, P + S)
    ends = len(layout.prefix_index) + layout.ends
    slots = (rows < layout.slots) & (torch.arange(rows.shape[1]) <= ends[:, None])
    slots = torch.cat([slots, torch.zeros_like(ids[:, rows.shape[1] :], dtype=torch.bool)], dim=1)  # (C, L)
    moved = []
    for row, slot in zip(ids, slots, strict=True):
        context = torch.tensor(tokens.pieces(words.replace("_", " "))) if words else row[slot]
        rest = row[~slot]
        moved.append(torch.cat([rest[: len(tokens.lead)], context, rest[len(tokens.lead) :]]))
    stored = case.array("tokenized_prompts")
    with_end = np.concatenate([stored, stored.argmax(axis=-1, keepdims=True)], axis=1)
    return Answer(torch.cat([torch.stack(moved), ends[:, None]], dim=1), stored=with_end)
