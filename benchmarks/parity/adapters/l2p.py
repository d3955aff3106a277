"""L2P by JH-LEE-KR/l2p-pytorch: prompt.py, vision_transformer.py and engine.py.

It adds the class token's position embedding to every prompt; ours include it from the start.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity import vision
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.data.batch import Batch, features_of, images_of
from vlprompt.learners.l2p import L2P, L2PConfig
from vlprompt.training.metrics import top1

METHOD = r"l2p, learning to prompt.*"
INPUTS = ("images", "labels", "task_classes", "pool", "keys", *vision.HEAD)
FIXED = {"embedding_key": "cls", "prompt_key": True, "head_type": "prompt"}


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Chosen prompts, tokens, scores, loss and gradients of a step; a test with and without the task's number."""
    learner, batch = build(case, models), vision.with_features(vision.batch_of(case), models)
    query = features_of(batch)
    vision.at_task(learner.head, case)
    answers = _step(learner.train(), batch)
    scores = learner.eval().predict(batch)
    within_task = scores.masked_fill(~learner.head.present, -torch.inf)
    positions = models.vit.model.pos_embed  # (1, 1 + n, D)
    count = learner.config.top * learner.config.length
    if "task_classes" in case.arrays:
        answers["task_classes"] = case.tensor("task_classes")
    return answers | {
        "query": query,
        "query_norm": F.normalize(query, dim=1),
        "key_norm": F.normalize(learner.keys, dim=1),
        "pos_embed": torch.cat([positions[:, :1].expand(-1, 1 + count, -1), positions[:, 1:]], dim=1),
        "eval_logits": scores,
        "eval_loss": F.cross_entropy(scores, batch.labels),
        "eval_acc1": torch.tensor(100 * top1(scores, batch.labels)),
        "eval_loss_task_inc": F.cross_entropy(within_task, batch.labels),
        "eval_acc1_task_inc": torch.tensor(100 * top1(within_task, batch.labels)),
    }


def _step(learner: L2P, batch: Batch) -> dict[str, Any]:
    """The values and gradients of a training step."""
    images, vit = images_of(batch), learner.backbone
    found = gradients(learner, batch)
    with torch.no_grad():
        ids, similarity = learner.choose(features_of(batch))
        prompt = learner.prompt(ids)
        image, prompts = vit.image_tokens.outputs(images, prompt)
        features = vit.encode_image(images, prompt)
        own = prompt.tokens[0] - position(vit)
        return {
            "similarity": similarity,
            "prompt_idx": ids,
            "reduce_sim": similarity.gather(1, ids).sum() / len(batch),
            "prompted_embedding": torch.cat([own, vit.model.patch_embed(images)], dim=1),
            "tokens_out": torch.cat([image[:, :1], prompts, image[:, 1:]], dim=1),
            "pre_logits": features,
            "logits": F.linear(features, learner.head.weight, learner.head.bias),
            "loss": learner.loss(batch),
            "grad_pool": found["pool"],
            "grad_keys": found["keys"],
            "grad_head_weight": found["head.weight"],
            "grad_head_bias": found["head.bias"],
        }


def position(vit: Any) -> Tensor:
    """(D,), the class token's position embedding."""
    return vit.model.pos_embed[0, 0]  # type: ignore[no-any-return]


def build(case: Case, models: Models) -> L2P:
    """The learner with the case's pool, keys and head, at the case's task."""
    hyper = case.hyper
    for name, only in FIXED.items():
        if hyper.get(name, only) != only:
            raise CaseError(f"vlprompt's L2P has {name} {only!r} only, not {hyper[name]!r}")
    pool: Tensor = case.tensor("pool")
    config = L2PConfig(
        pool=len(pool),
        length=pool.shape[1],
        top=int(hyper["top_k"]),
        pull=float(hyper.get("pull_constraint_coeff", 0.0)),
        vote="batch" if hyper.get("batchwise_prompt", False) else "image",
        prompt_mask=bool(hyper.get("use_prompt_mask", False)),
        class_mask=bool(hyper.get("train_mask", True)),
    )
    learner = L2P(models.vit, vision.classes(case), config)
    learner.stage = int(hyper.get("task_id", 0))
    head = vision.tensors_of(case, vision.HEAD)
    learner.restore({"pool": pool + position(models.vit), "keys": case.tensor("keys"), **head}, case.file)
    return learner
