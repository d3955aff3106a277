"""LanguageModel: any masked, causal or T5-like model of transformers, frozen, that accepts prompts.

Its answer to a text is read at one position: the blank of a masked model, the last token before the blank of a causal
one, the first word of a decoder. The head is computed only there, and only for the words that are needed.
"""

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import lm_checks
from vlprompt.backbones.frozen import CHUNK_TOKENS, FrozenBackbone
from vlprompt.backbones.lm_head import at, replaced_head, rows_of, rows_only
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences, SoftPrompt
from vlprompt.backbones.outputs import at_least_float32
from vlprompt.backbones.prefixes import PrefixShape, cache_name, decoder_cache, encoder_prefix, prefix_cache, shapes_of
from vlprompt.backbones.vocabulary import Vocabulary
from vlprompt.errors import UsageError

Kind = Literal["masked", "causal", "encoder-decoder"]


class LanguageModel(FrozenBackbone):
    """A frozen language model.

    Attributes:
        kind: "masked", "causal" or "encoder-decoder".
        vocabulary: Its tokenizer.
        head: "rows only", or "whole vocabulary" if the model computes more than its head's rows times the state.
        linear: Whether scores are the head's rows times the state; some models transform them afterwards.
        first_position: The number of the first position; None if the model counts positions itself.
        is_trainable: Whether this is a copy that is trained.
    """

    kind_name, example = "a language model", "load_lm('bert-base-uncased')"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        kind: Kind,
        *,
        name: str = "custom",
        precision: str = "fp32",
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> None:
        """Freeze a model and check that texts given as embeddings have the scores of the same texts as ids.

        Args:
            model: A model of transformers with a language-model head.
            tokenizer: The model's tokenizer.
            kind: What it was trained to do.
            name: Its name in results.
            precision: "fp32" or "bf16".
            chunk_tokens: Number of tokens that run at once when no gradient is needed; fewer need less memory.

        Raises:
            VlpromptError: It has no blank, no head, or other scores for embeddings than for ids.
        """
        super().__init__(model, name, precision)
        self.kind, self.chunk_tokens, self.is_trainable = kind, chunk_tokens, False
        self.vocabulary = Vocabulary(tokenizer)
        lm_checks.check_blank(self)
        self.head, self.first_position = "rows only", lm_checks.find_first_position(self)
        if not lm_checks.scores_rows_only(self):
            self.head = "whole vocabulary"
        self.linear = self.head == "rows only" and lm_checks.is_linear(self)

    @property
    def table(self) -> Tensor:
        """(V, D) input embeddings of words."""
        return self.model.get_input_embeddings().weight  # type: ignore[no-any-return]

    @property
    def width(self) -> int:
        """D, the width of an input embedding."""
        return self.table.shape[1]

    @property
    def state_width(self) -> int:
        """E, the width of the state that enters the head's last layer."""
        return int(self.model.get_output_embeddings().weight.shape[1])

    @property
    def vocabulary_size(self) -> int:
        """V, the number of words that the head scores."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def max_length(self) -> int:
        """The longest row, special tokens and prompts included."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        own = self.vocabulary.max_length
        return own if positions is None else min(own, int(positions) - (self.first_position or 0))

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, without dropout, unless this is a copy that is trained."""
        return nn.Module.train(self, mode and self.is_trainable)

    def copy_to_train(self, *, head: bool = True) -> "LanguageModel":
        """A separate model with the same weights in float32, all of them trainable (or all but the head's)."""
        _ = self.fingerprint  # of the initial weights
        other = copy.deepcopy(self, {id(self.vocabulary): self.vocabulary})
        other.is_trainable, other.precision = True, "fp32"  # updates of 1e-5 are lost in bfloat16
        other.model.to(at_least_float32(self.table[:0]).dtype)
        (other.model if head else other.model.base_model).requires_grad_(True)
        return other

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Ids (...) -> float32 embeddings (..., D), without positions."""
        return at_least_float32(self.model.get_input_embeddings()(ids.to(self.device)))

    def word_table(self) -> tuple[Tensor, list[str]]:
        """(V, D) float32 embeddings of the tokenizer's words, and their spelling."""
        ids = list(range(min(len(self.table), len(self.vocabulary.tokenizer))))
        return self.embed_tokens(torch.tensor(ids)), self.vocabulary.shown(ids)

    def word_rows(self, words: Tensor) -> tuple[Tensor, Tensor | None]:
        """The head's (W, E) rows and (W,) biases for (W,) words, float32."""
        weight, bias = rows_of(self.model, words.to(self.device))
        return at_least_float32(weight), None if bias is None else at_least_float32(bias)

    def scores(self, texts: Sequences, words: Tensor, prompt: SoftPrompt = NO_SOFT_PROMPT) -> Tensor:
        """Scores (B, W) of (W,) words at the read-out position: the model's own logits."""
        words = words.to(self.device)
        if self.head == "whole vocabulary":
            return self.by_length(texts, lambda some: self.all_scores(some, prompt)[:, words])
        return self.by_length(texts, lambda some: self.apply_head(some, prompt, rows_only(self.model, words)))

    def states(self, texts: Sequences, prompt: SoftPrompt = NO_SOFT_PROMPT) -> Tensor:
        """States (B, E) at the read-out position, before the head's last layer; UsageError if not `linear`."""
        self.check_linear()
        return self.by_length(texts, lambda some: self.apply_head(some, prompt, lambda states: states))

    def check_linear(self) -> None:
        """Raise UsageError if the model's scores are not a state times the head's rows."""
        if not self.linear:
            raise UsageError(f"{self.name} transforms its scores after the head, so its states cannot be used.")

    def readout(self, texts: Sequences) -> Tensor:
        """Features of texts that can be stored: states (B, E), or scores (B, V) if states do not determine scores."""
        return self.states(texts) if self.linear else self.scores(texts, torch.arange(self.vocabulary_size))

    def scores_of(self, readout: Tensor, words: Tensor) -> Tensor:
        """Scores (B, W) of (W,) words, from the output of `readout`."""
        if not self.linear:
            return readout[:, words.to(self.device)]
        weight, bias = self.word_rows(words)
        return F.linear(readout, weight.to(readout), None if bias is None else bias.to(readout))

    def hidden(self, texts: Sequences, prompt: SoftPrompt = NO_SOFT_PROMPT) -> Tensor:
        """The last layer's states (B, D) at the read-out position, before any head."""
        if self.kind == "encoder-decoder":
            return self.states(texts, prompt)

        def last(some: Sequences) -> Tensor:
            outputs = self.run(some, prompt, self.model.base_model)
            return at_least_float32(at(outputs.last_hidden_state, some.read))

        return self.by_length(texts, last)

    def scores_everywhere(self, texts: Sequences) -> Tensor:
        """Scores (B, T, V) of the whole vocabulary at every position, for masked-language-model training."""
        return at_least_float32(self.run(texts).logits)

    @cached_property
    def prefix_shapes(self) -> tuple[PrefixShape, ...]:
        """(L, 2, H, d) of a prefix (of an encoder-decoder, two) without its length; VlpromptError if it takes none."""
        shapes = shapes_of(self.model.config, decoder=self.kind == "encoder-decoder")
        lm_checks.check_prefix(self, shapes)
        return shapes

    def prefix_prompt(self, prefix: Tensor) -> SoftPrompt:
        """A prompt from the prefix (L, 2, H, P, d) of all layers, the encoder's before the decoder's."""
        return SoftPrompt.of_prefix(prefix, self.prefix_shapes[0][0])

    def inputs(self, texts: Sequences, prompt: SoftPrompt) -> dict[str, Any]:
        """The arguments of the model's own forward."""
        embeddings = self.model.get_input_embeddings()(texts.ids)  # (B, T, D)
        if texts.slots is not None and prompt.tokens is not None:
            soft = prompt.tokens.to(embeddings.dtype)[texts.slots.clamp_min(0)]  # (B, T, D)
            embeddings = torch.where((texts.slots >= 0)[..., None], soft, embeddings)
        inputs: dict[str, Any] = {"inputs_embeds": embeddings, "attention_mask": texts.mask}
        if self.first_position is not None:
            places = (texts.mask.cumsum(1) - 1).clamp_min(0)
            inputs["position_ids"] = places + self.first_position + prompt.length
        elif bool((texts.mask[:, 0] == 0).any()):
            raise UsageError(f"{self.name} counts positions itself; pad its texts on the right, not on the left.")
        if texts.segments is not None and getattr(self.model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = texts.segments
        if self.kind == "encoder-decoder":
            inputs["decoder_input_ids"] = self.decoder_ids.expand(len(texts), -1)
            if prompt.decoder is not None:
                inputs[cache_name(self.model)] = decoder_cache(prompt.decoder, len(texts), self.dtype)
        elif prompt.prefix is not None:
            seen = torch.cat([texts.mask.new_ones(len(texts), prompt.length), texts.mask], dim=1)
            cache = prefix_cache(prompt.prefix, len(texts), self.dtype)
            inputs |= {cache_name(self.model.base_model): cache, "attention_mask": seen}
        return inputs

    def run(self, texts: Sequences, prompt: SoftPrompt = NO_SOFT_PROMPT, module: Any = None, **changed: Any) -> Any:
        """Run the model, or a part of it, on texts; `changed` replaces arguments."""
        inner = prompt.prefix if self.kind == "encoder-decoder" else None
        with encoder_prefix(self.model, inner, len(texts), self.dtype):
            return (module or self.model)(**{**self.inputs(texts, prompt), **changed})

    @property
    def decoder_ids(self) -> Tensor:
        """(1, 2): the decoder's start, then the blank; the next word is the answer (Raffel et al. 2020)."""
        return torch.tensor([[self.model.config.decoder_start_token_id, self.vocabulary.blank]], device=self.device)

    def apply_head(self, texts: Sequences, prompt: SoftPrompt, head: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, ...), the output of `head` for the states at the read-out position."""
        with replaced_head(self.model, None if self.kind == "encoder-decoder" else texts.read[:, None], head):
            outputs: Tensor = self.run(texts, prompt).logits
        return self.at_readout(outputs, texts)

    def all_scores(self, texts: Sequences, prompt: SoftPrompt = NO_SOFT_PROMPT) -> Tensor:
        """(B, V) scores of the whole vocabulary at the read-out position, by the model's own forward."""
        scores: Tensor = self.run(texts, prompt).logits
        return self.at_readout(scores, texts)

    def at_readout(self, outputs: Tensor, texts: Sequences) -> Tensor:
        """The (B, ...) outputs at the read-out position, from (B, T, ...), or (B, 1, ...) if already selected."""
        if self.kind == "encoder-decoder":
            return at_least_float32(outputs[:, -1])
        return at_least_float32(outputs[:, 0] if outputs.shape[1] == 1 else at(outputs, texts.read))

    def by_length(self, texts: Sequences, answer: Callable[[Sequences], Tensor]) -> Tensor:
        """Answers (B, ...) in order; without gradients, texts of similar length run together, to pad less."""
        if torch.is_grad_enabled() or texts.ids.numel() <= self.chunk_tokens:
            return answer(texts)
        parts = list(texts.by_length(self.chunk_tokens))
        answers = torch.cat([answer(texts.take(part)) for part in parts])
        return answers[torch.cat(parts).argsort()]
