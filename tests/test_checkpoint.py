"""What a saved file must survive: kills, full disks, flipped bits, files of other programs."""

import contextlib
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import safetensors.torch
import torch

from vlprompt import checkpoint
from vlprompt.errors import VlpromptError, VlpromptWarning

META = {"method": "coop", "config": {"n_ctx": 4, "lr": 0.1}, "classes": ["cat", "größer | dog"], "none": None}


def tensors(fill: float = 0.5) -> dict[str, torch.Tensor]:
    """One tensor of each difficult kind: a scalar, an empty one, half precision, booleans, and a strided view."""
    return {
        "context": torch.full((4, 8), fill),
        "scale": torch.tensor(fill, dtype=torch.float64),
        "half": torch.tensor([fill, -0.0], dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "mask": torch.tensor([True, False]),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "view": torch.arange(6.0).reshape(2, 3).T,
    }


def one_line(error: pytest.ExceptionInfo[VlpromptError], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_prompt_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    saved = tensors()
    saved["learned"] = torch.nn.Parameter(torch.randn(3))
    saved["tied"] = saved["context"]
    checkpoint.save(tmp_path / "deep" / "prompt", saved, META)
    loaded, meta = checkpoint.load(tmp_path / "deep" / "prompt")
    assert meta == META
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
        assert not loaded[name].requires_grad


def test_a_prompt_is_two_files(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["prompt.json", "prompt.safetensors"]


def test_files_have_the_permissions_of_the_umask(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    (tmp_path / "plain").touch()
    assert (tmp_path / "prompt.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a", tensors(), META)
    checkpoint.save(tmp_path / "b", dict(reversed(tensors().items())), dict(reversed(META.items())))
    for name in ("prompt.safetensors", "prompt.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_loaded_tensor_does_not_change_with_the_file(tmp_path: Path) -> None:
    checkpoint.save_state(tmp_path / "s", {"x": torch.ones(1000)}, {})
    loaded, _ = checkpoint.load_state(tmp_path / "s")
    with (tmp_path / "s").open("r+b") as file:
        file.write(bytes(file.seek(0, os.SEEK_END)))
        file.truncate(10)
    assert torch.equal(loaded["x"], torch.ones(1000))


def test_an_edited_copy_is_ignored_with_a_warning(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    (tmp_path / "prompt.json").write_text('{"method": "maple"')
    with pytest.warns(VlpromptWarning, match=r"prompt\.json differs from the description in prompt\.safetensors"):
        _, meta = checkpoint.load(tmp_path)
    assert meta["method"] == "coop"
    (tmp_path / "prompt.json").unlink()
    assert checkpoint.load(tmp_path)[1]["method"] == "coop"


def test_a_missing_prompt_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError) as error:
        checkpoint.load(tmp_path / "nowhere")
    one_line(error, "nowhere", "No such file")


def test_a_prompt_of_another_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "prompt.safetensors").write_bytes(safetensors.torch.save({"x": torch.zeros(2)}, {"format": "pt"}))
    with pytest.raises(VlpromptError) as error:
        checkpoint.load(tmp_path)
    one_line(error, "not written by vlprompt")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "prompt.safetensors")
    with pytest.raises(VlpromptError) as error:
        checkpoint.load(tmp_path)
    one_line(error, "no safetensors file")


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 7)
    checkpoint.save(tmp_path, tensors(), META)
    monkeypatch.undo()
    with pytest.raises(VlpromptError) as error:
        checkpoint.load(tmp_path)
    one_line(error, "format 7", "up to 1", "pip install -U vlprompt")


@hypothesis.settings(max_examples=150)
@hypothesis.given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_an_error(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("flip") / "state"
    checkpoint.save_state(path, tensors(), META)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    loaded, meta = tensors(), META
    with contextlib.suppress(VlpromptError):  # no error: the bit was in a space that pads the header
        loaded, meta = checkpoint.load_state(path)
    assert meta == META
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors().items())


@hypothesis.settings(max_examples=60)
@hypothesis.given(keep=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_one_line(tmp_path_factory: pytest.TempPathFactory, keep: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "state"
    checkpoint.save_state(path, tensors(), META)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(VlpromptError) as error:
        checkpoint.load_state(path)
    one_line(error, "damaged")


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {"x": {1, 2}}, {"x": torch.zeros(1)}])
def test_values_that_are_not_json_are_refused_before_writing(tmp_path: Path, meta: dict[str, object]) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    with pytest.raises(VlpromptError, match="JSON"):
        checkpoint.save(tmp_path, tensors(1.0), meta)
    assert torch.equal(checkpoint.load(tmp_path)[0]["context"], tensors()["context"])


def save_until_killed(what: str, place: Path, first: int, begun: Event) -> None:
    """Save tensors full of n, then of n + 1, until the process is killed."""
    for n in itertools.count(first):
        content = {name: torch.full((64, 64), float(n)) for name in "abc"}
        getattr(checkpoint, what)(place, content, {"n": n, "long": [n] * 500})
        begun.set()


@pytest.mark.parametrize("what", ["save", "save_state"])
@pytest.mark.filterwarnings("ignore:.*differs from the description:vlprompt.errors.VlpromptWarning")
def test_a_kill_at_any_time_leaves_a_whole_file(tmp_path: Path, what: str) -> None:
    place, fork = tmp_path / "kept", multiprocessing.get_context("fork")
    for attempt in range(20):
        begun = fork.Event()
        process = fork.Process(target=save_until_killed, args=(what, place, 10_000 * attempt, begun))
        process.start()
        assert begun.wait(60)
        time.sleep(0.0017 * attempt)
        process.kill()
        process.join()
        content, meta = (checkpoint.load if what == "save" else checkpoint.load_state)(place)
        assert meta["n"] // 10_000 == attempt
        assert meta["long"] == [meta["n"]] * 500
        assert all(bool((tensor == meta["n"]).all()) for tensor in content.values())


def test_a_full_disk_leaves_the_old_prompt_and_no_other_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    work = """
import resource, sys, torch
from vlprompt import checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoint.save(sys.argv[1], {"big": torch.zeros(100_000)}, {})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", work, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("VlpromptError")
    assert "prompt.safetensors could not be written (File too large); its earlier content is unchanged" in done.stdout
    assert done.stdout.count("\n") == 1
    assert checkpoint.load(tmp_path)[1] == META
    assert len(list(tmp_path.iterdir())) == 2


def test_failure_of_the_second_file_leaves_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, tensors(), META)
    calls: list[int] = []
    real = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VlpromptError) as error:
        checkpoint.save(tmp_path, tensors(9.0), {"other": 1})
    one_line(error, "prompt.json", "No space left on device", "unchanged")
    assert checkpoint.load(tmp_path)[1] == META
    assert len(list(tmp_path.iterdir())) == 2


def test_ctrl_c_while_writing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, tensors(), META)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(VlpromptError) as error:
        checkpoint.save(tmp_path / "taken", tensors(), META)
    one_line(error, "taken", "could not be written")
