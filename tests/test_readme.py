"""README and CONTRIBUTING say what is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from vlprompt import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_path_on_the_map_exists_and_every_module_is_on_it() -> None:
    its_map = README.split("\n## Map\n")[1]
    listed = {path.rstrip("/") for path in re.findall(r"^\| `([\w./]+)` \|", its_map, flags=re.M)}
    assert [path for path in listed if not (ROOT / path).exists()] == []
    modules = {f"vlprompt/{p.name}" for p in (ROOT / "vlprompt").iterdir() if not p.name.startswith("_")}
    tops = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))}
    tops -= {"vlprompt", "runs", "build", "dist"}
    assert modules | tops <= listed, f"not on the map: {sorted((modules | tops) - listed)}"


def test_every_command_is_described() -> None:
    described = set(re.findall(r"^    vlprompt ([\w-]+) +[a-zA-Z]", README, flags=re.M))
    assert described == set(cli.COMMANDS)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six lines to a prompt from a folder of images; another process loads it with other classes."""
    for name, draw in (("circle", "ellipse"), ("square", "rectangle")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (32, 32), "white")
            getattr(ImageDraw.Draw(image), draw)((4 + number % 3, 5, 24 + number % 4, 25), outline="black", width=3)
            image.save(folder / f"{number}.png")
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    first, second = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len([line for line in first.splitlines() if line.strip()]) == 6
    setup = "import torch; torch.set_num_threads(1)\n"
    # The recipe is the published one, 100 epochs with crops: the README's reader waits a minute, the test does not.
    quick = first.replace("coop.recipe(shots=4)", "coop.recipe(shots=1)")
    subprocess.run([sys.executable, "-c", setup + quick], check=True, cwd=tmp_path)
    assert sum(file.stat().st_size for file in (tmp_path / "my-prompt").iterdir()) < 32 * 1024
    command = [sys.executable, "-c", setup + second]
    told = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.strip() in ("circle", "square", "star")


def test_nothing_speaks_of_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".json", ".jsonl", ".sh"} and path.is_file():
            assert not re.search(r"/(root|home/\w+)/|file:/{3}", path.read_text()), name
