"""AutoPrompt: trigger words found by gradients, the model frozen. Shin et al., EMNLP 2020 (arXiv:2010.15980).

An iteration takes two epochs. The first sums the gradient of the loss at the current trigger words; then a slot is
drawn, and its candidates are the words with the greatest first-order decrease of the loss, -E[v] . gradient. The second
computes the loss with each candidate in the slot on the same texts, and the best one replaces the word if its loss is
lower. The loss is -log of the summed probabilities of a class's words over the whole vocabulary.

With validation texts the trigger with the lowest loss on them is kept. The authors' code (ucinlp/autoprompt,
create_trigger.py) counts right answers instead of the loss where label words are given, here and for candidates, and
does not compare with the first trigger. It sums over `accumulation_steps` batches; here the sum is over the whole
training set, the incomplete last batch included, a batch or two in few-shot tasks.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import SoftPrompt
from vlprompt.cloze.parts.base import ClozeLearner, Layout
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.verbalizer import Rule
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input, Needs
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class AutoPromptConfig(ClozeConfig):
    """A trigger and how it is searched."""

    rule: Rule = "logsumexp"  # probabilities of a class's words are summed (create_trigger.py, get_loss)
    length: int = number(3, at_least=1)  # triggers, before the blank, if the template has no soft slots (README, SST-2)
    candidates: int = number(10, at_least=1)  # words that are tried in an iteration (--num-cand)
    # Neither special tokens, nor label words, nor words with a capital letter may be triggers (--filter).
    filter: bool = True


@final
class AutoPrompt(ClozeLearner[AutoPromptConfig]):
    """Words in slots of the template, changed one at a time; soft slots of the template are the triggers.

    Attributes:
        trigger: (P,) ids of the current words; at first mask tokens, or the words of the template ({soft:it was}).
        best: (P,) the words with the lowest loss so far.
        gradient: (P, D) sum of the loss's gradients at the current words.
        slot: Number of the word that is replaced in this iteration.
        tried: (K,) ids of its candidates, -1 for none; the first is -1 while gradients are summed.
        losses: (1 + K,) summed losses of the current trigger and of the trigger with each candidate.
    """

    Config = AutoPromptConfig
    needs = Needs(Input.TEXTS, ordered=True, why_not_distributed="it compares words by sums over whole batches")
    one_blank = True
    trigger: Tensor

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: AutoPromptConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        blank = lm.vocabulary.pad if lm.vocabulary.blank is None else lm.vocabulary.blank
        start = [blank if word is None else word for word in self.renderer.soft_words]
        self.register_buffer("trigger", torch.tensor(start, device=lm.device))
        self.best, self.best_loss = self.trigger.clone(), torch.tensor(math.inf, dtype=torch.float64)
        self.gradient = torch.zeros(len(start), lm.width, device=lm.device)
        self.slot = torch.zeros((), dtype=torch.int64)
        self.tried = torch.full((self.config.candidates,), -1, device=lm.device)
        self.losses = torch.zeros(1 + self.config.candidates, dtype=torch.float64)
        self.train_texts: Batches | None = None
        self.val: Batches | None = None
        self._seen: set[int] = set()  # positions of the texts in this epoch's batches

    def make_layout(self, template: str) -> Layout:
        """The template with slots for the triggers."""
        return Layout(add_triggers(template, self.config.length))

    @property
    def words(self) -> tuple[str, ...]:
        """The trigger as the vocabulary spells it."""
        return tuple(self.backbone.vocabulary.shown(self.trigger.tolist()))

    def found_words(self) -> dict[str, tuple[str, ...]]:
        """The trigger."""
        return {"trigger": self.words}

    def training_state(self) -> dict[str, Tensor]:
        """The state of the search."""
        names = ("trigger", "best", "best_loss", "gradient", "slot", "tried", "losses")
        return {name: getattr(self, name) for name in names}

    def soft_prompt(self) -> SoftPrompt:
        """The current words."""
        return self.soft_prompt_of(self.trigger)

    def soft_prompt_of(self, trigger: Tensor) -> SoftPrompt:
        """(P,) words as tokens of the prompt."""
        return SoftPrompt(self.backbone.embed_tokens(trigger))

    def loss(self, batch: Batch) -> Tensor:
        """-log of the right class's probability over the whole vocabulary; a scalar."""
        return self.loss_with(self.soft_prompt(), batch)

    def loss_with(self, prompt: SoftPrompt, batch: Batch) -> Tensor:
        """The same with other words in the slots."""
        every = torch.arange(self.backbone.vocabulary_size)
        return self.vocabulary_loss(self.backbone.scores(self.sequences(batch), every, prompt), batch.labels)

    @torch.no_grad()
    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Start a search at the current trigger."""
        self.train_texts = train
        self.val = val if val is not None and val.size else None
        self._begin_iteration()
        self.best.copy_(self.trigger)
        self.best_loss.fill_(self.validation_loss())

    def backward(self, batch: Batch) -> Tensor:
        """Add to the sum of gradients, or to the candidates' losses; return the current trigger's loss."""
        self._seen.update(batch.index.tolist())
        if self.tried[0] < 0:
            return self._add_gradient(batch)
        with torch.no_grad():
            for number, word in enumerate(self.tried.tolist(), 1):
                if word >= 0:
                    loss = self.loss_with(self.soft_prompt_of(self._with(word)), batch)
                    self.losses[number] += len(batch) * loss.cpu()
            current = self.loss(batch)
            self.losses[0] += len(batch) * current.cpu()
        return current

    def _add_gradient(self, batch: Batch) -> Tensor:
        """Add the gradient at the triggers to its sum; return the loss."""
        tokens = self.backbone.embed_tokens(self.trigger).requires_grad_()
        loss = self.loss_with(SoftPrompt(tokens), batch)
        (gradient,) = torch.autograd.grad(loss, tokens)
        self.gradient += len(batch) * gradient
        return loss.detach()

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Propose candidates, or choose among them; after the last epoch use the best trigger."""
        with torch.enable_grad():
            for batch in self._left_out():
                self.backward(batch)
        self._seen.clear()
        if self.tried[0] < 0:
            self.propose(epoch)
        else:
            self._choose()
        if epoch == epochs:
            self.trigger.copy_(self.best)

    def _left_out(self) -> Iterator[Batch]:
        """Yield the texts of the incomplete batch, which a shuffled epoch drops; none where an epoch was cut short."""
        texts = self.train_texts
        left = set(range(len(texts.labels))) - self._seen if texts else set()
        if texts is None or len(left) >= texts.batch_size:
            return
        epoch = 0
        while left:
            for batch in texts.epoch(epoch):
                rows = [row for row, place in enumerate(batch.index.tolist()) if place in left]
                left -= set(batch.index.tolist())
                if rows:
                    yield batch.part(torch.tensor(rows)).to(self.backbone.device)
            epoch += 1

    def propose(self, epoch: int) -> None:
        """Draw a slot and find the words with the greatest first-order decrease of the loss there."""
        self.slot.fill_(self.draw_slot(epoch))
        gains = -(self.backbone.embed_tokens(self.allowed) @ self.gradient[self.slot])  # (A,)
        if self.config.filter:
            gains[torch.isin(self.allowed, self.verbalizer.ids)] = -math.inf
        top = gains.topk(min(len(self.tried), int(gains.isfinite().sum()))).indices
        self.tried[: len(top)] = self.allowed[top]

    def draw_slot(self, epoch: int) -> int:
        """The number of the word to change, which depends on the seed and the epoch."""
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        return int(torch.randint(len(self.trigger), (), generator=generator))

    @cached_property
    def allowed(self) -> Tensor:
        """(A,) ids that may be triggers; with the filter no special token and nothing that starts with a capital."""
        vocabulary = self.backbone.vocabulary
        count = min(len(vocabulary.tokenizer), len(self.backbone.table))
        if not self.config.filter:
            return torch.arange(count, device=self.backbone.device)
        texts = vocabulary.tokenizer.batch_decode([[piece] for piece in range(count)])
        ids = [p for p in range(count) if p not in vocabulary.special and not texts[p].strip()[:1].isupper()]
        return torch.tensor(ids, device=self.backbone.device)

    def _choose(self) -> None:
        """Use the best candidate if its loss is lower than the current word's; remember the best trigger so far."""
        losses = self.losses[1:].masked_fill(self.tried.cpu() < 0, math.inf)
        if losses.min() < self.losses[0]:
            self.trigger.copy_(self._with(int(self.tried[losses.argmin()])))
            loss = self.validation_loss()
            if self.val is None or loss < self.best_loss:
                self.best.copy_(self.trigger)
                self.best_loss.fill_(loss)
        self._begin_iteration()

    def validation_loss(self) -> float:
        """The current trigger's mean loss on validation texts; infinite where there are none."""
        if self.val is None:
            return math.inf
        every = [batch.to(self.backbone.device) for batch in self.val.epoch(0)]
        return sum(len(batch) * float(self.loss(batch)) for batch in every) / self.val.size

    def _with(self, word: int) -> Tensor:
        """The trigger (P,) with another word in the slot."""
        other = self.trigger.clone()
        other[self.slot] = word
        return other

    def _begin_iteration(self) -> None:
        self.gradient.zero_()
        self.tried.fill_(-1)
        self.losses.zero_()


