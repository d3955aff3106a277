"""VPT's MLP-k baseline, by KMnP/vpt's src/models/mlp.py; its "mlp_num" counts hidden layers, our k the last one too."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity import vision
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.training import gradients
from vlprompt.learners.mlp import MLP, MLPConfig

METHOD = r"mlp-k baseline of vpt.*"
HIDDEN = {"fc_weights": "0.weight", "fc_biases": "0.bias", "bn_weight": "2.weight", "bn_bias": "2.bias"}
RUNNING = {"bn_mean": "2.running_mean", "bn_var": "2.running_var"}
INPUTS = ("images", "labels", "last_weight", "last_bias", *HIDDEN, *RUNNING)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Features; scores, loss and gradients with running statistics; scores with those of the batch, without dropout."""
    hidden = range(int(case.hyper["mlp_num"]))
    learner = MLP(models.vit, vision.classes(case), MLPConfig(k=len(hidden) + 1, dropout=0.0))
    batch = vision.with_features(vision.batch_of(case), models)
    tensors = {f"hidden.{i}.{ours}": case.tensor(theirs)[i] for theirs, ours in HIDDEN.items() for i in hidden}
    tensors |= {f"{i}.{ours}": case.tensor(theirs)[i] for theirs, ours in RUNNING.items() for i in hidden}
    tensors |= {"head.weight": case.tensor("last_weight"), "head.bias": case.tensor("last_bias")}
    learner.restore(tensors, case.file)
    learner.eval()
    found = gradients(learner, batch)
    with torch.no_grad():
        scores, loss = learner.predict(batch), learner.loss(batch)
        by_batch = learner.train()(batch)
    answers = {
        f"grad_{theirs}_eval": torch.stack([found[f"hidden.{i}.{ours}"] for i in hidden])
        for theirs, ours in HIDDEN.items()
    }
    return answers | {
        "features": batch.features,
        "logits_eval": scores,
        "loss_eval": loss,
        "logits_train_dropout0": by_batch,
        "grad_last_weight_eval": found["head.weight"],
        "grad_last_bias_eval": found["head.bias"],
    }
