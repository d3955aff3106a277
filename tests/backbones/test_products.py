"""The faster way of multiplying is taken where it is exact, and nothing of it is left behind."""

from collections.abc import Iterator

import pytest
import torch

from vlprompt.backbones import products
from vlprompt.backbones.products import fast_products, is_exact

matmul = pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch has no such setting")


def setting() -> str:
    return str(torch.backends.mkldnn.matmul.fp32_precision)


@pytest.fixture
def restored() -> Iterator[None]:
    before = setting()
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before
    products._onednn_is_exact.cache_clear()


def test_rounding_of_either_side_is_noticed() -> None:
    assert is_exact(torch.matmul)
    assert not is_exact(lambda a, b: a.bfloat16().float() @ b)
    assert not is_exact(lambda a, b: a @ b.half().float())
    assert not is_exact(lambda a, b: (a.bfloat16() @ b.bfloat16()).float())


def test_products_inside_are_float32s() -> None:
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(300, 500, generator=random), torch.randn(500, 200, generator=random)
    with fast_products():
        apart = (a @ b).double() - a.double() @ b.double()
    assert apart.abs().max() < 1e-5 * (a.double() @ b.double()).abs().max()  # bfloat16 would be off by 1e-3


@matmul
def test_the_setting_is_put_back(restored: None) -> None:
    before = setting()
    with pytest.raises(RuntimeError, match="inside"), fast_products():
        raise RuntimeError("inside")
    assert setting() == before

    @fast_products()
    def inside() -> str:
        with fast_products():
            pass
        return setting()

    assert inside() in {before, "bf16"}
    assert setting() == before


@matmul
def test_what_rounds_is_not_used(restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "is_exact", lambda product: False)
    products._onednn_is_exact.cache_clear()
    before = setting()
    with fast_products():
        assert setting() == before


@matmul
def test_a_users_own_choice_stays(restored: None) -> None:
    for choice in ("tf32", "ieee"):
        torch.backends.mkldnn.matmul.fp32_precision = choice
        with fast_products():
            assert setting() == choice
