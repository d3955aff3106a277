"""The models that are measured. Their weights are random, which does not change the times."""

import string
from typing import Any

import open_clip
import timm
import torch

from vlprompt.backbones import Clip, LanguageModel, Vit, load_clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess

VISION = {"image_size": 32, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3}
SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
WORDS = tuple(a + b for a in string.ascii_lowercase for b in string.ascii_lowercase)  # 676 words of one token each
ROBERTA = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}


def clip(quick: bool) -> Clip:
    """ViT-B/16, or a tiny model of the same architecture."""
    if not quick:
        return load_clip("ViT-B-16", "random")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = open_clip.CLIP(64, dict(VISION), dict(TEXT))
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(), 77)
    return Clip(small, tokenizer, Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), name="small")


def vit(name: str, **sizes: Any) -> Vit:
    """A ViT of timm by name, with some sizes changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, **sizes)
    return Vit(model, Preprocess(sizes.get("img_size", 224), (0.5,) * 3, (0.5,) * 3), name=name)


def vit_base(quick: bool) -> Vit:
    """ViT-B/16, or a tiny one."""
    sizes: dict[str, Any] = {"img_size": 32, "embed_dim": 48, "depth": 3, "num_heads": 3} if quick else {}
    return vit("vit_base_patch16_224", **sizes)


def roberta(quick: bool) -> LanguageModel:
    """RoBERTa-base with its 50,265 words, or a tiny one with the same vocabulary size."""
    from transformers import RobertaConfig, RobertaForMaskedLM

    sizes: dict[str, Any] = {"vocab_size": 50265, "max_position_embeddings": 514, "pad_token_id": 1}
    config = RobertaConfig(**sizes, **(ROBERTA if quick else {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RobertaForMaskedLM(config)
    return LanguageModel(model, word_tokenizer(), "masked", name="small" if quick else "roberta-base/random")


def word_tokenizer() -> Any:
    """One id for each word, since tokenisation is not measured."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*SPECIAL.values(), *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    frame = {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>"}
    tokenizer.post_processor = processors.TemplateProcessing(**frame, special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **SPECIAL)


def random_text(length: int, seed: int) -> str:
    """A text of `length` random words."""
    generator = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[place] for place in torch.randint(len(WORDS), (length,), generator=generator).tolist())
