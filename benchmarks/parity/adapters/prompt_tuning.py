"""OpenPrompt's soft and mixed templates: prompts/soft_template.py, prompts/mixed_template.py."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.texts import answers_at, as_stored, classes_of, examples, reads, template_of, words_of
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze import PromptTuning, PromptTuningConfig

METHOD = r"prompt tuning \(Lester et al\. 2021\), soft template|mixed template \(hard and soft tokens\)"
INPUTS = ("labels", "loss_ids", "decoder_input_ids", "soft_token_ids")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Scores, loss and gradients with the stored soft tokens."""
    lm, words = models.lm(case.backbone), words_of(case)
    before = "param__soft_embeds" in case.arrays  # in front of all tokens, also [CLS]
    name = "soft_embeds" if before else "soft_embedding.weight"
    soft = case.tensor(f"param__{name}")
    config = PromptTuningConfig(
        template_of(case), words, "mean_log_prob", "first", int(case.hyper["max_seq_length"]), length=len(soft)
    )
    learner = PromptTuning(lm, classes_of(words), config)
    # Theirs numbers soft tokens from 1; row 0 of the table is not used.
    learner.tokens.data.copy_(soft if before else soft[1 : 1 + len(learner.tokens)])
    answers: dict[str, Any] = {}
    if before:
        texts = in_front(case, len(soft), reads(case))
    else:
        texts = learner.sequences(examples(case))
        rows = {"input_ids": texts.ids * (texts.slots < 0), "attention_mask": texts.mask}
        answers |= {key: as_stored(case, key, value) for key, value in rows.items()}
    loss, found = answers_at(case, learner, texts)
    (gradient,) = torch.autograd.grad(loss, learner.tokens)
    shift = 0 if before else 1
    whole = torch.zeros_like(soft)
    whole[shift : shift + len(gradient)] = gradient
    own = {f"grad__{name}": whole, f"param__{name}": soft, "inputs_embeds": embeds(case, learner, texts)}
    return answers | found | own


def in_front(case: Case, length: int, read: Tensor) -> Sequences:
    """The stored rows with soft tokens before their first token."""
    ids, mask = case.tensor("input_ids"), case.tensor("attention_mask")
    batch = len(ids)
    soft = torch.arange(length).expand(batch, -1)
    slots = torch.cat([soft, torch.full_like(ids, -1)], dim=1)
    ids = torch.cat([soft * 0, ids * mask], dim=1)
    return Sequences(ids, torch.cat([torch.ones_like(soft), mask], dim=1), read + length, slots)


def embeds(case: Case, learner: Any, texts: Sequences) -> Any:
    """Our input embeddings padded to the width of the stored ones, compared where there is a token."""
    if "inputs_embeds" not in case.arrays:
        raise CaseError("the case lacks 'inputs_embeds'")
    stored = case.array("inputs_embeds")
    ours = learner.backbone.inputs(texts, learner.soft_prompt())["inputs_embeds"].detach()
    ours = F.pad(ours, (0, 0, 0, stored.shape[1] - ours.shape[1]))
    mask = F.pad(texts.mask, (0, stored.shape[1] - texts.mask.shape[1])).bool()[..., None]
    return Answer(ours, where=np.broadcast_to(mask.numpy(), stored.shape), note="where there is a token")
