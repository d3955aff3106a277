"""Clip: any open_clip model, frozen, that takes prompts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.fingerprint import fingerprint
from vlprompt.backbones.image_tokens import ImageTokens, can_be_taken_apart
from vlprompt.backbones.prompts import NONE, TextPrompt, VisualPrompt
from vlprompt.backbones.text_encoding import SharedPrefix, TextEncoder, at_least_float32, why_not_causal
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.backbones.whole_text import WholeText, first_of
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import VlpromptError, unknown

Precision = Literal["fp32", "bf16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHUNK_TOKENS = 2048  # enough to fill a processor's matrix units, little enough for a laptop's memory


class Clip(nn.Module):
    """A frozen CLIP. Features leave it in float32 and are not normalised.

    Attributes:
        name: What `load_clip` was asked for.
        precision: "fp32" or "bf16", the type the towers compute in; prompts stay float32.
        preprocess: The image size and normalisation the model was trained with.
        tokenizer: Its tokenizer.
        embed_dim: E, the width of image and text features.
        text_path: "shared prefix" or "whole text", and why.
        logit_scale: Exp of the learned temperature, float32 in every precision.
        logit_bias: What SigLIP adds to every score, else None.
    """

    logit_scale: Tensor
    logit_bias: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        preprocess: Preprocess,
        *,
        name: str = "custom",
        precision: str = "fp32",
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> None:
        """Freeze a model and check that prompts can enter its text tower.

        Args:
            model: An open_clip model (CLIP, CustomTextCLIP or CoCa).
            tokenizer: The tokenizer that goes with it.
            preprocess: Image size, mean, deviation and interpolation.
            name: How to call it in results.
            precision: "fp32" or "bf16".
            chunk_tokens: How many text tokens are encoded at once; less takes less memory.

        Raises:
            VlpromptError: The text tower does not give its own features back when they enter as a prompt.
        """
        super().__init__()
        if precision not in DTYPES:
            raise unknown("precision", precision, DTYPES)
        self.name, self.precision, self.preprocess, self.tokenizer = name, precision, preprocess, tokenizer
        self.model: Any = model.requires_grad_(False).eval()
        bias: Tensor | None = getattr(model, "logit_bias", None)
        # Kept aside in float32: bfloat16 would round them.
        scale = model.get_parameter("logit_scale").float().exp()
        self.register_buffer("logit_scale", scale.reshape(()), persistent=False)
        self.register_buffer("logit_bias", None if bias is None else bias.float().reshape(()), persistent=False)
        if precision != "fp32":
            self.fingerprint = fingerprint(model)  # of the weights as they were stored
            self.model.to(DTYPES[precision])
        self.tower: Any = getattr(model, "text", model)
        self.encoder, self.text_path = self._choose_encoder(chunk_tokens)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the weights."""
        return fingerprint(self.model)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        """The type the towers compute in."""
        return next(self.model.parameters()).dtype  # type: ignore[no-any-return]

    @property
    def token_embedding(self) -> nn.Module:
        """The text tower's table of token embeddings."""
        if hasattr(self.tower, "token_embedding"):
            return self.tower.token_embedding  # type: ignore[no-any-return]
        if hasattr(getattr(self.tower, "transformer", None), "get_input_embeddings"):
            return self.tower.transformer.get_input_embeddings()  # type: ignore[no-any-return]
        raise self._refusal("it has no table of token embeddings")

    @property
    def text_width(self) -> int:
        """D, the width of a text token."""
        weight: Tensor = self.token_embedding.weight  # type: ignore[assignment]
        return weight.shape[1]

    @property
    def text_layers(self) -> int:
        """How many layers of the text tower deep prompts can enter."""
        blocks = getattr(getattr(self.tower, "transformer", None), "resblocks", None)
        if blocks is None:
            raise self._refusal("deep prompts need open_clip's own text transformer")
        return len(blocks)

    @cached_property
    def image_tokens(self) -> ImageTokens:
        """The image tower as prompts see it, checked when it is first asked for."""
        return ImageTokens(self.model.visual)

    @cached_property
    def in_steps(self) -> bool:
        """Whether the image tower can be run step by step, which costs less than its own forward."""
        return can_be_taken_apart(lambda: self.image_tokens)

    @property
    def vision_width(self) -> int:
        """D, the width of an image token."""
        return self.image_tokens.width

    @property
    def vision_layers(self) -> int:
        """How many layers of the image tower prompts can enter."""
        return self.image_tokens.layers

    def train(self, mode: bool = True) -> "Clip":  # noqa: ARG002
        """Stay in evaluation mode: a frozen model has no other."""
        return super().train(False)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Ids (...) -> float32 token embeddings (..., D), without positions."""
        return at_least_float32(self.token_embedding(ids.to(self.device)))

    def word_table(self) -> tuple[Tensor, list[str]]:
        """(V, D) float32 token embeddings of the words it was trained on, and how each is written."""
        rows: Tensor = self.token_embedding.weight  # type: ignore[assignment]
        ids = [piece for piece in self.tokenizer.ids if piece < len(rows)]
        return self.embed_tokens(torch.tensor(ids)), [self.tokenizer.word(piece) for piece in ids]

    def encode_image(self, images: Tensor, prompt: VisualPrompt = NONE) -> Tensor:
        """(B, 3, H, W) normalised images, with prompt tokens beside their own -> (B, E) features.

        Raises:
            VlpromptError: There are prompts, and the image tower cannot take them.
        """
        if prompt.tokens or prompt.prefixes or self.in_steps:
            return self.image_tokens(images.to(self.device), prompt)
        features = self.model.encode_image(images.to(self.device, self.dtype), normalize=False)
        return at_least_float32(first_of(features))

    def encode_text(self, prompt: TextPrompt) -> Tensor:
        """A prompt for C texts in G variants -> (G, C, E) features."""
        return self.encoder(prompt)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N plain texts -> (N, E) features."""
        with torch.no_grad():
            return self.encoder(self.prompt_of(self.tokenizer(texts)))[0]

    def prompt_of(self, ids: Tensor) -> TextPrompt:
        """(N, L) token ids -> the prompt that stands for them, sharing whatever all rows open with."""
        content = ids != self.tokenizer.pad
        content[:, len(self.tokenizer.lead)] = True  # an empty text still has its first token
        last = (content * torch.arange(ids.shape[1], device=ids.device)).argmax(dim=1)
        same = (ids == ids[0]).all(dim=0).long().cumprod(dim=0)
        shared = min(int(same.sum()), int(last.min()))
        embedded = self.embed_tokens(ids[:, : int(last.max()) + 1])
        return TextPrompt(embedded[:1, :shared], embedded[:, shared:], last - shared, ids)

    def scores(self, features: Tensor, text: Tensor) -> Tensor:
        """Scaled cosine similarities.

        Args:
            features: (B, E) image features.
            text: (C, E), (1, C, E), or (B, C, E) where every image has texts of its own.

        Returns:
            (B, C) class scores: exp(logit_scale) * cosine + logit_bias where the model has one (SigLIP).
        """
        image, text = F.normalize(features, dim=-1), F.normalize(text, dim=-1)
        if text.ndim == 3 and text.shape[0] > 1:
            cosine = torch.einsum("be,bce->bc", image, text)
        else:
            cosine = image @ text.reshape(-1, text.shape[-1]).T
        scores = self.logit_scale * cosine
        return scores if self.logit_bias is None else scores + self.logit_bias

    def _choose_encoder(self, chunk_tokens: int) -> tuple[TextEncoder, str]:
        """The fast path if it is exact for this tower, else the library's own forward, else a refusal."""
        texts, tokenizer = ("x x x x", "x x"), self.tokenizer
        rows = [[*tokenizer.lead, *tokenizer.pieces(text), *tokenizer.tail] for text in texts]
        ids = tokenizer.pad_rows(rows, texts)
        try:
            with torch.no_grad():
                wanted = first_of(self.model.encode_text(ids.to(self.device), normalize=False))
        except (RuntimeError, IndexError) as error:
            said = str(error).splitlines()[0]
            raise self._refusal(f"it cannot read rows of {ids.shape[1]} tokens ({said})") from error
        self.embed_dim = wanted.shape[-1]
        lead = len(tokenizer.lead)
        whole = WholeText(self.model, self.token_embedding, chunk_tokens, lead)
        reason = why_not_causal(self.tower)
        tried: list[tuple[TextEncoder, str]] = [(whole, f"whole text: {reason or 'the shared prefix was not exact'}")]
        if not reason:
            tried.insert(0, (SharedPrefix(self.tower, chunk_tokens, lead), "shared prefix"))
        for encoder, label in tried:
            if self._is_exact(encoder, ids, wanted):
                return encoder, label
        raise self._refusal("tokens given as embeddings do not lead to the features that the same tokens have")

    def _is_exact(self, encoder: TextEncoder, ids: Tensor, wanted: Tensor) -> bool:
        """Whether zero prompts give the library's own features (N, E), and a prompt's gradient comes back."""
        prompt = self.prompt_of(ids)
        with torch.enable_grad():
            prefix = prompt.prefix.detach().requires_grad_()
            got = encoder(TextPrompt(prefix, prompt.suffix, prompt.ends, ids))[0]
            if not got.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(got.square().sum(), prefix, allow_unused=True)
        tolerance = (1e-4 if self.precision == "fp32" else 0.1) * float(wanted.abs().max())
        return bool((got - wanted).abs().max() <= tolerance) and gradient is not None and bool(gradient.any())

    def _refusal(self, reason: str) -> VlpromptError:
        return VlpromptError(
            f"{self.name}: prompts cannot enter its text tower ({type(self.tower).__name__}): {reason}. "
            "Use a CLIP of open_clip, such as 'ViT-B-16'."
        )
