"""Side-tuning: the blend, images that AlexNet cannot take, and the file of its weights."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit
from vlprompt.data.batches import Batches, feature_batches
from vlprompt.errors import VlpromptError
from vlprompt.learners import Side, SideConfig

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "convert_alexnet.py"


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit(torch.float32)


@pytest.fixture(scope="module")
def batches(vit: vp.Vit) -> Batches:
    batch = batch_for(vit, 3)
    assert batch.features is not None
    return feature_batches(batch.features, batch.labels, batch_size=3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the script writes it from torchvision's, here of random weights."""
    spec = importlib.util.spec_from_file_location("convert_alexnet", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("alexnet")
    with torch.random.fork_rng(devices=[]):
        state = torchvision.models.alexnet().state_dict()
    torch.save(state, folder / "alexnet.pth")
    assert script.convert(folder / "alexnet.pth", folder / "alexnet.safetensors") == 10
    (folder / "alexnet.pth").unlink()
    return Path(folder / "alexnet.safetensors")


def test_it_blends_two_features_in_learned_shares(vit: vp.Vit) -> None:
    learner, batch = Side(vit, NAMES, SideConfig(pretrained=False)).eval(), batch_for(vit, 3)
    assert batch.images is not None
    assert batch.features is not None
    side = learner.side_features(batch.images)
    assert side.shape == batch.features.shape
    half = learner.head((batch.features + side) / 2)
    assert torch.allclose(learner(batch), half, atol=1e-5), "alpha starts at 0: half and half"
    with torch.no_grad():
        learner.alpha.fill_(50.0)
    assert torch.allclose(learner(batch), learner.head(batch.features), atol=1e-5)
    assert learner.alpha.ndim == 0


def test_weights_are_read_once_when_training_begins(vit: vp.Vit, batches: Batches, weights: Path) -> None:
    learner: Any = Side(vit, NAMES, SideConfig(weights=str(weights)))
    wanted = load_file(weights)
    assert not torch.equal(learner.side[0][0].weight, wanted["features.0.weight"]), "not before training begins"
    learner.prepare(batches, None)
    for name, tensor in learner.side[0].state_dict().items():
        assert torch.equal(tensor, wanted[f"features.{name}"])
    learner.side[0][0].weight.data.zero_()
    learner.prepare(batches, None)
    assert not learner.side[0][0].weight.any(), "a second training goes on from the first"


def test_a_saved_prompt_opens_without_the_file(vit: vp.Vit, batches: Batches, weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    learner, batch = Side(vit, NAMES, SideConfig(weights=str(copy))), batch_for(vit, 3)
    learner.prepare(batches, None)
    learner.eval().save(tmp_path)
    copy.unlink()
    again = vp.load(tmp_path, vit)
    again.prepare(batches, None)
    assert torch.equal(again.predict(batch), learner.predict(batch))


def test_a_missing_or_wrong_file_is_refused_with_advice(vit: vp.Vit, batches: Batches, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(2)}, other)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    for path in ("", str(tmp_path / "absent"), str(other), str(broken)):
        with pytest.raises(VlpromptError, match=r"convert_alexnet\.py.*side\.pretrained=false"):
            Side(vit, NAMES, SideConfig(weights=path)).prepare(batches, None)
