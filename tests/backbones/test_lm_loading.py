"""Loading of language models by name, and one-line errors for unusable ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row, Sequences
from vlprompt.backbones.lm_loading import load_lm
from vlprompt.errors import UsageError, VlpromptError


def saved(lm: LanguageModel, folder: Path) -> str:
    lm.model.save_pretrained(folder)
    lm.vocabulary.tokenizer.save_pretrained(folder)
    return f"local-dir:{folder}"


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_folder_gives_the_same_model(name: str, make_lm: Callable[..., LanguageModel], tmp_path: Path) -> None:
    lm = make_lm(name)
    again = load_lm(saved(lm, tmp_path))
    assert (again.kind, again.fingerprint, again.max_length) == (lm.kind, lm.fingerprint, lm.max_length)
    texts, words = Sequences.of([Row((*lm.vocabulary.lead, 7, 8, 9), 1)]), torch.arange(20)
    torch.testing.assert_close(again.scores(texts, words), lm.scores(texts, words))


def test_a_missing_config_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no config\.json"):
        load_lm(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="does not state what it was trained to do; give kind"):
        load_lm(f"local-dir:{tmp_path}")
    with pytest.raises(UsageError, match="did you mean 'masked'"):
        load_lm(f"local-dir:{tmp_path}", kind="mask")


def test_pickled_weights_are_not_read(make_lm: Callable[..., LanguageModel], tmp_path: Path) -> None:
    name = saved(make_lm("bert"), tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(VlpromptError, match="safetensors"):
        load_lm(name)


def test_damaged_weights_are_one_line(make_lm: Callable[..., LanguageModel], tmp_path: Path) -> None:
    name = saved(make_lm("bert"), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(VlpromptError, match="could not be loaded") as caught:
        load_lm(name)
    assert "\n" not in str(caught.value)


def test_a_model_without_a_trained_head_is_refused(make_lm: Callable[..., LanguageModel], tmp_path: Path) -> None:
    name = saved(make_lm("bert"), tmp_path)
    make_lm("bert").model.base_model.save_pretrained(tmp_path)
    with pytest.raises(VlpromptError, match=r"contains no weights for cls\..+ not trained as a masked language model"):
        load_lm(name, kind="masked")


def test_a_tokenizer_without_a_mask_token_is_refused(make_lm: Callable[..., LanguageModel]) -> None:
    lm, causal = make_lm("roberta"), make_lm("gpt2")
    with pytest.raises(VlpromptError, match="its tokenizer has no mask token"):
        LanguageModel(lm.model, causal.vocabulary.tokenizer, "masked", name="a RoBERTa")
    t5 = make_lm("t5")
    with pytest.raises(VlpromptError, match="use a T5"):
        LanguageModel(t5.model, causal.vocabulary.tokenizer, "encoder-decoder", name="a BART")
