"""The shallow baseline of P-tuning v2: soft tokens before [CLS], a linear head on it, texts embedded twice."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.parity.adapters.prompt_tuning import in_front
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze.prompt_tuning import embedded

METHOD = r"shallow prompt baseline of P-tuning v2.*"
INPUTS = ("labels", "prompts", "(pooler|classifier)_.*")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Scores, loss and the prompts' gradient with the case's own pooler (a masked model brings none) and classifier."""
    lm, prompts = models.lm(case.backbone), case.tensor("prompts").requires_grad_()
    texts = in_front(case, len(prompts), case.tensor("attention_mask")[:, 0] * 0)  # [CLS] is read
    first = lm.hidden(*embedded(lm, texts, Steering(prompts)))
    pooled = F.linear(first, case.tensor("pooler_weight"), case.tensor("pooler_bias")).tanh()
    logits = F.linear(pooled, case.tensor("classifier_weight"), case.tensor("classifier_bias"))
    loss = F.cross_entropy(logits, case.tensor("labels"))
    (gradient,) = torch.autograd.grad(loss, prompts)
    ids = {name: case.array(name) for name in ("input_ids", "attention_mask")}
    return {**ids, "logits": logits, "loss": loss, "grad_prompts": gradient}
