"""Small texts for language models, and the library's own scores of them."""

from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences

KINDS = ("bert", "roberta", "gpt2", "t5")
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
# Further architectures by class name, with the options of their configurations.
OTHERS: dict[str, dict[str, Any]] = {
    "DistilBertForMaskedLM": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "AlbertForMaskedLM": {**SIZES, "embedding_size": 16},
    "ElectraForMaskedLM": {**SIZES, "embedding_size": 16},
    "XLMRobertaForMaskedLM": {**SIZES, "pad_token_id": 1},
    "DebertaV2ForMaskedLM": SIZES,
    "ModernBertForMaskedLM": {**SIZES, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3},
    "MPNetForMaskedLM": {**SIZES, "pad_token_id": 1},
    "OPTForCausalLM": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 48},
    "LlamaForCausalLM": SIZES,
}
NO_PREFIX = (
    *("DistilBertForMaskedLM", "AlbertForMaskedLM", "DebertaV2ForMaskedLM", "ModernBertForMaskedLM"),
    "MPNetForMaskedLM",
)


def rows(lm: LanguageModel) -> list[Row]:
    """Three texts of different length with different read-out positions."""
    texts = ("the film was great", "it", "i saw the story and the actor and it was a film")
    made = []
    for number, text in enumerate(texts):
        ids = [*lm.vocabulary.lead, *lm.vocabulary.pieces(text)]
        made.append(Row(tuple(ids), (0, len(ids) - 1, 5)[number]))
    return made


def own(lm: LanguageModel, row: Row) -> Tensor:
    """(V,) scores by the library's own forward from the ids of one text."""
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        if lm.kind == "encoder-decoder":
            decoder = torch.tensor([[0, lm.vocabulary.blank]])
            return lm.model(input_ids=ids, decoder_input_ids=decoder).logits[0, 1]
        return lm.model(input_ids=ids).logits[0, row.read]


def left_padded(texts: list[Row]) -> Sequences:
    """The texts, padded on the left."""
    longest = max(len(row.ids) for row in texts)
    ids = torch.tensor([[0] * (longest - len(row.ids)) + list(row.ids) for row in texts])
    mask = torch.tensor([[0] * (longest - len(row.ids)) + [1] * len(row.ids) for row in texts])
    return Sequences(ids, mask, torch.tensor([longest - len(row.ids) + row.read for row in texts]))
