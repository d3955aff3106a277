"""Methods with a linear head: recipes of the published kind, and models without the weights that a method trains."""

import pytest
import timm

from tests.learners.vits import NAMES, small_vit
from vlprompt import methods
from vlprompt.backbones import Vit
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError
from vlprompt.learners import Bias, Norm, Partial, PartialConfig
from vlprompt.prompts.headed import by_adamw, by_sgd

SGD, ADAMW = ("vpt", "linear", "mlp", "side"), ("full", "partial", "bias", "norm", "adapter", "lora")


@pytest.mark.parametrize("method", [*SGD, *ADAMW])
def test_the_recipe_is_of_the_published_kind(method: str) -> None:
    recipe = methods.variant(method)[1].training(16, "")
    expected = ("sgd", 10) if method in SGD else ("adamw-early-eps", 5)
    assert (recipe.optimizer, recipe.warmup_epochs, recipe.epochs, recipe.augment) == (*expected, 100, "none")
    grid = (50, 25, 10, 5, 2.5, 1, 0.5, 0.25, 0.1, 0.05) if method in SGD else (0.005, 0.001, 0.0005, 0.0001)
    assert recipe.lr * 256 / recipe.batch_size in grid
    assert recipe.weight_decay in (0.01, 0.001, 0.0001, 0)


def test_rates_are_for_256_images_and_warm_up_from_a_tenth() -> None:
    for recipe in (by_sgd(0.4), by_adamw(0.4)):
        assert recipe.lr == pytest.approx(0.4 * recipe.batch_size / 256)
        assert recipe.warmup_lr == pytest.approx(recipe.lr / 10)


def test_a_model_without_the_weights_is_refused() -> None:
    resnet = Vit(timm.create_model("test_resnet"), Preprocess(32, (0.5,) * 3, (0.5,) * 3), name="timm:test_resnet")
    with pytest.raises(UsageError, match=r"norm: timm:test_resnet .* none of the weights"):
        Norm(resnet, NAMES)
    with pytest.raises(UsageError, match=r"has 0 layers in a row.*use full"):
        Partial(resnet, NAMES)
    assert Bias(resnet, NAMES).weights.copies
    with pytest.raises(UsageError, match="has 3 layers"):
        Partial(small_vit(), NAMES, PartialConfig(k=4))
