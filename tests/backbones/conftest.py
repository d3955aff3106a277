"""Small random models of every family that open_clip builds, with weights large enough for differences to show."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from tests.backbones.lm_texts import OTHERS
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess

LENGTH = 20
SLOT_WORDS = ("red", "blue", "green")  # one token each in every tokenizer here; learned vectors replace them
WORDS = (*SLOT_WORDS, *("x", "cat", "grey", "owl", "a", "very", "old", "steam", "train", "dog", "photo", "of", "."))

VIT = {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
TIMM = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"}
TEXT = {"context_length": LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
SHORT = {**TEXT, "vocab_size": len(WORDS) + 4}  # for the small tokenizers below


@dataclass(frozen=True)
class Family:
    """How to build one kind of model, and the expected text path."""

    model: Callable[[Path], nn.Module]
    tokenizer: Callable[[Path], Any]
    path: str = "shared prefix"
    deep: bool = True


def clip(text: dict[str, Any] = TEXT, vision: dict[str, Any] = VIT, **options: Any) -> Callable[[Path], nn.Module]:
    return lambda _: open_clip.CLIP(24, dict(vision), dict(text), **options)


def custom(text: dict[str, Any] = TEXT, vision: dict[str, Any] = VIT, **options: Any) -> Callable[[Path], nn.Module]:
    return lambda _: open_clip.CustomTextCLIP(24, dict(vision), dict(text), **options)


def coca(_: Path) -> nn.Module:
    text = {**TEXT, "embed_cls": True, "output_tokens": True}
    vision = {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    decoder = {"context_length": LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    return open_clip.CoCa(24, decoder, text, vision)


def hugging_face(kind: str, pooler: str, projection: str | None = "mlp") -> Callable[[Path], nn.Module]:
    def build(folder: Path) -> nn.Module:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = {"model_type": kind, **sizes, "vocab_size": len(WORDS) + 4, "max_position_embeddings": 40}
        home = folder / kind
        home.mkdir(exist_ok=True)
        (home / "config.json").write_text(json.dumps({**config, "pad_token_id": 1 if kind == "roberta" else 0}))
        text = {"hf_model_name": str(home), "hf_model_pretrained": False, "hf_pooler_type": pooler}
        return open_clip.CustomTextCLIP(24, dict(VIT), {**text, "hf_proj_type": projection})

    return build


def edited(build: Callable[[Path], nn.Module], edit: Callable[[Any], None]) -> Callable[[Path], nn.Module]:
    def edit_it(folder: Path) -> nn.Module:
        model = build(folder)
        edit(model)
        return model

    return edit_it


def length_first(model: Any) -> None:
    """The layout of early open_clip: blocks see (L, B, D)."""
    model.transformer.batch_first = False
    for block in model.transformer.resblocks:
        block.attn.batch_first = False


def simple(_: Path) -> Any:
    return open_clip.SimpleTokenizer(context_length=LENGTH)


def words(lead: str, tail: str, pad: str, **options: Any) -> Callable[[Path], Any]:
    """A word-level tokenizer of transformers; ids in the order pad, lead, tail, unknown, words."""

    def build(folder: Path) -> Any:
        from tokenizers import Tokenizer as Raw
        from tokenizers import models, normalizers, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        vocabulary = {word: i for i, word in enumerate(dict.fromkeys([pad, lead, tail, "[UNK]", *WORDS])) if word}
        raw = Raw(models.WordLevel(vocabulary, unk_token="[UNK]"))
        raw.normalizer = normalizers.Lowercase()
        raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
        special = [(token, vocabulary[token]) for token in (lead, tail) if token]
        raw.post_processor = processors.TemplateProcessing(single=f"{lead} $A {tail}".strip(), special_tokens=special)
        names = {"pad_token": pad, "unk_token": "[UNK]", "sep_token": tail or None, "cls_token": lead or None}
        home = folder / f"tokenizer {lead} {tail} {pad}"
        PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(home)
        return open_clip.tokenizer.HFTokenizer(str(home), context_length=LENGTH, **options)

    return build


BERT = words("[CLS]", "[SEP]", "[PAD]")  # ids 1, 2, 0
ROBERTA = words("<s>", "</s>", "<pad>")
XLM = words("<s>", "</s>", "<pad>")
MT5 = words("", "</s>", "<pad>")  # no start-of-text
SIGLIP = words("", "</s>", "</s>", clean="canonicalize")  # padding is end-of-text
CLIPA = words("[CLS]", "[SEP]", "[PAD]", strip_sep_token=True)
BOTH_WAYS = {"no_causal_mask": True}

FAMILIES = {
    "clip": Family(clip(), simple),
    "clip of 77 tokens": Family(clip({**TEXT, "context_length": 77}), lambda _: open_clip.SimpleTokenizer()),
    "quick gelu": Family(clip(quick_gelu=True), simple),
    "resnet": Family(clip(vision=RESNET), simple),
    "custom text": Family(custom({**TEXT, "proj_bias": True, "ls_init_value": 0.5}), simple),
    "no projection": Family(custom({**TEXT, "width": 24, "proj_type": "none"}), simple),
    "timm": Family(custom(vision=TIMM), simple),
    "length first": Family(edited(clip(), length_first), simple),
    "worldwide": Family(clip({**SHORT, "pool_type": "eos", "eos_id": 2}), XLM),
    "worldwide mt5": Family(clip({**SHORT, "pool_type": "eos", "eos_id": 2}), MT5),
    "length first, not causal": Family(
        edited(clip({**TEXT, **BOTH_WAYS}), length_first), simple, "whole text: its attention is not causal"
    ),
    "mobile": Family(custom({**TEXT, **BOTH_WAYS}), simple, "whole text: its attention is not causal"),
    "siglip": Family(
        custom({**SHORT, **BOTH_WAYS, "pool_type": "last", "proj_bias": True}, init_logit_bias=-10),
        SIGLIP,
        "whole text: its attention is not causal",
    ),
    "clipa": Family(
        clip({**SHORT, **BOTH_WAYS, "pool_type": "last"}, {**VIT, "no_ln_pre": True, "pool_type": "avg"}),
        CLIPA,
        "whole text: its attention is not causal",
    ),
    "causal, read last": Family(
        custom({**TEXT, "pool_type": "last"}), simple, "whole text: its text is read out by 'last', not at end-of-text"
    ),
    "query and key norms": Family(
        custom({**TEXT, "qk_norm": True}), simple, "whole text: its blocks have their own kind of attention"
    ),
    "coca": Family(coca, simple, "whole text: a class embedding at the end reads the whole text"),
    "roberta": Family(
        hugging_face("roberta", "mean_pooler"), ROBERTA, "whole text: it is not open_clip's own transformer", deep=False
    ),
    "bert": Family(
        hugging_face("bert", "cls_pooler", "linear"),
        BERT,
        "whole text: it is not open_clip's own transformer",
        deep=False,
    ),
}


def strengthened(model: nn.Module) -> nn.Module:
    """Random weights of a size at which every part of the model changes its output."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "logit" in name:
            continue
        if "embed" in name or "cls" in name.split(".")[-1]:
            parameter.data = noise
        elif parameter.ndim > 1:
            parameter.data = noise * 1.5 / math.sqrt(parameter[0].numel())
        else:
            parameter.data = (1 if name.endswith("weight") else 0) + 0.3 * noise
    return model.eval()


