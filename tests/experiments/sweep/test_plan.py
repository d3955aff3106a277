"""Sweep files: every run once, settings without an effect left out, mistakes in one line."""

from pathlib import Path

import pytest

from tests.experiments.sweep.conftest import GRID, RUNS
from tests.experiments.test_spec import OWN
from vlprompt.errors import UsageError
from vlprompt.experiments.sweep.plan import read_sweep, units

SMALL = """
protocol = ["few_shot", "base_to_new", "zero_shot"]
task = ["digits", "caltech101"]
learners = ["zero_shot", "coop"]
shots = [1, 16]
seeds = [1, 2]
"""


def labels(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "grid.toml").write_text(text)
    return [unit.label for unit in units(read_sweep(tmp_path / "grid.toml"))]


def test_every_run_is_a_unit(tmp_path: Path) -> None:
    found = labels(tmp_path, SMALL.replace('"zero_shot", "coop"', '"coop"').replace(', "zero_shot"]', "]"))
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2
    assert found[0] == "few_shot digits coop 1 shot seed 1"
    assert found[-1] == "base_to_new caltech101 coop 16 shots seed 2"
    assert len(labels(tmp_path, GRID)) == RUNS


def test_a_run_that_is_not_random_is_listed_once(tmp_path: Path) -> None:
    found = labels(tmp_path, SMALL)
    assert sum("zero_shot" in label.split()[2:] for label in found) == 2 * 3
    assert "few_shot digits zero_shot" in found


def test_settings_vary_for_their_owners_only(tmp_path: Path) -> None:
    found = labels(tmp_path, SMALL + "[vary]\ncoop.n_ctx = [2, 4]\ntrain.lr = [0.1, 0.2]\n")
    few = [label for label in found if label.startswith("few_shot digits")]
    assert len(few) == 1 + 2 * 2 * 4
    assert "few_shot digits coop n_ctx=4 16 shots seed 2 lr=0.2" in few


def test_parts_replace_common_keys(tmp_path: Path) -> None:
    text = 'task = "digits"\nlearners = ["coop"]\nseeds = [1]\nset.coop.n_ctx = 2\nset.train.epochs = 1\n'
    text += '[[part]]\nprotocol = "few_shot"\nshots = 4\n[[part]]\nprotocol = "base_to_new"\nset.coop.n_ctx = 8\n'
    assert labels(tmp_path, text) == [
        "few_shot digits coop n_ctx=2 4 shots seed 1 epochs=1",
        "base_to_new digits coop n_ctx=8 seed 1 epochs=1",
    ]


def test_the_documentation_shows_a_grid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "sweeps.md").read_text()
    lines = page.split("    protocol =", 1)[1].split("\n\n`--list`")[0]
    found = labels(tmp_path, "protocol =" + lines.replace("\n    ", "\n"))
    assert "few_shot dtd coop n_ctx=16 16 shots seed 3 augment=none" in found
    assert "test_time eurosat tpt seed 3 shard 8 of 8" in found
    assert len(found) == 2 * 3 * (1 + 12 + 6) + 3 * 3 * 8
    assert "did you mean 'coop'" in _refusal(tmp_path, 'task = "digits"\nlearners = ["coop"]\nset.cop.n_ctx = 2\n')


def _refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        labels(tmp_path, 'protocol = "few_shot"\n' + text)
    return str(caught.value)


def test_a_search_stays_together(tmp_path: Path) -> None:
    text = SMALL.replace('["few_shot", "base_to_new", "zero_shot"]', '"few_shot"') + "grid.lr = [0.1, 1.0]\n"
    assert labels(tmp_path, text)[1] == "few_shot digits coop 1 shot seed 1 seed 2"


def test_views_of_test_images_are_random_and_streams_are_divided(tmp_path: Path) -> None:
    text = 'protocol = "test_time"\ntask = "digits"\nlearners = ["zero_shot", "tpt"]\nseeds = [1, 2]\nshards = 3\n'
    found = labels(tmp_path, text)
    assert len(found) == 3 + 2 * 3
    assert found[-1] == "test_time digits tpt seed 2 shard 3 of 3"


