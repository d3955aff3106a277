"""ViTs by name and from a folder, and requests that are refused."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config

from vlprompt.backbones import Clip, Vit, load_backbone, load_vit
from vlprompt.data import transforms
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning


def saved(folder: Path, **changes: object) -> Path:
    """A folder in timm's format for the hub, in float16."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=5)
    save_file({name: each.half() for name, each in model.state_dict().items()}, folder / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_folder_with_a_config_of_timm_is_a_vit(tmp_path: Path) -> None:
    vit = load_backbone(f"local-dir:{saved(tmp_path)}")
    assert isinstance(vit, Vit)
    assert vit.preprocess.mean == (0.1, 0.2, 0.3)
    assert vit.dtype == torch.float32
    images = torch.randn(2, 3, 160, 160)
    torch.manual_seed(0)
    wanted = timm.create_model("test_vit", num_classes=5).half().float().eval()
    features = wanted.forward_head(wanted.forward_features(images), pre_logits=True)
    assert torch.allclose(vit.encode_image(images), features, atol=1e-6)
    assert not any(p.requires_grad for p in vit.parameters())
    assert isinstance(load_backbone("tiny"), Clip)


def test_random_weights_are_reproducible_and_leave_the_generator_unchanged() -> None:
    before = torch.random.get_rng_state()
    first, second = (load_vit("timm:test_vit", "random") for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.name == "timm:test_vit/random"
    assert load_vit(first.name).fingerprint == first.fingerprint, "results use this name"


@pytest.mark.parametrize(
    ("name", "pretrained", "said"),
    [
        ("timm:vit_base_patch16_225", "random", "did you mean 'vit_base_patch16_224'"),
        ("timm:vit_base_patch16_224", "augreg_in21", "did you mean 'augreg_in21k'"),
        ("timm:vit_base_patch16_224.nothing", "", "unknown weights"),
        ("timm:vit_medium_patch16_gap_240", "no.safetensors", "does not contain the weights"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_names(name: str, pretrained: str, said: str) -> None:
    with pytest.raises(VlpromptError, match=said) as caught:
        load_vit(name, pretrained)
    assert "\n" not in str(caught.value)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match="does not describe a model of timm"):
        load_vit(f"local-dir:{tmp_path}")
    with pytest.raises(UsageError, match="contains its own weights"):
        load_vit(f"local-dir:{saved(tmp_path)}", "openai")
    load_vit(f"local-dir:{saved(tmp_path, num_classes=6)}")  # a classifier of another size, which is not used
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(VlpromptError, match="does not contain the weights of this model"):
        load_vit(f"local-dir:{tmp_path}")
    with pytest.raises(UsageError, match="'nowhere' cannot be used"):
        load_vit("timm:test_vit", "random", device="nowhere")


def test_test_images_are_cropped_as_in_timm() -> None:
    """Resized by 1 / crop_pct and cropped in the middle."""
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    preprocess = load_vit("timm:vit_tiny_patch16_224", "random").preprocess
    assert preprocess.crop_pct == 0.9
    noise = torch.randint(0, 255, (300, 400, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(noise.numpy())
    wanted = create_transform(**resolve_model_data_config(model), is_training=False)(image)
    assert torch.allclose(transforms.test_transform(preprocess)(image, 0), wanted, atol=1e-6)
    whole = Preprocess(224, (0.5,) * 3, (0.5,) * 3)
    assert transforms.test_transform(preprocess).key != transforms.test_transform(whole).key


def test_a_file_of_weights_has_the_preprocessing_of_the_tag_in_the_name(tmp_path: Path) -> None:
    for architecture, tag in (("resnet18", "tv_in1k"), ("vit_tiny_patch16_224", "augreg_in21k")):
        file = str(tmp_path / f"{architecture}.safetensors")
        save_file(timm.create_model(architecture, num_classes=3).state_dict(), file)  # a classifier of another size
        wanted = resolve_model_data_config(timm.create_model(f"{architecture}.{tag}"))
        for name, pretrained in ((f"timm:{architecture}.{tag}", file), (f"timm:{architecture}", f"{tag}:{file}")):
            vit = load_vit(name, pretrained)
            assert vit.preprocess.crop_pct == wanted["crop_pct"]
            assert vit.preprocess.interpolation == wanted["interpolation"]
            assert (vit.preprocess.mean, vit.preprocess.std) == (wanted["mean"], wanted["std"])
            assert vit.name == f"{name}/{pretrained}"
    with pytest.warns(VlpromptWarning, match="weights of resnet18 differ in .*interpolation"):
        load_vit("timm:resnet18", str(tmp_path / "resnet18.safetensors"))
    with pytest.raises(UsageError, match="unknown weights of resnet18 'nothing'"):
        load_vit("timm:resnet18.nothing", str(tmp_path / "resnet18.safetensors"))