@dataclass(frozen=True)
class Built:
    """The library's model of a family, and ways to wrap it."""

    family: Family
    model: Any
    tokens: Any

    def clip(self, precision: str = "fp32", *, double: bool = False, **options: Any) -> Clip:
        model = copy.deepcopy(self.model)
        tokenizer = Tokenizer(self.tokens, self.length)
        preprocess = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        return Clip(model.double() if double else model, tokenizer, preprocess, precision=precision, **options)

    @property
    def length(self) -> int:
        return int(self.tokens.context_length)

    def texts(self, texts: list[str], vectors: Tensor | None = None, model: Any = None) -> Tensor:
        """The library's own features of texts; vectors (3, D) replace the embeddings of the slot words."""
        model = model or self.model
        said = _Text(model)
        tower = getattr(model, "text", model)
        table = getattr(tower, "token_embedding", None) or tower.transformer.get_input_embeddings()
        name = next(name for name, parameter in said.named_parameters() if parameter is table.weight)
        weight = table.weight
        if vectors is not None:
            rows = torch.cat([self.tokens([word])[0, self._lead : self._lead + 1] for word in SLOT_WORDS])
            weight = weight.index_copy(0, rows[: len(vectors)], vectors.to(weight.dtype))
        ids = self.tokens(texts, context_length=self.length)
        return torch.func.functional_call(said, {name: weight}, (ids,))

    @property
    def _lead(self) -> int:
        return int((self.tokens(["red"]) != self.tokens(["blue"]))[0].int().argmax())


class _Text(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model.encode_text(ids, normalize=False)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """Build a family once; use its `clip()`, which copies the model."""
    folder = tmp_path_factory.mktemp("families")

    @cache
    def build_it(name: str) -> Built:
        family = FAMILIES[name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = strengthened(family.model(folder)).requires_grad_(False)
        return Built(family, model, family.tokenizer(folder))

    return build_it


@pytest.fixture(params=FAMILIES)
def built(request: pytest.FixtureRequest, build: Callable[[str], Built]) -> Built:
    """Every family, one at a time."""
    return build(request.param)


@pytest.fixture(scope="module")
def other_lm(tiny_lm: Callable[[str], LanguageModel]) -> Callable[[str], LanguageModel]:
    """A random model of another architecture, with BERT's tokenizer."""
    import transformers

    made: dict[str, LanguageModel] = {}

    def make(name: str) -> LanguageModel:
        if name not in made:
            kind = getattr(transformers, name)
            config = kind.config_class(vocab_size=300, **OTHERS[name])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(5)
                model = kind(config)
                for parameter in model.parameters():
                    parameter.data += torch.randn_like(parameter) * 0.1
            tokenizer = tiny_lm("bert").vocabulary.tokenizer
            made[name] = LanguageModel(model, tokenizer, "causal" if "Causal" in name else "masked", name=name)
        return made[name]

    return make
