"""P-tuning: the encoder and cloze query of THUDM/P-tuning (LAMA), and OpenPrompt's PtuningTemplate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.adapters.prompt_tuning import embeds
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import answers_at, as_stored, classes_of, examples, gradients, template_of, words_of
from vlprompt.cloze import PTuning, PTuningConfig
from vlprompt.cloze.p_tuning import Encoder, PromptEncoder
from vlprompt.data.batch import Batch
from vlprompt.experiments.protocols.knowledge_probing import answer_ranks

METHOD = r"P-tuning template|P-tuning \(Liu et al\. 2021\), .*"
INPUTS = ("labels", "loss_ids", "decoder_input_ids", "soft_token_ids", "upstream", "param__.*")
OURS = {"new_embedding.weight": "embedding", "embedding.weight": "embedding"}
HEADS = {"new_lstm_head.": "lstm.", "lstm_head.": "lstm.", "new_mlp_head.": "mlp.", "mlp_head.": "mlp."}


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """The part that the case has: the encoder alone, the LAMA query, or a template of OpenPrompt."""
    if "upstream" in case.arrays:
        encoder = encoder_of(case)
        output = encoder()
        return {"output": output, **gradients_of(case, (output * case.tensor("upstream")).sum(), encoder)}
    return _template(case, models) if "template" in case.hyper and "label_words" in case.hyper else _lama(case, models)


def _template(case: Case, models: Models) -> dict[str, Any]:
    """OpenPrompt's: scores, loss and gradients of the encoder."""
    lm, words = models.lm(case.backbone), words_of(case)
    kind = "mlp" if case.hyper["prompt_encoder_type"] == "mlp" else "few-shot"
    length = int(case.hyper["max_seq_length"])
    config = PTuningConfig(template_of(case), words, "mean_log_prob", "first", length, encoder=kind)
    learner = PTuning(lm, classes_of(words), config)
    learner.prompt.encoder = encoder = encoder_of(case)
    texts = learner.sequences(examples(case))
    loss, found = answers_at(case, learner, texts)
    found |= {"attention_mask": as_stored(case, "attention_mask", texts.mask)}
    assert texts.slots is not None
    found |= {"input_ids": as_stored(case, "input_ids", texts.ids * (texts.slots < 0))}
    return {**found, **gradients_of(case, loss, encoder), "inputs_embeds": embeds(case, learner, texts)}


def _lama(case: Case, models: Models) -> dict[str, Any]:
    """The query of LAMA: [CLS] prompts [MASK] prompts subject prompts [SEP], with the object among all words."""
    lm, objects = models.lm(case.backbone), [str(each) for each in case.hyper["objects"]]
    before, middle, end = case.hyper["template"]
    template = f"{{soft:{before}}} {{mask}} {{soft:{middle}}} {{subject}} {{soft:{end}}}"
    learner = PTuning(lm, objects, PTuningConfig(template, [[each] for each in objects], rivals="vocabulary"))
    learner.prompt.encoder = encoder = encoder_of(case)
    labels = torch.arange(len(objects))
    batch = replace(Batch.of_texts([{"subject": str(each)} for each in case.hyper["subjects"]]), labels=labels)
    texts, loss, scores = learner.sequences(batch), learner.loss(batch), learner.vocabulary_scores(batch)
    assert texts.slots is not None
    assert scores is not None
    ids = torch.where(texts.slots < 0, texts.ids, lm.vocabulary_size)  # theirs has one more word for soft tokens
    wanted = torch.tensor([own[0][0] for own in learner.verbalizer.word_pieces])
    return {
        "input_ids": as_stored(case, "input_ids", ids),
        "attention_mask": as_stored(case, "attention_mask", texts.mask),
        "prompt_embeddings": learner.soft_prompt().tokens,
        "inputs_embeds": embeds(case, learner, texts),
        "mask_logits": scores,
        "loss": loss,
        "hit1": (answer_ranks(scores, wanted) == 1).sum(),
        **gradients_of(case, loss, encoder),
    }


def encoder_of(case: Case) -> PromptEncoder:
    """Our encoder with the stored weights, whose shapes determine its kind."""
    own = {_ours(name): case.tensor(name) for name in case.arrays if name.startswith("param__")}
    length, width = own["embedding"].shape
    inner = own["mlp.0.weight"].shape[0]
    lstm = own.get("lstm.weight_hh_l0")
    kind: Encoder
    if lstm is None:
        kind, hidden = ("peft-mlp", inner) if "mlp.4.weight" in own else ("mlp", 0)
    elif 2 * lstm.shape[1] == width:
        kind, hidden = "lama", 0
    else:
        kind, hidden = ("few-shot", 0) if inner == width else ("peft-lstm", lstm.shape[1])
    encoder = PromptEncoder(length, width, kind, hidden)
    encoder.load_state_dict(own)
    return encoder


def gradients_of(case: Case, loss: Tensor, encoder: PromptEncoder) -> dict[str, Tensor]:
    """A loss's gradients for the encoder's parameters, by their stored names."""
    found = dict(gradients(loss, encoder))
    return {name: found[_ours(name)] for name in case.arrays if name.startswith("grad__")}


def _ours(name: str) -> str:
    """The stored name of a weight in our encoder."""
    plain = name.partition("__")[2]
    for theirs, ours in HEADS.items():
        if plain.startswith(theirs):
            return ours + plain.removeprefix(theirs)
    return OURS.get(plain, plain)
