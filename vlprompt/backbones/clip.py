"""Clip: any open_clip model, frozen, that accepts prompts."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.frozen import CHUNK_TOKENS, ImageBackbone
from vlprompt.backbones.outputs import DTYPES, agree, at_least_float32, pooled
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.backbones.shared_prefix import SharedPrefixEncoder, why_not_causal
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.backbones.whole_text import WholeTextEncoder
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import VlpromptError

TextPromptEncoder = SharedPrefixEncoder | WholeTextEncoder


class Clip(ImageBackbone):
    """A frozen CLIP. Features are not normalised.

    Attributes:
        preprocess: The image size and normalisation the model was trained with.
        tokenizer: Its tokenizer.
        embed_dim: E, the width of image and text features.
        text_path: "shared prefix" or "whole text", and why.
        logit_scale: Exp of the learned temperature, float32 in every precision.
        logit_bias: Added to every score by SigLIP, else None.
    """

    kind_name, example = "a CLIP", "'ViT-B-16'"
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
            tokenizer: The model's tokenizer.
            preprocess: Image size, mean, deviation and interpolation.
            name: Its name in results.
            precision: "fp32" or "bf16".
            chunk_tokens: Number of text tokens encoded at once; fewer need less memory.

        Raises:
            VlpromptError: The text tower does not reproduce its own features when they enter as a prompt.
        """
        # Read before the model is converted: bfloat16 would round them.
        scale = model.get_parameter("logit_scale").detach().float().exp()
        bias: Tensor | None = getattr(model, "logit_bias", None)
        bias = None if bias is None else bias.detach().float().reshape(())
        super().__init__(model, name, precision)
        self.preprocess, self.tokenizer = preprocess, tokenizer
        self.register_buffer("logit_scale", scale.reshape(()), persistent=False)
        self.register_buffer("logit_bias", bias, persistent=False)
        self.tower: Any = getattr(model, "text", model)
        self.encoder, self.text_path = self._choose_encoder(chunk_tokens)

    @property
    def visual(self) -> nn.Module:
        """The image tower."""
        return self.model.visual  # type: ignore[no-any-return]

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
        """The number of layers of the text tower, each of which deep prompts can enter."""
        blocks = getattr(getattr(self.tower, "transformer", None), "resblocks", None)
        if blocks is None:
            raise self._refusal("deep prompts need open_clip's own text transformer")
        return len(blocks)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Ids (...) -> float32 token embeddings (..., D), without positions."""
        return at_least_float32(self.token_embedding(ids.to(self.device)))

    def word_table(self) -> tuple[Tensor, list[str]]:
        """(V, D) float32 embeddings of the tokens the model was trained on, and their spelling."""
        rows: Tensor = self.token_embedding.weight  # type: ignore[assignment]
        ids = [piece for piece in self.tokenizer.ids if piece < len(rows)]
        return self.embed_tokens(torch.tensor(ids)), [self.tokenizer.word(piece) for piece in ids]

    def _library_features(self, images: Tensor) -> Tensor:
        return pooled(self.model.encode_image(images, normalize=False))

    def encode_text(self, prompt: TextPrompt) -> Tensor:
        """Encode a prompt for C texts in G variants as (G, C, E) features."""
        return self.encoder(prompt)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode N plain texts as (N, E) features."""
        with torch.no_grad():
            return self.encoder(self.prompt_of(self.tokenizer(texts)))[0]

    def prompt_of(self, ids: Tensor) -> TextPrompt:
        """(N, L) token ids -> the same texts as a prompt; its prefix is what all rows start with."""
        content = ids != self.tokenizer.pad
        content[:, len(self.tokenizer.lead)] = True  # an empty text still has its first token
        last = (content * torch.arange(ids.shape[1], device=ids.device)).argmax(dim=1)
        same = (ids == ids[0]).all(dim=0).long().cumprod(dim=0)
        shared = min(int(same.sum()), int(last.min()))
        embedded = self.embed_tokens(ids[:, : int(last.max()) + 1])
        return TextPrompt(embedded[:1, :shared], embedded[:, shared:], last - shared, ids)

    def scores(self, features: Tensor, text: Tensor) -> Tensor:
        """Scaled cosine similarities of images and texts.

        Args:
            features: (B, E) image features.
            text: (C, E), (1, C, E), or (B, C, E) if every image has its own texts.

        Returns:
            (B, C): exp(logit_scale) * cosine, plus logit_bias if the model has one (SigLIP).
        """
        image, text = F.normalize(features, dim=-1), F.normalize(text, dim=-1)
        if text.ndim == 3 and text.shape[0] > 1:
            cosine = torch.einsum("be,bce->bc", image, text)
        else:
            cosine = image @ text.reshape(-1, text.shape[-1]).T
        scores = self.logit_scale * cosine
        return scores if self.logit_bias is None else scores + self.logit_bias

    def _choose_encoder(self, chunk_tokens: int) -> tuple[TextPromptEncoder, str]:
        """The fast encoder if it is exact for this tower, else the library's own forward if that is, else an error."""
        texts, tokenizer = ("x x x x", "x x"), self.tokenizer
        rows = [[*tokenizer.lead, *tokenizer.pieces(text), *tokenizer.tail] for text in texts]
        ids = tokenizer.pad_rows(rows, texts)
        try:
            with torch.no_grad():
                expected = pooled(self.model.encode_text(ids.to(self.device), normalize=False))
        except (RuntimeError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise self._refusal(f"it cannot read rows of {ids.shape[1]} tokens ({reason})") from error
        self.embed_dim = expected.shape[-1]
        lead = len(tokenizer.lead)
        whole = WholeTextEncoder(self.model, self.token_embedding, chunk_tokens, lead)
        why_not = why_not_causal(self.tower)
        candidates: list[tuple[TextPromptEncoder, str]] = [
            (whole, f"whole text: {why_not or 'the shared prefix was not exact'}")
        ]
        if not why_not:
            candidates.insert(0, (SharedPrefixEncoder(self.tower, chunk_tokens, lead), "shared prefix"))
        for encoder, label in candidates:
            if self._is_exact(encoder, ids, expected):
                return encoder, label
        raise self._refusal("its features change when the same tokens are given as embeddings")

    def _is_exact(self, encoder: TextPromptEncoder, ids: Tensor, expected: Tensor) -> bool:
        """Whether an encoder reproduces the library's features (N, E) and gives a prompt its gradient."""
        prompt = self.prompt_of(ids)
        with torch.enable_grad():
            prefix = prompt.prefix.detach().requires_grad_()
            found = encoder(TextPrompt(prefix, prompt.suffix, prompt.ends, ids))[0]
            if not found.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(found.square().sum(), prefix, allow_unused=True)
        return agree(found, expected, DTYPES[self.precision]) and gradient is not None and bool(gradient.any())

    def _refusal(self, reason: str) -> VlpromptError:
        return VlpromptError(
            f"{self.name}: prompts cannot enter its text tower ({type(self.tower).__name__}): {reason}. "
            "Use a CLIP of open_clip, such as 'ViT-B-16'."
        )
