"""LanguageModel: any masked, causal or T5-like model of transformers, frozen, that takes prompts.

Its answer to a text is read at one position: the blank of a masked model, the last token before the blank of a causal
one, the first word of a decoder. Only there, and only for the words that are asked for, is the head computed.
"""

import copy
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.fingerprint import fingerprint
from vlprompt.backbones.prefixes import Shape, cache, cache_name, decoder_cache, in_encoder, shapes_of
from vlprompt.backbones.readout import at, reading, rows_of, rows_only
from vlprompt.backbones.sequences import NOTHING, Row, Sequences, Steering
from vlprompt.backbones.text_encoding import at_least_float32
from vlprompt.backbones.vocabulary import SENTINEL, Vocabulary
from vlprompt.errors import UsageError, VlpromptError, unknown

Kind = Literal["masked", "causal", "encoder-decoder"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHUNK_TOKENS = 2048
PROBE = "a probe of the model"


class LanguageModel(nn.Module):
    """A frozen language model. What leaves it is float32 (float64 for a model in double precision).

    Attributes:
        name: What `load_lm` was asked for.
        kind: "masked", "causal" or "encoder-decoder".
        precision: "fp32" or "bf16", the type the model computes in; prompts stay float32.
        vocabulary: Its tokenizer.
        head: "rows only", or "whole vocabulary" where the model does more with its scores than the head says.
        linear: Whether scores are the head's rows times the state; some models bend them afterwards.
    """

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
        """Freeze a model and check that texts given as embeddings lead to its own scores.

        Args:
            model: A model of transformers with a language-model head.
            tokenizer: The tokenizer that goes with it.
            kind: What it was trained to do.
            name: How to call it in results.
            precision: "fp32" or "bf16".
            chunk_tokens: Tokens at once where no gradient is needed; less takes less memory.

        Raises:
            VlpromptError: It has no blank, no head, or other scores for embeddings than for ids.
        """
        super().__init__()
        if precision not in DTYPES:
            raise unknown("precision", precision, DTYPES)
        self.name, self.kind, self.precision, self.chunk_tokens = name, kind, precision, chunk_tokens
        self.model: Any = model.requires_grad_(False).eval()
        self.vocabulary = Vocabulary(tokenizer)
        self.tuned = False
        self._check_blank()
        if precision != "fp32":
            self.fingerprint = fingerprint(model)  # of the weights as they were stored
            self.model.to(DTYPES[precision])
        self.head, self.first_position = "rows only", self._find_positions()
        probe, words = self._probe(), self._some_words
        if not self._close(self.scores(probe, words), self._whole(probe)[:, words]):
            self.head = "whole vocabulary"
        self.linear = self.head == "rows only" and self._is_linear(probe, words)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the weights."""
        return fingerprint(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type the model computes in."""
        return self.table.dtype

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
        """V, words that the head scores."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def max_length(self) -> int:
        """The longest row, special tokens and prompts included."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        own = self.vocabulary.max_length
        return own if positions is None else min(own, int(positions) - (self.first_position or 0))

    def train(self, mode: bool = True) -> "LanguageModel":
        """Stay in evaluation mode, without dropout, unless this is a copy to be trained."""
        return super().train(mode and self.tuned)

    def copy_to_train(self, *, head: bool = True) -> "LanguageModel":
        """A model of its own with the same weights, in float32, all of them trainable (or all but the head's)."""
        _ = self.fingerprint  # of the weights it starts from
        twin = copy.deepcopy(self, {id(self.vocabulary): self.vocabulary})
        twin.tuned, twin.precision = True, "fp32"  # steps of 1e-5 are lost in bfloat16
        twin.model.to(at_least_float32(self.table[:0]).dtype)
        (twin.model if head else twin.model.base_model).requires_grad_(True)
        return twin

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Ids (...) -> float32 embeddings (..., D), without positions."""
        return at_least_float32(self.model.get_input_embeddings()(ids.to(self.device)))

    def word_table(self) -> tuple[Tensor, list[str]]:
        """(V, D) float32 embeddings of the words that the tokenizer has, and how it spells them."""
        ids = list(range(min(len(self.table), len(self.vocabulary.tokenizer))))
        return self.embed_tokens(torch.tensor(ids)), self.vocabulary.shown(ids)

    def word_rows(self, words: Tensor) -> tuple[Tensor, Tensor | None]:
        """The head's (W, E) rows and (W,) biases for (W,) words, float32."""
        weight, bias = rows_of(self.model, words.to(self.device))
        return at_least_float32(weight), None if bias is None else at_least_float32(bias)

    def scores(self, texts: Sequences, words: Tensor, prompt: Steering = NOTHING) -> Tensor:
        """Scores (B, W) of (W,) words at the read-out, as the model's own logits have them."""
        words = words.to(self.device)
        if self.head == "whole vocabulary":
            return self.by_length(texts, lambda some: self._whole(some, prompt)[:, words])
        return self.by_length(texts, lambda some: self._read(some, prompt, rows_only(self.model, words)))

    def states(self, texts: Sequences, prompt: Steering = NOTHING) -> Tensor:
        """States (B, E) at the read-out, as they enter the head's last layer; `word_rows` go with them.

        Raises:
            UsageError: The model's scores are not these states times the head's rows.
        """
        self.check_linear()
        return self.by_length(texts, lambda some: self._read(some, prompt, lambda states: states))

    def check_linear(self) -> None:
        """Raise UsageError where the model's scores are not a state times the head's rows."""
        if not self.linear:
            raise UsageError(f"{self.name} does more with its scores than its head says; its states cannot be used.")

    def readout(self, texts: Sequences) -> Tensor:
        """What is worth keeping of texts: states (B, E), or scores (B, V) where states do not lead to scores."""
        return self.states(texts) if self.linear else self.scores(texts, torch.arange(self.vocabulary_size))

    def words_of(self, readout: Tensor, words: Tensor) -> Tensor:
        """Scores (B, W) of (W,) words, from what `readout` gave."""
        if not self.linear:
            return readout[:, words.to(self.device)]
        weight, bias = self.word_rows(words)
        return F.linear(readout, weight.to(readout), None if bias is None else bias.to(readout))

    def hidden(self, texts: Sequences, prompt: Steering = NOTHING) -> Tensor:
        """The last layer's states (B, D) at the read-out, before any head."""
        if self.kind == "encoder-decoder":
            return self.states(texts, prompt)

        def last(some: Sequences) -> Tensor:
            found = self.run(some, prompt, self.model.base_model)
            return at_least_float32(at(found.last_hidden_state, some.read))

        return self.by_length(texts, last)

    def everywhere(self, texts: Sequences) -> Tensor:
        """Scores (B, T, V) of the whole vocabulary at every place: for training a masked model, which needs both."""
        return at_least_float32(self.run(texts).logits)

    @cached_property
    def prefix_shapes(self) -> tuple[Shape, ...]:
        """(L, 2, H, d) of a prefix without its length; of an encoder-decoder, the encoder's and the decoder's.

        Raises:
            VlpromptError: The model takes no prefix, or takes one without a sign and ignores it.
        """
        shapes = shapes_of(self.model.config, decoder=self.kind == "encoder-decoder")
        layers, _, heads, size = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        noise = torch.randn(layers, 2, heads, 3, size, generator=torch.Generator().manual_seed(0)).to(self.device)
        probe, words = self._probe(), self._some_words
        with torch.enable_grad():  # whoever asks first
            try:
                moved = self.scores(probe, words, Steering.of_prefix(noise.requires_grad_(), shapes[0][0]))
            except Exception as error:  # whatever an architecture makes of an argument it does not know
                raise self._no_prefix(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
            if torch.equal(moved, self.scores(probe, words)) or not moved.requires_grad:
                raise self._no_prefix("it accepts a prefix and ignores it")
            (gradient,) = torch.autograd.grad(moved.square().sum(), noise, allow_unused=True)
        if gradient is None or bool((gradient.flatten(1) == 0).all(1).any()):
            raise self._no_prefix("a prefix does not reach all of its layers")
        return shapes

    def prefixed(self, prefix: Tensor) -> Steering:
        """A prefix (L, 2, H, P, d) for all layers, an encoder's before its decoder's."""
        return Steering.of_prefix(prefix, self.prefix_shapes[0][0])

    def _inputs(self, texts: Sequences, prompt: Steering) -> dict[str, Any]:
        """What the model's own forward is called with."""
        embeddings = self.model.get_input_embeddings()(texts.ids)  # (B, T, D)
        if texts.slots is not None and prompt.tokens is not None:
            soft = prompt.tokens.to(embeddings.dtype)[texts.slots.clamp_min(0)]  # (B, T, D)
            embeddings = torch.where((texts.slots >= 0)[..., None], soft, embeddings)
        inputs: dict[str, Any] = {"inputs_embeds": embeddings, "attention_mask": texts.mask}
        if self.first_position is not None:
            places = (texts.mask.cumsum(1) - 1).clamp_min(0)
            inputs["position_ids"] = places + self.first_position + prompt.length
        elif bool((texts.mask[:, 0] == 0).any()):
            raise UsageError(f"{self.name} counts positions by itself; pad its texts on the right, not on the left.")
        if texts.segments is not None and getattr(self.model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = texts.segments
        if self.kind == "encoder-decoder":
            inputs["decoder_input_ids"] = self.decoder_ids.expand(len(texts), -1)
            if prompt.decoder is not None:
                inputs[cache_name(self.model)] = decoder_cache(prompt.decoder, len(texts), self.dtype)
        elif prompt.prefix is not None:
            seen = torch.cat([texts.mask.new_ones(len(texts), prompt.length), texts.mask], dim=1)
            kept = cache(prompt.prefix, len(texts), self.dtype)
            inputs |= {cache_name(self.model.base_model): kept, "attention_mask": seen}
        return inputs

    def run(self, texts: Sequences, prompt: Steering = NOTHING, module: Any = None, **changed: Any) -> Any:
        """What the model, or a part of it, makes of texts."""
        inner = prompt.prefix if self.kind == "encoder-decoder" else None
        with in_encoder(self.model, inner, len(texts), self.dtype):
            return (module or self.model)(**{**self._inputs(texts, prompt), **changed})

    @property
    def decoder_ids(self) -> Tensor:
        """(1, 2): the decoder's start, then the blank, whose next word is the answer (Raffel et al. 2020)."""
        return torch.tensor([[self.model.config.decoder_start_token_id, self.vocabulary.blank]], device=self.device)

    def _read(self, texts: Sequences, prompt: Steering, head: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, ...) of what `head` makes of the read-out state."""
        with reading(self.model, None if self.kind == "encoder-decoder" else texts.read[:, None], head):
            found: Tensor = self.run(texts, prompt).logits
        return self._at_readout(found, texts)

    def _whole(self, texts: Sequences, prompt: Steering = NOTHING) -> Tensor:
        """(B, V) by the model's own forward, unchanged."""
        found: Tensor = self.run(texts, prompt).logits
        return self._at_readout(found, texts)

    def _at_readout(self, found: Tensor, texts: Sequences) -> Tensor:
        """(B, T, ...), or (B, 1, ...) from a base that read out by itself, at the read-out."""
        if self.kind == "encoder-decoder":
            return at_least_float32(found[:, -1])
        return at_least_float32(found[:, 0] if found.shape[1] == 1 else at(found, texts.read))

    def by_length(self, texts: Sequences, answer: Callable[[Sequences], Tensor]) -> Tensor:
        """Answers (B, ...) in order; without gradients, texts of like length are run together, to pad less."""
        if torch.is_grad_enabled() or texts.ids.numel() <= self.chunk_tokens:
            return answer(texts)
        parts = list(texts.by_length(self.chunk_tokens))
        found = torch.cat([answer(texts.take(part)) for part in parts])
        return found[torch.cat(parts).argsort()]

    def _is_linear(self, probe: Sequences, words: Tensor) -> bool:
        """Whether the probe's states times the rows of some words are the model's scores.

        A soft cap hardly shows in small scores, and not at all in bfloat16: it does in states of 256 times the size.
        """
        states = self._read(probe, NOTHING, lambda states: states)
        large = self._read(probe, NOTHING, lambda states: 256 * states)
        if not torch.allclose(large, 256 * states, rtol=1e-3):
            return False
        weight, bias = self.word_rows(words)
        return self._close(F.linear(states, weight, bias), self._whole(probe)[:, words])

    def _check_blank(self) -> None:
        """Refuse a model that no blank can be given to."""
        if self.model.get_output_embeddings() is None:
            raise VlpromptError(f"{self.name} has no language-model head; give a model trained to fill blanks.")
        if self.kind == "masked" and self.vocabulary.blank is None:
            raise VlpromptError(f"{self.name}: its tokenizer has no mask token, and a masked model needs one.")
        if self.kind == "encoder-decoder" and self.vocabulary.blank is None:
            raise VlpromptError(f"{self.name}: its tokenizer has no {SENTINEL}; of encoder-decoders, use a T5.")

    @property
    def _some_words(self) -> Tensor:
        """(64,) words to try, from the far end, so that none stands at its own number among them."""
        return torch.arange(self.vocabulary_size, device=self.device).flip(0)[:64]

    def _probe(self) -> Sequences:
        """Two short texts of different length, with a blank."""
        words, blank = self.vocabulary.pieces(PROBE), [] if self.vocabulary.blank is None else [self.vocabulary.blank]
        lead = len(self.vocabulary.lead)
        rows = [Row((*self.vocabulary.lead, *pieces, *blank), lead + len(pieces) - (not blank))
                for pieces in (words, words[:2])]  # fmt: skip
        return Sequences.of(rows, self.vocabulary.pad, self.device)

    @torch.no_grad()
    def _find_positions(self) -> int | None:
        """The number of the first position; None where the model counts by itself.

        Found by trying: RoBERTa and its kin begin behind the padding's id, all others at 0.

        Raises:
            VlpromptError: No way of counting gives the model's own scores.
        """
        own = "position_ids" in inspect.signature(self.model.forward).parameters
        padding = getattr(self.model.config, "pad_token_id", None)
        for first in (0, *([] if padding is None else [int(padding) + 1])) if own else (None,):
            self.first_position = first
            if self._close(self._whole(self._probe()), self._by_ids()):
                return first
        raise VlpromptError(
            f"{self.name} ({type(self.model).__name__}): texts given as embeddings do not lead to the scores of the "
            "same texts as ids, so prompts cannot enter it. Use another model, such as a BERT, RoBERTa, GPT-2 or T5."
        )

    def _by_ids(self) -> Tensor:
        """(2, V) of the probe by the model's own forward from ids, one text at a time and without padding."""
        probe, found = self._probe(), []
        for row in range(len(probe)):
            one = probe.take(torch.tensor([row], device=self.device))
            extra = {"decoder_input_ids": self.decoder_ids} if self.kind == "encoder-decoder" else {}
            found.append(self._at_readout(self.model(input_ids=one.ids, **extra).logits, one))
        return torch.cat(found)

    def _close(self, found: Tensor, wanted: Tensor) -> bool:
        """Whether two sets of scores agree up to rounding."""
        if found.shape != wanted.shape:
            return False
        tolerance = (1e-4 if self.precision == "fp32" else 0.1) * float(wanted.abs().max())
        return bool((found - wanted).abs().max() <= tolerance)

    def _no_prefix(self, reason: str) -> VlpromptError:
        return VlpromptError(
            f"{self.name} ({type(self.model).__name__}) takes no keys and values before its own: {reason}. Use soft "
            "tokens in the text (prompt_tuning, p_tuning), or a BERT, RoBERTa, GPT-2 or T5."
        )
