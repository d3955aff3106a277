"""AutoPrompt: trigger words found by gradients, the model frozen. Shin et al., EMNLP 2020 (arXiv:2010.15980).

An iteration takes two epochs. In the first the gradient of the loss at every trigger is summed up at the present
trigger; a slot is drawn, and the candidates for it are the words whose first-order change, -E[v] . gradient, promises
most. In the second the candidates are judged, each in the trigger's place on the same texts, and the best is taken if
it beats the present one. The loss is -log of the summed probabilities of a class's words over the whole vocabulary.

Where there are validation texts the trigger that does best on them is kept, as theirs is. Candidates are judged by the
loss, as the paper says; the authors' code (ucinlp/autoprompt, create_trigger.py) counts right answers where words are
given. Theirs sums up over a number of batches; here it is the training set, which in few-shot tasks is a batch or two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Steering
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeConfig, ClozeLearner
from vlprompt.cloze.template import Template
from vlprompt.cloze.verbalizer import Rule
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.errors import UsageError
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class AutoPromptConfig(ClozeConfig):
    """A trigger and how it is searched."""

    rule: Rule = "logsumexp"  # probabilities of a class's words are summed (create_trigger.py, get_loss)
    length: int = 3  # triggers, before the blank, where the template has no soft slots of its own (README, SST-2)
    candidates: int = 10  # words judged in an iteration (--num-cand)

    def __post_init__(self) -> None:
        """Raise UsageError for a search of nothing."""
        super().__post_init__()
        if self.length < 1 or self.candidates < 1:
            raise UsageError(f"length {self.length}, candidates {self.candidates}: both must be 1 or more.")


@final
class AutoPrompt(ClozeLearner):
    """Words in slots of the template, changed one at a time; soft slots of the template are the triggers.

    Attributes:
        trigger: (P,) ids of the present words; at first blanks, or the words that the template gives ({soft:it was}).
        best: (P,) those that did best so far.
    """

    one_blank = True
    in_order = True
    keeps_whole_batches = "it sums up gradients and judges words over whole batches"
    config: AutoPromptConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: AutoPromptConfig = AutoPromptConfig(), *, seed: int = 0
    ) -> None:
        template = before_blank(config.template or NULL_TEMPLATE, config.length)
        super().__init__(lm, classes, replace(config, template=template), seed=seed)
        blank = lm.vocabulary.pad if lm.vocabulary.blank is None else lm.vocabulary.blank
        start = [blank if word is None else word for word in self.renderer.soft_words]
        self.trigger = torch.tensor(start, device=lm.device)
        self.best, self.best_loss = self.trigger.clone(), torch.tensor(math.inf, dtype=torch.float64)
        self.gradient = torch.zeros(len(start), lm.width, device=lm.device)
        self.slot = torch.zeros((), dtype=torch.int64)
        self.tried = torch.full((config.candidates,), -1, device=lm.device)  # -1: none, the gradient is summed up
        self.losses = torch.zeros(1 + config.candidates, dtype=torch.float64)  # of the present trigger, then of others
        self.val: Batches | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The trigger as the vocabulary spells it."""
        return tuple(self.backbone.vocabulary.shown(self.trigger.tolist()))

    def found_words(self) -> dict[str, tuple[str, ...]]:
        """The trigger."""
        return {"trigger": self.words}

    def soft_tokens(self) -> dict[str, Tensor]:
        """None: what is found are words."""
        return {}

    def found(self) -> dict[str, Tensor]:
        """The trigger."""
        return {"trigger": self.trigger}

    def memory(self) -> dict[str, Tensor]:
        """Where the search is."""
        held = ("trigger", "best", "best_loss", "gradient", "slot", "tried", "losses")
        return {name: getattr(self, name) for name in held}

    def steering(self) -> Steering:
        """The present words."""
        return self.of(self.trigger)

    def of(self, trigger: Tensor) -> Steering:
        """(P,) words as tokens of the prompt."""
        return Steering(self.backbone.embed_tokens(trigger))

    def loss(self, batch: Batch) -> Tensor:
        """-log of the right class's probability over the whole vocabulary; a scalar."""
        return self.loss_with(self.steering(), batch)

    def loss_with(self, prompt: Steering, batch: Batch) -> Tensor:
        """The same with other words in the slots."""
        every = torch.arange(self.backbone.vocabulary_size)
        scores = self.backbone.scores(self.sequences(batch), every, prompt)  # (B, V)
        classes = self.verbalizer(scores[:, self.verbalizer.ids])  # (B, C)
        return (scores.logsumexp(1) - classes.gather(1, batch.labels[:, None])[:, 0]).mean()

    @torch.no_grad()
    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Begin a search at the trigger as it is."""
        self.val = val if val is not None and val.size else None
        self._begin_iteration()
        self.best.copy_(self.trigger)
        self.best_loss.fill_(self._judged())

    def backward(self, batch: Batch) -> Tensor:
        """Sum up the gradient, or judge the candidates; the present trigger's loss."""
        if self.tried[0] < 0:
            return self._differentiate(batch)
        with torch.no_grad():
            for place, word in enumerate(self.tried.tolist()):
                if word >= 0:
                    self.losses[1 + place] += len(batch) * self.loss_with(self.of(self._with(word)), batch).cpu()
            present = self.loss(batch)
            self.losses[0] += len(batch) * present.cpu()
        return present

    def _differentiate(self, batch: Batch) -> Tensor:
        """Add the gradient at the triggers; the loss."""
        tokens = self.backbone.embed_tokens(self.trigger).requires_grad_()
        loss = self.loss_with(Steering(tokens), batch)
        (gradient,) = torch.autograd.grad(loss, tokens)
        self.gradient += len(batch) * gradient
        return loss.detach()

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Propose candidates, or choose among them; after the last epoch the best trigger takes its place."""
        if self.tried[0] < 0:
            self.propose(epoch)
        else:
            self._choose()
        if epoch == epochs:
            self.trigger.copy_(self.best)

    def propose(self, epoch: int) -> None:
        """Draw a slot and find the words that promise most there."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        self.slot.copy_(torch.randint(len(self.trigger), (), generator=generator))
        gains = -(self.backbone.embed_tokens(self.allowed) @ self.gradient[self.slot])  # (A,)
        gains[torch.isin(self.allowed, self.verbalizer.ids)] = -math.inf
        top = gains.topk(min(len(self.tried), int(gains.isfinite().sum()))).indices
        self.tried[: len(top)] = self.allowed[top]

    @cached_property
    def allowed(self) -> Tensor:
        """(A,) ids that may be triggers: no special token, nothing that opens with a capital (--filter)."""
        vocabulary = self.backbone.vocabulary
        known = min(len(vocabulary.tokenizer), len(self.backbone.table))
        said = vocabulary.tokenizer.batch_decode([[piece] for piece in range(known)])
        ids = [p for p in range(known) if p not in vocabulary.special and not said[p].strip()[:1].isupper()]
        return torch.tensor(ids, device=self.backbone.device)

    def _choose(self) -> None:
        """Take the best candidate if it beats the present word; keep the trigger if it is the best so far."""
        judged = self.losses[1:].masked_fill(self.tried.cpu() < 0, math.inf)
        if judged.min() < self.losses[0]:
            self.trigger.copy_(self._with(int(self.tried[judged.argmin()])))
            loss = self._judged()
            if self.val is None or loss < self.best_loss:
                self.best.copy_(self.trigger)
                self.best_loss.fill_(loss)
        self._begin_iteration()

    def _judged(self) -> float:
        """The present trigger's mean loss on validation texts; infinite where there are none."""
        if self.val is None:
            return math.inf
        held = [batch.to(self.backbone.device) for batch in self.val.epoch(0)]
        return sum(len(batch) * float(self.loss(batch)) for batch in held) / self.val.size

    def _with(self, word: int) -> Tensor:
        """The trigger (P,) with another word in the slot."""
        other = self.trigger.clone()
        other[self.slot] = word
        return other

    def _begin_iteration(self) -> None:
        self.gradient.zero_()
        self.tried.fill_(-1)
        self.losses.zero_()


def before_blank(template: str, length: int) -> str:
    """A template with triggers: its own soft slots, or else so many before the blank (README: {sentence} [T] [P] .)."""
    parsed = Template(template).check_blank()
    if parsed.parts_of("soft"):
        return template
    place = parsed.parts_of("mask")[0].column - 1
    return f"{template[:place]}{{soft:{length}}} {template[place:]}"


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """create_trigger.py: 100 iterations, of two epochs each here; batches of 32. Nothing is trained by steps."""
    return TrainConfig(epochs=200, batch_size=32, lr=1.0, schedule="constant", warmup="none", augment="none")


def sst2_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """README, SST-2: 180 iterations, batches of 24."""
    return replace(recipe(shots, dataset), epochs=360, batch_size=24)


SOURCE = "Shin et al. 2020 (arXiv:2010.15980)"
VARIANTS = {
    "default": Variant(AutoPromptConfig(), recipe, f"{SOURCE}, create_trigger.py: 3 triggers, 10 candidates"),
    "sst2": Variant(AutoPromptConfig(candidates=100), sst2_recipe, f"{SOURCE}, README: 100 candidates, 180 iterations"),
}
