"""What the goldens of MaPLe, IVLP and PromptSRC have in common: images, and learned tensors under official names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.training import Trace
from vlprompt.backbones import Clip
from vlprompt.data.batch import Batch
from vlprompt.layout import PromptLayout
from vlprompt.learners import PromptLearner
from vlprompt.templates import readable

INPUTS = ("classnames", "images", "labels", r"init\..*")
SHALLOW = "resblocks.{}.VPT_shallow"  # what the official blocks call the prompt that they put in

Places = Mapping[str, tuple[str, int | None]]  # official name -> our tensor, and which of its rows


@dataclass(frozen=True)
class OneBatch:
    """A training set that is one batch."""

    batch: Batch
    waited: float = 0.0

    @property
    def size(self) -> int:
        """Examples in it."""
        return len(self.batch)

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int) -> Iterator[Batch]:  # noqa: ARG002
        """The batch."""
        yield self.batch


def independent(depth_text: int, depth_vision: int) -> Places:
    """Where the official prompts of IVLP and PromptSRC are among ours."""
    places: dict[str, tuple[str, int | None]] = {
        "prompt_learner.ctx": ("prompts.text", 0),
        "image_encoder.VPT": ("prompts.vision", 0),
    }
    for layer in range(1, depth_text):
        places[f"text_encoder.transformer.{SHALLOW.format(layer)}"] = ("prompts.text", layer)
    for layer in range(1, depth_vision):
        places[f"image_encoder.transformer.{SHALLOW.format(layer)}"] = ("prompts.vision", layer)
    return places


def begin(case: Case, learner: PromptLearner[Any], places: Places) -> None:
    """Give the learned tensors the values that the case starts from."""
    tensors = {name: parameter.detach().clone() for name, parameter in learner.trainable().items()}
    for official, (name, row) in places.items():
        value = case.tensor(f"init.{official}")
        if row is None:
            tensors[name] = value
        else:
            tensors[name][row] = value
    learner.restore(tensors, case.file)


def named(prefix: str, tensors: Mapping[str, Tensor], places: Places) -> dict[str, Tensor]:
    """Our tensors under official names."""
    return {f"{prefix}.{o}": tensors[name] if row is None else tensors[name][row] for o, (name, row) in places.items()}


def after_steps(steps: Trace, places: Places) -> dict[str, Tensor]:
    """The learned tensors after each step, under official names."""
    answers: dict[str, Tensor] = {}
    for number, state in enumerate(steps.states, start=1):
        answers |= named(f"step{number}", state, places)
    return answers


def texts(case: Case, clip: Clip, layout: PromptLayout) -> dict[str, Any]:
    """Lengths of names, and ids in whose slots the words stand that the learned tokens start from."""
    names, words = case.words("classnames"), str(case.hyper.get("ctx_init") or "").replace("_", " ")
    ids, first = layout.ids.clone(), len(clip.tokenizer.lead)
    if words:
        ids[:, first : first + layout.slots] = torch.tensor(clip.tokenizer.pieces(words))[: layout.slots]
    lengths = [len(clip.tokenizer.pieces(readable(name))) for name in names]
    return {"name_lens": torch.tensor(lengths), "tokenized_prompts": ids}