def test_methods_of_files_have_settings_under_their_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    text = 'protocol = "few_shot"\ntask = "digits"\nshots = 1\nseeds = [1]\n'
    text += 'learners = ["my_methods.py:NearestMean:half", "coop"]\nvary.NearestMean.shrink = [0.1, 0.2]\n'
    assert labels(tmp_path, text) == [
        "few_shot digits my_methods:NearestMean half shrink=0.1 1 shot seed 1",
        "few_shot digits coop 1 shot seed 1",
        "few_shot digits my_methods:NearestMean half shrink=0.2 1 shot seed 1",
    ]
    part = '[[part]]\nlearners = ["zero_shot"]\nset.NearestMean.shrink = 0.1\n'
    text = text.replace("vary.NearestMean.shrink = [0.1, 0.2]", "set.NearestMean.shrink = 0.1")
    assert "few_shot digits zero_shot" in labels(tmp_path, text + part)


def test_domains_are_paired(tmp_path: Path) -> None:
    for path in (tmp_path / "art" / domain / name / "1.png" for domain in "abc" for name in ("cat", "dog")):
        path.parent.mkdir(parents=True)
        path.touch()
    text = f'protocol = "domain_adaptation"\nroot = "{tmp_path}"\ntask = "art"\n'
    text += 'learners = ["zero_shot", "coop"]\nseeds = [1]\n'
    found = labels(tmp_path, text + 'pseudo = ["coop"]\n')
    assert len(found) == 6 * 3
    assert "domain_adaptation c:b art coop on pseudo-labels seed 1" in found
    assert len(labels(tmp_path, text.replace('"art"', '"nowhere"'))) == 2, "missing data fails when the run starts"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('learner = ["coop"]', "did you mean 'learners'"),
        ('protocol = ["few_shots"]', "did you mean 'few_shot'"),
        ("protocol = []", "a name or a list of names"),
        ('learners = ["coopp"]', "did you mean 'coop'"),
        ('targets = ["digits"]', "cannot use it"),
        ("vary.coop.n_ctx = 4", "vary.coop.n_ctx must be a list"),
        ("vary.coop = [1]", "a table of settings"),
        ("set.coop.n_ctxx = 4", "did you mean 'n_ctx'"),
        ("part = 3", "[[part]]"),
        ('protocol = "test_time"\nlearners = ["tpt", "tda"]\nshards = 2', "tda is online"),
        ("shards = 2", "cannot use it"),
        ('protocol = ["few_shot", "test_time"]\nshards = 0', "1 or more"),
        ("seeds = [", "not TOML"),
    ],
)
def test_mistakes_are_one_line(change: str, message: str, tmp_path: Path) -> None:
    keys = {line.split(" = ")[0] for line in change.splitlines()}
    rest = "\n".join(line for line in SMALL.splitlines() if line.split(" = ")[0] not in keys)
    (tmp_path / "grid.toml").write_text(f"{rest}\n{change}\n")
    with pytest.raises(UsageError) as caught:
        read_sweep(tmp_path / "grid.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("grid.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (f"seeds = {list(range(10))}\n[vary]\ncoop.n_ctx = {list(range(1, 20))}", "at most 90 runs"),
        ("[vary]\n" + "\n".join(f"train.{n} = {list(range(99))}" for n in ("lr", "epochs")), "9801 combinations"),
        ("protocol = 'test_time'\ntask = 'digits'\nlearners = ['tpt']\nshards = 1000000000", "at most 90 runs"),
    ],
)
def test_a_sweep_of_too_many_runs_is_refused(
    tmp_path: Path, more: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlprompt.experiments.sweep.plan.MOST_RUNS", 90)
    head = "" if "protocol" in more else "protocol = 'few_shot'\ntask = 'digits'\nlearners = ['coop']\nshots = [1]\n"
    with pytest.raises(UsageError, match=expected):
        labels(tmp_path, head + more)


def test_lists_that_are_nested_too_deeply_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not TOML that can be read"):
        labels(tmp_path, f"a = {'[' * 5000}")
