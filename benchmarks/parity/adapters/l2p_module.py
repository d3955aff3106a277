"""L2P's choice of prompts alone, for every kind of query of JH-LEE-KR/l2p-pytorch's prompt.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.learners.l2p import nearest
from vlprompt.prompts.pool import cosine

METHOD = r"l2p prompt module.*"
INPUTS = ("x_embed", "cls_features", "pool", "keys")


def replay(case: Case, models: Models) -> Mapping[str, Any]:  # noqa: ARG001
    """Similarities, ids, the pull to the keys, and prompts in front of the patches."""
    patches, pool = case.tensor("x_embed"), case.tensor("pool")
    mean, most = patches.mean(dim=1), patches.amax(dim=1)
    queries = {"mean": mean, "max": most, "mean_max": most + 2 * mean}
    if "cls_features" in case.arrays:
        queries["cls"] = case.tensor("cls_features")
    answers: dict[str, Any] = {}
    for kind, query in queries.items():
        for name, keys in {"key": case.tensor("keys"), "meankey": pool.mean(dim=1)}.items():
            similarity = cosine(query, keys)
            ids = nearest(similarity, int(case.hyper["top_k"]), "batch" if case.hyper["batchwise_prompt"] else "image")
            answers |= {
                f"{kind}_{name}__similarity": similarity,
                f"{kind}_{name}__prompt_idx": ids,
                f"{kind}_{name}__reduce_sim": similarity.gather(1, ids).sum() / len(query),
                f"{kind}_{name}__prompted_embedding": torch.cat([pool[ids].flatten(1, 2), patches], dim=1),
            }
    return answers
