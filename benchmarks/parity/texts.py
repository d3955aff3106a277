"""What the goldens of language models share: texts, OpenPrompt's templates, positions to read, an optional head."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze.parts.base import ClozeLearner
from vlprompt.data.batch import Batch
from vlprompt.data.images import Example
from vlprompt.data.texts import Text


def template_of(case: Case) -> str:
    """OpenPrompt's template in our syntax: {"placeholder":"text_a"} is {text_a}, {"soft":"it"} is {soft:it}."""

    def slot(found: re.Match[str]) -> str:
        kind, value = found[1], found[2]
        return {"placeholder": f"{{{value}}}", "mask": "{mask}"}.get(kind, f"{{soft:{value or 1}}}")

    return re.sub(r'\{"(\w+)"(?::\s*"([^"]*)")?\}', slot, str(case.hyper["template"]))


def examples(case: Case) -> Batch:
    """The case's examples as a batch of texts."""
    rows = [row if isinstance(row, Mapping) else {"text_a": row[0], "text_b": row[1]} for row in case.hyper["examples"]]
    texts = tuple(Text(tuple((name, str(words)) for name, words in row.items() if words)) for row in rows)
    return Batch(case.tensor("labels"), torch.arange(len(rows)), texts=texts)


def labelled(pairs: Sequence[tuple[str, int]]) -> list[Example]:
    """Texts with labels as examples."""
    return [Example(Text.of(text=text), int(label)) for text, label in pairs]


def batch_of_pairs(pairs: Sequence[tuple[str, int]]) -> Batch:
    """The same as a batch."""
    made = Batch.of_texts([text for text, _ in pairs])
    return replace(made, labels=torch.tensor([int(label) for _, label in pairs]))


def words_of(case: Case) -> tuple[tuple[str, ...], ...]:
    """The label words of each class."""
    return tuple(tuple(own) for own in case.hyper["label_words"])


def classes_of(words: Sequence[Sequence[str]]) -> list[str]:
    """Names for classes that have none."""
    return [f"class {number}" for number in range(len(words))]


def pieces(lm: LanguageModel, words: Sequence[Sequence[str]], depth: int) -> tuple[Tensor, Tensor]:
    """(C, W, depth) ids of the label words' pieces, zero padded, and a mask of those that exist."""
    longest = max(len(own) for own in words)
    ids, mask = torch.zeros(2, len(words), longest, depth, dtype=torch.long)
    for label, own in enumerate(words):
        for number, word in enumerate(own):
            found = lm.vocabulary.pieces(" " + word)
            ids[label, number, : len(found)] = torch.tensor(found)
            mask[label, number, : len(found)] = 1
    return ids, mask


def as_stored(case: Case, name: str, ours: Tensor) -> Answer:
    """Our rows (B, T') padded to the width of the stored ones, compared where there is a token."""
    stored, mask = case.array(name), case.array("attention_mask").astype(bool)
    wide = np.zeros_like(stored)
    wide[:, : ours.shape[1]] = ours.numpy()[:, : stored.shape[1]]
    return Answer(wide, where=mask, note="where there is a token")


def gradients(loss: Tensor, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The gradients of a loss for the trainable parameters of a module, by name."""
    parameters: dict[str, Any] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    for (name, parameter), gradient in zip(parameters.items(), found, strict=True):
        yield name, torch.zeros_like(parameter) if gradient is None else gradient


def reads(case: Case) -> Tensor:
    """(B,) the position whose logits the case reads; 0 where it reads its decoder."""
    read = torch.from_numpy((case.array("loss_ids") == 1).argmax(1).astype(np.int64))
    return torch.zeros_like(read) if "decoder_input_ids" in case.arrays else read


def stored_ids(case: Case) -> dict[str, Any]:
    """The case's ids and mask, where they are inputs."""
    return {name: case.array(name) for name in ("input_ids", "attention_mask")}


def head_scores(case: Case, first: Tensor, classifier: Tensor | None = None) -> Tensor:
    """(B, C) by the case's own pooler and classifier on the first token's state (B, D).

    (A masked language model has no pooler.) `classifier` replaces the case's weights (C, D).
    """
    pooled = F.linear(first, case.tensor("pooler_weight"), case.tensor("pooler_bias")).tanh()
    weight = case.tensor("classifier_weight") if classifier is None else classifier
    return F.linear(pooled, weight, case.tensor("classifier_bias"))


def answers_at(case: Case, learner: ClozeLearner[Any], texts: Sequences) -> tuple[Tensor, dict[str, Any]]:
    """The loss, and the case's ids, scores at the mask and class scores."""
    lm = learner.lm
    scores = lm.scores(texts, torch.arange(lm.vocabulary_size), learner.soft_prompt())  # (B, V)
    logits = learner.verbalizer(scores[:, learner.verbalizer.ids])
    loss = F.cross_entropy(logits, case.tensor("labels"))
    ids, _ = pieces(lm, learner.config.words, case.array("label_words_ids").shape[2])
    return loss, {**stored_ids(case), "mask_logits": scores, "logits": logits, "loss": loss, "label_words_ids": ids}
