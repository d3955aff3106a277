"""CoOp: a few steps on one batch, by CoOp's trainers/coop.py.

The official `tokenized_prompts` are ids of the text "X X X X name." (or of the initial words and the name) wherever the
name stands in the prompt itself: the "middle" and "front" prompts are rearranged as embeddings only. So our ids are
compared with the learned slots moved to the front, plus the position of end-of-text, which no rearrangement changes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import batch_of, gradients, trace, train_config, where_told
from vlprompt.backbones import Clip
from vlprompt.data.loaders import FeatureBatches
from vlprompt.layout import PromptLayout
from vlprompt.learners import CoOp, CoOpConfig
from vlprompt.templates import readable

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
    config = train_config(case, epochs=_steps(case), batch_size=len(batch))
    assert batch.features is not None
    steps = trace(learner, FeatureBatches(batch.features, batch.labels, batch_size=len(batch)), config)
    with torch.no_grad():
        after = learner.loss(batch)
    return answers | {
        "loss_steps": torch.stack([*steps.losses, after]),
        "ctx_steps": where_told(config, steps.stacked("context"), gradient),
        "logits_final": learner.predict(batch),
    }


def _steps(case: Case) -> int:
    return int(case.hyper["steps"]) if "steps" in case.hyper else len(case.array("ctx_steps"))


def build(case: Case, clip: Clip) -> CoOp:
    """The learner with the case's initial context."""
    context = case.tensor("ctx_init")
    config = CoOpConfig(
        n_ctx=int(case.hyper.get("n_ctx", context.shape[-2])),
        position=case.hyper.get("class_token_position", "end"),
        class_specific=context.ndim == 3,  # the official code drops csc without a word where there are initial words
    )
    learner = CoOp(clip, case.words("classnames"), config)
    learner.restore({"context": context}, case.file)
    return learner


def start(case: Case, clip: Clip, learner: CoOp) -> dict[str, Any]:
    """What the prompts are made of: name lengths, ids, embeddings, and the context where it starts from words."""
    names, words = case.words("classnames"), str(case.hyper.get("ctx_init") or "")
    prompt = learner.prompt()
    rows = torch.cat([prompt.prefix.expand(len(names), -1, -1), prompt.suffix], dim=1)  # (C, P + S, D)
    ends = prompt.prefix.shape[1] + prompt.ends
    read = torch.arange(rows.shape[1]) <= ends[:, None]
    answers: dict[str, Any] = {
        "name_lens": torch.tensor([len(clip.tokenizer.pieces(readable(name))) for name in names]),
        "tokenized_prompts": ids_as_stored(case, clip, learner.layout, words),
        "prompts": Answer(rows, where=read[..., None].expand_as(rows).numpy(), note="up to end-of-text"),
    }
    if words:
        began = CoOp(clip, names, CoOpConfig(words=words, class_specific=learner.config.class_specific))
        answers["ctx_init"] = began.context
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
