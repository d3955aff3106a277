"""DAPL: a few steps on one source and one target batch, by DAPrompt's trainers/dapl.py.

The official logits are [source prompts | target prompts | zero-shot head], 3K columns; so are the rows of its ids and
of its prompts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.training import OneBatch, batch_of, gradients, name_lengths, trace, train_config
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.templates import Template
from vlprompt.learners.dapl import DAPL, DAPLConfig

METHOD = r"dapl.*"
INPUTS = ("classnames", "images_x", "labels_x", "images_u", r"init\..*")
NAMES = {"ctx": "context", "domain_vectors": "domain_context"}
HEAD = Template("a photo of a {}.")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the ids to the target's logits after some steps of `fit`."""
    clip, learner = models.clip, build(case, models.clip)
    target = batch_of(clip, learner, case.tensor("images_u"))
    source = batch_of(clip, learner, case.tensor("images_x"), case.tensor("labels_x"))
    batch = replace(source, domains=torch.zeros_like(source.labels), unlabelled=target)
    answers = texts(clip, learner) | at_the_start(clip, learner, batch, target)
    gradient = gradients(learner, batch)
    config = train_config(case, epochs=int(case.hyper["steps"]), batch_size=len(batch))
    began = {name: parameter.detach().clone() for name, parameter in learner.trainable().items()}
    steps = trace(learner, OneBatch(batch), config)
    for theirs, ours in NAMES.items():
        answers[f"grad.{theirs}"] = gradient[ours]
        for number, state in enumerate(steps.states, start=1):
            answers[f"step{number}.{theirs}"] = state[ours]
    answers |= {"loss_steps": torch.stack(steps.losses), "logits_test_final": learner.predict(target)}
    terms = [terms_at(learner, state, batch, case.file) for state in (began, *steps.states[:-1])]
    on_source, on_target = (torch.stack(each) for each in zip(*terms, strict=True))
    return answers | {"loss_x_steps": on_source, "loss_u_steps": on_target}


def build(case: Case, clip: Clip) -> DAPL:
    """The learner with the case's initial contexts, and the released code's words and faults."""
    hyper = case.hyper
    config = DAPLConfig(
        n_ctx=int(hyper["n_ctx"]),
        n_domain_ctx=int(hyper["n_dmx"]),
        class_specific=bool(hyper["csc"]),
        domains=(*hyper["source_domains"], *hyper["target_domains"]),
        temperature=float(hyper["T"]),
        tau=float(hyper["TAU"]),
        weight=float(hyper["U"]),
        reference_quirks=True,
    )
    learner = DAPL(clip, case.words("classnames"), config)
    learner.restore({ours: case.tensor(f"init.{theirs}") for theirs, ours in NAMES.items()}, case.file)
    return learner


def texts(clip: Clip, learner: DAPL) -> dict[str, Any]:
    """Lengths of names, ids (3K, L), and prompts as embeddings (3K, L', D) up to end-of-text."""
    prompt = learner.prompt()
    head = clip.tokenizer([HEAD(name) for name in learner.classes])
    prefix = prompt.prefix[:, None].expand(-1, len(learner.classes), -1, -1)
    learned = torch.cat([prefix, prompt.suffix], dim=2).flatten(0, 1)  # (2K, P + S, D)
    rows = torch.cat([learned, clip.embed_tokens(head[:, : learned.shape[1]])])
    ends = torch.cat([(prompt.prefix.shape[1] + prompt.ends).flatten(), head.argmax(dim=-1)])
    read = torch.arange(rows.shape[1]) <= ends[:, None]
    return {
        "name_lens": name_lengths(clip, learner.classes),
        "tokenized_prompts": torch.cat([*prompt.ids, head]),
        "prompts": Answer(rows, where=read[..., None].expand_as(rows).numpy(), note="up to end-of-text"),
    }


@torch.no_grad()
def at_the_start(clip: Clip, learner: DAPL, source: Batch, target: Batch) -> dict[str, Any]:
    """All logits and the pseudo-labels before the first step."""
    text = torch.cat([learner.text().flatten(0, 1), learner.frozen])  # (3K, E)
    confidence, labels = learner.pseudo_labels(target)
    return {
        "logits_x": clip.scores(features_of(source), text),
        "logits_u": clip.scores(features_of(target), text),
        "pseudo_prob": confidence,
        "pseudo_label": labels,
        "mask": (confidence >= learner.config.tau).long(),
    }


@torch.no_grad()
def terms_at(learner: DAPL, state: Mapping[str, Tensor], batch: Batch, source: str) -> tuple[Tensor, Tensor]:
    """The two terms of the loss for other values of the trainable tensors; the learner does not change."""
    now = {name: parameter.detach().clone() for name, parameter in learner.trainable().items()}
    learner.restore(state, source)
    terms = learner.losses(batch)
    learner.restore(now, source)
    return terms
