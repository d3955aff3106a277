"""Fixtures for every test: shared material, one thread so that tests can run side by side, tiny language models."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from vlprompt.backbones.lm import LanguageModel

GOOD = ("great", "good", "lovely", "bright", "fine")
BAD = ("terrible", "bad", "awful", "dull", "poor")
CORPUS = [
    f"the {noun} was {word} and i {verb} it . It was {word} ."
    for noun in ("film", "story", "actor", "music")
    for word in GOOD + BAD
    for verb in ("saw", "liked", "left")
] + ["a probe of the model ? no , yes maybe"] * 5
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


hypothesis.settings.register_profile("vlprompt", deadline=None, derandomize=True)  # the same examples on any machine
hypothesis.settings.load_profile("vlprompt")


@pytest.fixture(autouse=True)
def same_numbers_every_time() -> Iterator[None]:
    """What a test draws without a generator of its own is the same in every run, and in any order of tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run in parallel processes; each keeps to one core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large goldens, data and models; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("VLPROMPT_SHARED", "../shared"))
    if not (folder / "goldens").is_dir():
        pytest.skip(f"needs the shared material; {folder} is not there (set VLPROMPT_SHARED)")
    return folder


def word_pieces() -> Any:
    """BERT's kind of tokenizer. (transformers takes seconds to import, so only tests of language models do.)"""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    named = dict(zip(names, special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **named)


def byte_pairs(special: dict[str, str], frame: dict[str, str] | None = None) -> Any:
    """RoBERTa's and GPT-2's: a space belongs to the word behind it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    names = list(dict.fromkeys(special.values()))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(CORPUS, trainer)
    if frame:
        numbered = [(name, number) for number, name in enumerate(names)]
        made.post_processor = processors.TemplateProcessing(**frame, special_tokens=numbered)
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **special)


def unigrams() -> Any:
    """T5's: pieces with scores, a mark for a space, a sentinel for a blank."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in CORPUS for word in text.split()})
    letters = sorted({letter for word in words for letter in word} | {"\u2581"})
    special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
    scored = [(name, 0.0) for name in special] + [("\u2581" + word, -2.0) for word in words]
    made = Tokenizer(models.Unigram([*scored, *((letter, -9.0) for letter in letters)], unk_id=2))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=64, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>"],
    )  # fmt: skip


def _bert() -> Any:
    import transformers

    config = {"vocab_size": 300, "max_position_embeddings": 64, **SIZES}
    return transformers.BertForMaskedLM(transformers.BertConfig(**config)), word_pieces(), "masked"


def _roberta() -> Any:
    import transformers

    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    special |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    tokenizer = byte_pairs(special, {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>"})
    config = transformers.RobertaConfig(vocab_size=600, max_position_embeddings=66, pad_token_id=1, **SIZES)
    return transformers.RobertaForMaskedLM(config), tokenizer, "masked"


def _gpt2() -> Any:
    import transformers

    tokenizer = byte_pairs({"bos_token": "<|end|>", "eos_token": "<|end|>", "unk_token": "<|end|>"})
    config = transformers.GPT2Config(
        vocab_size=600, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config), tokenizer, "causal"


def _t5() -> Any:
    import transformers

    config = transformers.T5Config(
        vocab_size=150, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config), unigrams(), "encoder-decoder"


BUILD: dict[str, Callable[..., Any]] = {"bert": _bert, "roberta": _roberta, "gpt2": _gpt2, "t5": _t5}


def built(name: str) -> tuple[Any, Any, Any]:
    """A random model, its tokenizer and its kind; weights are large enough for every part to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model, tokenizer, kind = BUILD[name]()
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.data += noise * (0.15 if parameter.ndim > 1 else 0.05)
    return model, tokenizer, kind


@pytest.fixture(scope="session")
def make_lm() -> Callable[..., LanguageModel]:
    """A tiny random language model of its own: "bert", "roberta", "gpt2" or "t5"."""

    def make(name: str, **options: Any) -> LanguageModel:
        return LanguageModel(*built(name), name=f"tiny {name}", **options)

    return make


@pytest.fixture(scope="session")
def tiny_lm(make_lm: Callable[..., LanguageModel]) -> Callable[[str], LanguageModel]:
    """The same, made once and shared."""
    made: dict[str, LanguageModel] = {}
    return lambda name: made.get(name) or made.setdefault(name, make_lm(name))