def add_triggers(template: str, length: int) -> str:
    """The template if it has soft slots; else with `length` of them before its blank (README: {sentence} [T] [P] .)."""
    parsed = Template(template).check_blank()
    if parsed.parts_of("soft"):
        return template
    place = parsed.parts_of("mask")[0].column - 1
    return f"{template[:place]}{{soft:{length}}} {template[place:]}"


# create_trigger.py: 100 iterations, of two epochs each here; batches of 32. No parameter is trained.
RECIPE = TrainConfig(epochs=200, batch_size=32, lr=1.0, schedule="constant", warmup="none", augment="none")
SST2_RECIPE = replace(RECIPE, epochs=360, batch_size=24)  # README, SST-2: 180 iterations, batches of 24

SOURCE = "Shin et al. 2020 (arXiv:2010.15980)"
VARIANTS = {
    "default": Variant(AutoPromptConfig(), RECIPE, f"{SOURCE}, create_trigger.py --filter: 3 triggers, 10 candidates"),
    "no-filter": Variant(AutoPromptConfig(filter=False), RECIPE, f"{SOURCE}, create_trigger.py without --filter"),
    "sst2": Variant(AutoPromptConfig(candidates=100), SST2_RECIPE, f"{SOURCE}, README: 100 candidates, 180 iterations"),
    "sst2-no-filter": Variant(
        AutoPromptConfig(candidates=100, filter=False), SST2_RECIPE, f"{SOURCE}, README, without --filter"
    ),
}
