"""The language models that are measured: their weights are random, which changes no time."""

import string
from typing import Any

import torch

from vlprompt.backbones import LanguageModel

SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
WORDS = tuple(a + b for a in string.ascii_lowercase for b in string.ascii_lowercase)  # 676 words of one token each
SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}


def roberta(quick: bool) -> LanguageModel:
    """RoBERTa-base with its 50,265 words, or a tiny one with as many."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    sizes: dict[str, Any] = {"vocab_size": 50265, "max_position_embeddings": 514, "pad_token_id": 1}
    config = RobertaConfig(**sizes, **(SMALL if quick else {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RobertaForMaskedLM(config)
    return LanguageModel(model, tokenizer(), "masked", name="small" if quick else "roberta-base/random")


def tokenizer() -> Any:
    """One id for each word: reading is no part of what is measured."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL.values(), *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    frame = {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>"}
    made.post_processor = processors.TemplateProcessing(**frame, special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **SPECIAL)


def text(length: int, seed: int) -> str:
    """So many words, drawn by a seed."""
    generator = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[place] for place in torch.randint(len(WORDS), (length,), generator=generator).tolist())
