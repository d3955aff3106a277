"""Attention on a CPU equals torch's own, and masks are widened for prompts."""

import pytest
import torch
import torch.nn.functional as F

from vlprompt.backbones import attention
from vlprompt.backbones.attention import attend as fast_attention
from vlprompt.backbones.attention import widen_mask


@pytest.mark.parametrize("shape", [(5, 5), (6, 5, 5), (2, 3, 5, 5), (1, 1, 1, 5)])
@pytest.mark.parametrize("kind", [torch.float64, torch.bool])
def test_masks_are_widened_for_prompts(shape: tuple[int, ...], kind: torch.dtype) -> None:
    mask = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3).to(kind)
    wide = widen_mask(mask, 1, 2)
    rows = 7 if shape[-2] > 1 else 1
    assert wide.shape == (*shape[:-2], rows, 7)
    assert wide.dtype == kind
    kept = [0, 3, 4, 5, 6]
    inside = wide[..., kept] if rows == 1 else wide[..., kept, :][..., kept]
    assert torch.equal(inside, mask)
    seen = torch.ones((), dtype=torch.bool) if kind == torch.bool else torch.zeros((), dtype=kind)
    assert bool((wide[..., 1:3] == seen).all()), "all tokens see the prompts"
    assert rows == 1 or bool((wide[..., 1:3, :] == seen).all()), "the prompts see all tokens"
    assert torch.equal(widen_mask(mask, 1, 0), mask)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attention_of_a_few_images_at_once_equals_torchs(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(5, 3, n, 8, generator=random).to(dtype).requires_grad_() for n in (4, 7, 7))
    bias = torch.randn(1, 3, 4, 7, generator=random).to(dtype)
    allowed = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    for at_once in (1, 2 * 3 * 4 * 7, 2**20):
        monkeypatch.setattr(attention, "WEIGHTS_AT_ONCE", at_once)
        for mask in (None, bias):
            found, wanted = fast_attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            own, plain = (torch.autograd.grad(each.square().sum(), (q, k, v)) for each in (found, wanted))
            for a, b in zip((found, *own), (wanted, *plain), strict=True):
                torch.testing.assert_close(a, b, rtol=allowed, atol=allowed * float(b.detach().abs().max()))


def test_attention_to_very_many_tokens_stores_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_KEYS", 6)
    q, k = torch.randn(2, 1, 3, 4, requires_grad=True), torch.randn(2, 1, 7, 4)
    assert "ScaledDotProduct" in type(fast_attention(q, k, k).grad_fn).__name__
    assert fast_attention(q, k[:, :, :6], k[:, :, :6]).grad_fn.name() == "CatBackward0"
