"""C-TPT by hee-suk-yoon/C-TPT's tpt_classification.py."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.adapters.tpt import MARK, at_the_start, settings_of, traced
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import above_noise
from vlprompt.data.batch import Batch
from vlprompt.learners import CTPT, CTPTConfig
from vlprompt.prompts.context_tuning import NAME, dispersion, marginal_entropy

METHOD = r"c-?tpt\b.*"
INPUTS = ("classnames", "views")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Everything from the context at the start to the scores after the last step."""
    words = str(case.hyper["ctx_init"]).replace(MARK, NAME)
    config = CTPTConfig(words=words, strength=float(case.hyper["lambda"]), **settings_of(case))
    learner = CTPT(models.clip, case.words("classnames"), config)
    views = models.clip.encode_image(case.tensor("views"))  # (V, E)
    batch = Batch(torch.tensor([-1]), torch.tensor([0]), views=views[None])
    with torch.no_grad():
        answers = at_the_start(case, models.clip, learner, views)
        answers["logits_before"] = learner(batch)
    parts: list[tuple[Tensor, Tensor]] = []
    objective = learner.objective

    def recording(scores: Tensor, text: Tensor) -> Tensor:
        parts.append((marginal_entropy(scores).detach(), dispersion(text).detach()))
        return objective(scores, text)

    learner.objective = recording
    losses, gradients, states, final = traced(learner, batch)
    return answers | {
        "entropy_steps": torch.stack([entropy for entropy, _ in parts]),
        "dispersion_loss_steps": torch.stack([spread for _, spread in parts]),
        "loss_steps": losses,
        "grad_ctx_steps": gradients[:, 0],
        "ctx_steps": above_noise(states[:, 0], gradients[:1, 0]),
        "logits_final": final,
    }
