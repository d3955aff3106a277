"""The shallow baseline of P-tuning v2: soft tokens before [CLS], a linear head on it, texts embedded twice."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity.adapters.prompt_tuning import in_front
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import head_scores, stored_ids
from vlprompt.backbones.lm_inputs import SoftPrompt
from vlprompt.cloze.prompt_tuning import embed_words

METHOD = r"shallow prompt baseline of P-tuning v2.*"
INPUTS = ("labels", "prompts", "(pooler|classifier)_.*")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Scores, loss and the prompts' gradient with the case's own pooler and classifier."""
    lm, prompts = models.lm(case.backbone), case.tensor("prompts").requires_grad_()
    texts = in_front(case, len(prompts), case.tensor("attention_mask")[:, 0] * 0)  # [CLS] is read
    logits = head_scores(case, lm.hidden(*embed_words(lm, texts, SoftPrompt(prompts))))
    loss = F.cross_entropy(logits, case.tensor("labels"))
    (gradient,) = torch.autograd.grad(loss, prompts)
    return {**stored_ids(case), "logits": logits, "loss": loss, "grad_prompts": gradient}
