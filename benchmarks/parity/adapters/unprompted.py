"""The tiny models without prompts: language models compared with transformers, the ViT with timm."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences
from vlprompt.backbones.prompt_types import NO_PROMPT

METHOD = r"none \(backbone parity\)"
INPUTS = ("images", ".*__(input_ids|attention_mask|decoder_input_ids|token_type_ids)")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The outputs of the model without prompts."""
    return _vision(case, models) if "images" in case.arrays else _language(case, models)


def _vision(case: Case, models: Models) -> Mapping[str, Any]:
    """Every token after the last norm, the feature, and the stored classifier's scores."""
    vit, images, (weight, bias) = models.vit, case.tensor("images"), models.vit_head
    with torch.no_grad():
        features = vit.encode_image(images)
        tokens = vit.image_tokens.outputs(images, NO_PROMPT)[0]
        return {"tokens": tokens, "pre_logits": features, "logits": features @ weight.T + bias}


def _language(case: Case, models: Models) -> Mapping[str, Any]:
    """Logits at every position of a token, one position at a time; of a decoder, at its own positions."""
    answers = {}
    for backbone in case.backbone.split(", "):
        name = backbone.removeprefix("tiny_")
        lm, ids = models.lm(backbone), case.tensor(f"{name}__input_ids")
        mask = case.tensor(f"{name}__attention_mask")
        every, stored = torch.arange(lm.vocabulary_size), case.array(f"{name}__logits")
        where = np.broadcast_to(mask.numpy().astype(bool)[..., None], (*mask.shape, stored.shape[2]))
        if lm.kind == "encoder-decoder":
            inputs = lm.inputs(Sequences(ids, mask, mask[:, 0] * 0), NO_SOFT_PROMPT)
            inputs["decoder_input_ids"] = ids[:, : stored.shape[1]]  # as in the case
            with torch.no_grad():
                answers[f"{name}__logits"] = lm.model(**inputs).logits
            continue
        last = mask.sum(1) - 1
        places = [torch.minimum(torch.full_like(last, place), last) for place in range(ids.shape[1])]
        read = [lm.scores(Sequences(ids, mask, at), every).detach() for at in places]
        answers[f"{name}__logits"] = Answer(torch.stack(read, dim=1), where=where, note="where there is a token")
    return answers
