"""peft's prompt tuning, P-tuning and prefix tuning.

Two properties of peft are not ours, and the cases are replayed with them: its classifier reads the first position of
the whole row, which is a soft token; and its prefix of a T5 is given to the decoder only, where layers get keys and
values of other layers (its table is doubled for two stacks, then cut into fours).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.adapters.p_tuning import encoder_of, gradients_of
from benchmarks.parity.adapters.prefix_tuning import NAMES
from benchmarks.parity.adapters.prompt_tuning import in_front
from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.texts import gradients, head_scores, stored_ids
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt
from vlprompt.backbones.prefixes import PrefixShape
from vlprompt.cloze.parts.prefix import PrefixEncoder

METHOD = (
    r"prompt tuning( embedding|, encoder only)?|prefix tuning( with projection)?|prefix encoder( with projection)?"
    r"|P-tuning encoder, .*|P-tuning, (LSTM|MLP) encoder"
)
INPUTS = ("labels", "indices", "upstream", "num_virtual_tokens_total", "param__.*", "(pooler|classifier)_.*")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The table or the encoder alone, or the scores of a model with it."""
    if "upstream" in case.arrays:
        return _alone(case)
    lm = models.lm(case.backbone)
    if not case.method.startswith("prefix"):
        tokens, gradients_for = _tokens(case)
        length = int(case.hyper["num_virtual_tokens"])  # the rest of a table for two stacks is not used
        first = case.tensor("attention_mask")[:, 0] * 0
        texts = replace(in_front(case, length, first), read=first)
        logits, loss = _scored(case, lm, texts, SoftPrompt(tokens[:length]), length)
        return _answers(case, logits, loss, gradients_for(loss), length)
    encoder = _encoder(case, lm.prefix_shapes[0], lm.width)
    mask = case.tensor("attention_mask")
    texts = Sequences(case.tensor("input_ids") * mask, mask, mask[:, 0] * 0)
    logits, loss = _scored(case, lm, texts, _steering(lm, encoder()), 0)
    return _answers(case, logits, loss, _stored(case, gradients(loss, encoder)), 0)


def _tokens(case: Case) -> tuple[Tensor, Callable[[Tensor], dict[str, Tensor]]]:
    """(P, D) soft tokens, or those of P-tuning's encoder, and a loss's gradients by their stored names."""
    if case.method.startswith("P-tuning"):
        encoder = encoder_of(case)
        return encoder(), lambda loss: gradients_of(case, loss, encoder)
    table = case.tensor("param__embedding.weight").requires_grad_()
    return table, lambda loss: {"grad__embedding.weight": torch.autograd.grad(loss, table)[0]}


def _steering(lm: LanguageModel, prefix: Tensor) -> SoftPrompt:
    """The prefix at peft's place."""
    if lm.kind != "encoder-decoder":
        return lm.prefix_prompt(prefix)
    flat = torch.cat([prefix.flatten(0, 1)] * 2)  # keys and values of every layer, once more for the other stack
    given = [flat[4 * layer : 4 * layer + 2] for layer in range(lm.prefix_shapes[1][0])]
    return SoftPrompt(decoder=torch.stack(given))


def _scored(case: Case, lm: LanguageModel, texts: Sequences, prompt: SoftPrompt, virtual: int) -> tuple[Tensor, Tensor]:
    """Scores and loss of a classifier on the first position, of the next word, or of a decoder's words."""
    labels = case.tensor("labels")
    if "classifier_weight" in case.arrays:
        logits = head_scores(case, lm.hidden(texts, prompt))
        return logits, F.cross_entropy(logits, labels)
    if lm.kind == "encoder-decoder":
        start = torch.full_like(labels[:, :1], lm.model.config.decoder_start_token_id)
        words = torch.cat([start, labels[:, :-1].clamp_min(lm.vocabulary.pad)], dim=1)  # -100 is padding
        logits = lm.run(texts, prompt, decoder_input_ids=words).logits
        return logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    logits = lm.run(texts, prompt).logits
    wanted = F.pad(labels, (virtual, 0), value=-100)
    return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten())


def _answers(case: Case, logits: Tensor, loss: Tensor, found: Mapping[str, Tensor], virtual: int) -> dict[str, Any]:
    where = None
    if case.hyper.get("task_type") == "CAUSAL_LM":
        mask = np.pad(case.array("attention_mask"), ((0, 0), (virtual, 0)), constant_values=1)
        where = np.broadcast_to(mask.astype(bool)[..., None], logits.shape)
    note = "" if where is None else "where there is a token"
    return {**stored_ids(case), **found, "loss": loss, "logits": Answer(logits, where=where, note=note)}


def _alone(case: Case) -> dict[str, Any]:
    """The table, or the prefix from an encoder, for every example of a batch."""
    upstream = case.tensor("upstream")
    if "prefix" in case.method:
        layers, heads = int(case.hyper["num_layers"]), int(case.hyper["num_attention_heads"])
        width = int(case.hyper["token_dim"])
        encoder = _encoder(case, (layers, 2, heads, width // heads), width)
        flat = encoder().permute(3, 0, 1, 2, 4).flatten(1)  # (P, 2 L D)
        output = flat.expand_as(upstream)
        found = _stored(case, gradients((output * upstream).sum(), encoder))
    else:
        tokens, gradients_for = _tokens(case)
        output = tokens[case.tensor("indices")]
        found = gradients_for((output * upstream).sum())
    return {"output": output, **found}


def _stored(case: Case, found: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Gradients of our prefix encoder by their stored names."""
    ours = dict(found)
    return {name: ours[_ours(name)] for name in case.arrays if name.startswith("grad__")}


def _encoder(case: Case, shape: PrefixShape, width: int) -> PrefixEncoder:
    """Our encoder with the stored weights."""
    own = {_ours(name): case.tensor(name) for name in case.arrays if name.startswith("param__")}
    middle = own["mlp.0.weight"].shape[0] if "mlp.0.weight" in own else 0
    encoder = PrefixEncoder(shape, len(own["embedding"]), width, middle)
    encoder.load_state_dict(own)
    return encoder


def _ours(name: str) -> str:
    """The stored name of a weight in our encoder; peft's network is called transform."""
    plain = name.partition("__")[2].replace("transform.", "trans.")
    return next((ours + plain.removeprefix(theirs) for theirs, ours in NAMES if plain.startswith(theirs)), plain)
