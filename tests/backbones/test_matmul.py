"""The faster library multiplies where it is exact, and the setting is restored."""

from collections.abc import Iterator

import pytest
import torch

from vlprompt.backbones import matmul
from vlprompt.backbones.matmul import fast_matmul, is_exact

needs_setting = pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch has no such setting")


def setting() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)


@pytest.fixture
def restored() -> Iterator[None]:
    before = setting()
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before
    matmul._onednn_is_exact.cache_clear()


def test_rounding_of_either_side_is_detected() -> None:
    assert is_exact(torch.matmul)
    assert not is_exact(lambda a, b: a.bfloat16().float() @ b)
    assert not is_exact(lambda a, b: a @ b.half().float())
    assert not is_exact(lambda a, b: (a.bfloat16() @ b.bfloat16()).float())


def test_products_inside_are_float32() -> None:
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(300, 500, generator=random), torch.randn(500, 200, generator=random)
    with fast_matmul():
        apart = (a @ b).double() - a.double() @ b.double()
    assert apart.abs().max() < 1e-5 * (a.double() @ b.double()).abs().max()  # bfloat16 would be off by 1e-3


@needs_setting
def test_the_setting_is_restored(restored: None) -> None:
    before = setting()
    with pytest.raises(RuntimeError, match="inside"), fast_matmul():
        raise RuntimeError("inside")
    assert setting() == before

    @fast_matmul()
    def inside() -> str:
        with fast_matmul():
            pass
        return setting()

    assert inside() in {before, "bf16"}
    assert setting() == before


@needs_setting
def test_a_library_that_rounds_is_not_used(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "is_exact", lambda product: False)
    matmul._onednn_is_exact.cache_clear()
    before = setting()
    with fast_matmul():
        assert setting() == before


@needs_setting
def test_a_users_setting_is_respected(restored: None) -> None:
    for choice in ("tf32", "ieee"):
        torch.backends.mkldnn.matmul.fp32_precision = choice
        with fast_matmul():
            assert setting() == choice
