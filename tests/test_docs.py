"""README, docs and CONTRIBUTING state what is true, and their Python examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from vlprompt import cli, cloze, learners

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
WITH_EXAMPLES = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader tries the examples: ten drawings of circles and of squares, and reviews."""
    for name, draw in (("circle", "ellipse"), ("square", "rectangle")):
        place = tmp_path / "photos" / name
        place.mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (32, 32), "white")
            getattr(ImageDraw.Draw(image), draw)((4 + number % 3, 5, 24 + number % 4, 25), outline="black", width=3)
            image.save(place / f"{number}.png")
    words = {"0": ("terrible", "bad", "awful"), "1": ("great", "good", "lovely")}
    rows = [f'"the {noun} was {word} .",{label}' for label, own in words.items() for word in own
            for noun in ("film", "story", "actor", "music", "ending")]  # fmt: skip
    (tmp_path / "reviews.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def run(code: str, folder: Path) -> str:
    """Run an example as a reader would; what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)


def test_the_first_example_prints_what_the_readme_shows(folder: Path) -> None:
    first, second = examples(PAGES[0])
    assert len([line for line in first.splitlines() if line.strip()]) <= 7
    shown = re.search(r"this prints\n\n    (.*)\n", README)
    assert shown is not None
    assert run(first, folder) == shown[1]
    assert sum(file.stat().st_size for file in (folder / "my-prompt").iterdir()) < 32 * 1024
    assert run(second, folder) in ("circle", "square", "star")


@pytest.mark.parametrize("page", WITH_EXAMPLES[1:], ids=lambda page: page.name)
def test_examples_of_the_docs_run(page: Path, folder: Path) -> None:
    for example in examples(page):
        run(example, folder)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_place_of_the_readme_exists() -> None:
    """The map of the repository names files and folders that exist, and every package."""
    listed = set(re.findall(r"^    (vlprompt/[\w./]+)", README, flags=re.M))
    assert [path for path in listed if not (ROOT / path).exists()] == []
    packages = {f"vlprompt/{path.name}/" for path in (ROOT / "vlprompt").iterdir() if (path / "__init__.py").is_file()}
    assert packages - listed <= {"vlprompt/testing/"}


def test_every_command_and_every_method_is_described() -> None:
    commands = set(re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs" / "protocols.md").read_text(), flags=re.M))
    assert {name.split()[0] for name in cli.COMMANDS} <= commands  # "cloze demo" is described with "cloze"
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "methods.md").read_text(), flags=re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)} | {"clip_text"}
    assert named == {*learners.FILES, *cloze.FILES}


def test_nothing_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".json", ".jsonl", ".sh"} and path.is_file():
            assert not re.search(r"/(root|home/\w+)/|file:/{3}", path.read_text(encoding="utf-8")), name
