"""Prefix-tuning: the authors' GPT-2 code, and OpenPrompt's template; P-tuning v2's prefix and linear head."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import (
    answers_at,
    as_stored,
    classes_of,
    examples,
    gradients,
    head_scores,
    stored_ids,
    template_of,
    words_of,
)
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt
from vlprompt.backbones.prefixes import PrefixShape
from vlprompt.cloze import PrefixTuning, PrefixTuningConfig
from vlprompt.cloze.parts.prefix import PrefixEncoder

METHOD = r"prefix tuning \(Li & Liang 2021\).*|P-tuning v2 \(Liu et al\. 2022\).*"
INPUTS = (
    "labels", "loss_ids", "decoder_input_ids", "prefix_ids", "upstream", "param__.*", "(pooler|classifier)_.*",
)  # fmt: skip
DECODER = "decoder_"  # start of the names of a decoder's prefix in OpenPrompt
NAMES = (("control_trans.", "mlp."), ("trans.", "mlp."), ("wte.weight", "embedding"), ("embedding.weight", "embedding"))


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The part that the case has: the encoder alone, or scores of a head, a template or a language model."""
    if "upstream" in case.arrays:
        return _encoder_alone(case)
    lm = models.lm(case.backbone)
    if "classifier_weight" in case.arrays:
        return _with_head(case, lm)
    return _template(case, lm) if "template" in case.hyper else _generation(case, lm)


def _encoder_alone(case: Case) -> dict[str, Any]:
    """(B, P, 2 L D) of P-tuning v2's encoder; each example has the same."""
    width, upstream = case.tensor("param__embedding.weight").shape[1], case.tensor("upstream")
    layers = int(case.hyper.get("num_hidden_layers", 1))
    encoder = _encoder(case, (layers, 2, 1, upstream.shape[2] // (2 * layers)), width)
    flat = encoder().permute(3, 0, 1, 2, 4).flatten(1)  # (P, 2 L D)
    output = flat.expand(len(upstream), -1, -1)
    return {"output": output, **_gradients(case, (output * upstream).sum(), encoder)}


def _with_head(case: Case, lm: LanguageModel) -> dict[str, Any]:
    """P-tuning v2 with the case's own pooler and classifier on the first token."""
    encoder = _encoder(case, lm.prefix_shapes[0], lm.width)
    classifier = case.tensor("classifier_weight").requires_grad_()
    texts = Sequences(case.tensor("input_ids"), case.tensor("attention_mask"), case.tensor("labels") * 0)
    prefix = encoder()
    logits = head_scores(case, lm.hidden(texts, SoftPrompt(prefix=prefix)), classifier)
    loss = F.cross_entropy(logits, case.tensor("labels"))
    (gradient,) = torch.autograd.grad(loss, classifier, retain_graph=True)
    return {
        **stored_ids(case),
        "past_key_values": prefix[:, :, None].expand(-1, -1, len(texts), -1, -1, -1),
        "logits": logits,
        "loss": loss,
        "grad_classifier_weight": gradient,
        **_gradients(case, loss, encoder),
    }


def _template(case: Case, lm: LanguageModel) -> dict[str, Any]:
    """OpenPrompt's prefix template, on a T5 with a prefix in the encoder alone or in the decoder too."""
    words, own = words_of(case), case.hyper
    config = PrefixTuningConfig(
        template_of(case), words, "mean_log_prob", "first", int(own["max_seq_length"]), length=int(own["num_token"])
    )
    learner = PrefixTuning(lm, classes_of(words), config)
    parts = [part for part in ("", DECODER) if f"param__{part}wte.weight" in case.arrays]
    stacks = nn.ModuleList(
        _encoder(case, shape, lm.width, part) for part, shape in zip(parts, lm.prefix_shapes, strict=False)
    )
    learner.prompt.encoder.stacks = stacks
    texts = learner.sequences(examples(case))
    loss, found = answers_at(case, learner, texts)
    rows = {"input_ids": texts.ids, "attention_mask": texts.mask}
    ids = {name: as_stored(case, name, ours) for name, ours in rows.items()}
    for part, stack in zip(parts, stacks, strict=True):
        found |= _gradients(case, loss, stack, part)
    return {**found, **ids}


def _generation(case: Case, lm: LanguageModel) -> dict[str, Any]:
    """The authors' GPT-2: logits at every position (a forward pass for each) and the loss of the next word."""
    encoder, ids = _encoder(case, lm.prefix_shapes[0], lm.width), case.tensor("input_ids")
    prefix, every = encoder(), torch.arange(lm.vocabulary_size)
    places = (torch.full((len(ids),), place) for place in range(ids.shape[1]))
    read = [lm.scores(Sequences(ids, torch.ones_like(ids), at), every, SoftPrompt(prefix=prefix)) for at in places]
    logits = torch.stack(read, dim=1)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), case.tensor("labels")[:, 1:].flatten())
    return {
        "input_ids": ids,
        "past_key_values": prefix[:, :, None].expand(-1, -1, len(ids), -1, -1, -1),
        "logits": logits,
        "loss": loss,
        **_gradients(case, loss, encoder),
    }


def _encoder(case: Case, shape: PrefixShape, width: int, part: str = "") -> PrefixEncoder:
    """Our encoder with the stored weights; `part` is DECODER for a decoder's prefix."""
    own = {ours: case.tensor(name) for name, ours in _named(case, "param__", part).items()}
    middle = own["mlp.0.weight"].shape[0] if "mlp.0.weight" in own else 0
    encoder = PrefixEncoder(shape, len(own["embedding"]), width, middle)
    encoder.load_state_dict(own)
    return encoder


def _gradients(case: Case, loss: Tensor, encoder: nn.Module, part: str = "") -> dict[str, Tensor]:
    found = dict(gradients(loss, encoder))
    return {name: found[ours] for name, ours in _named(case, "grad__", part).items()}


def _named(case: Case, kind: str, part: str) -> dict[str, str]:
    """The stored names of a prefix's arrays, and ours."""
    own = [name for name in case.arrays if name.startswith(kind) and name.startswith(kind + DECODER) == bool(part)]
    return {name: _ours(name.removeprefix(kind + part)) for name in own}


def _ours(plain: str) -> str:
    """The stored name of a weight in our encoder."""
    plain = plain.removeprefix("prefix_encoder.")
    return next((ours + plain.removeprefix(theirs) for theirs, ours in NAMES if plain.startswith(theirs)), plain)
