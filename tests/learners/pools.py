"""The three methods with pools of prompts at a small size, and the check of their equations."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, stirred, task
from vlprompt import methods
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.data.batch import Batch
from vlprompt.learners import CODAPromptConfig, DualPromptConfig, L2PConfig

FIRST, ALL = NAMES[:2], NAMES[:4]
CONFIGS: dict[str, Any] = {
    "l2p": L2PConfig(pool=6, length=3, top=2),
    "dual_prompt": DualPromptConfig((0,), (1, 2), 2, 3),
    "coda_prompt": CODAPromptConfig(components=3, length=4, layers=(0, 2), ortho=0.3),
}

# A learner, an image and its query -> the image's scores, and what its loss subtracts, as in the paper's equations.
Plain = Callable[[Any, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def build(method: str, vit: vp.Vit, tasks: int = 1, **changes: Any) -> Any:
    """A learner at its second task if there are two, every tensor stirred."""
    config = type(CONFIGS[method])(**{**vars(CONFIGS[method]), **changes})
    learner = methods.learner_class(method)(vit, FIRST if tasks > 1 else ALL, config)
    if tasks > 1:
        learner.begin_task(task(ALL, 2, 3))
    return stirred(learner)


def scored(learner: Any, image: torch.Tensor, pairs: Any) -> torch.Tensor:
    """The scores of one image with keys and values of some layers."""
    prompt = VisualPrompt(prefixes={layer: (pair[0], pair[1]) for layer, pair in pairs.items()})
    return learner.head.weight @ learner.backbone.encode_image(image[None], prompt)[0] + learner.head.bias


def check_equations(learner: Any, plain: Plain) -> None:
    """Scores, loss and gradients are those of the equations, image by image."""
    batch = batch_for(learner.backbone)
    batch = Batch(2 + batch.labels % 2, batch.index, images=batch.images, features=batch.features)
    assert batch.images is not None
    assert batch.features is not None
    each = [plain(learner, image, query) for image, query in zip(batch.images, batch.features, strict=True)]
    scores = torch.stack([row for row, _ in each])
    if learner.training:
        scores = torch.cat([torch.full_like(scores[:, :2], -torch.inf), scores[:, 2:]], dim=1)
    assert torch.allclose(learner(batch), scores, rtol=1e-9, atol=1e-9)
    wanted = F.cross_entropy(scores, batch.labels) - torch.stack([off for _, off in each]).mean()
    loss = learner.loss(batch)
    assert torch.allclose(loss, wanted, rtol=1e-9)
    parameters = list(learner.trainable().values())
    ours, theirs = (
        torch.autograd.grad(each, parameters, allow_unused=True, materialize_grads=True) for each in (loss, wanted)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9)
