"""The command line as a whole: help, laziness, exit codes, errors in one line."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read

HEAVY = {"torch", "open_clip", "timm", "transformers", "torchvision", "sklearn", "matplotlib", "tensorboard"}


@pytest.fixture(autouse=True)
def restored_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; this restores it afterwards


def failed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """The exit code and stderr of a command that must fail."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code, capsys.readouterr().err


def heavy_modules(code: str) -> set[str]:
    """The heavy packages that a Python program imports."""
    code = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rpartition("modules:")[2].split())


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)
    assert failed([], capsys)[0] == 2


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_file_and_its_help_begins_with_the_line_of_the_overview(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"vlprompt.commands.{name.replace('-', '_').replace(' ', '_')}")
    assert module.run.__doc__.startswith(cli.COMMANDS[name] + "\n")
    with pytest.raises(SystemExit) as stop:
        cli.main([*name.split(), "--help"])
    assert stop.value.code == 0
    assert f"usage: vlprompt {name} " in capsys.readouterr().out


def test_no_help_imports_torch() -> None:
    assert not heavy_modules("import vlprompt, vlprompt.cli; vlprompt.cli.main(['--help'])")
    modules = ", ".join(f"vlprompt.commands.{name.replace('-', '_').replace(' ', '_')}" for name in cli.COMMANDS)
    assert not heavy_modules(f"import {modules}")
    assert not heavy_modules("import vlprompt.cli; vlprompt.cli.main(['few-shot', '--help'])")


def test_list_and_report_do_not_import_torch(tmp_path: Path) -> None:
    assert not heavy_modules("import vlprompt.cli; vlprompt.cli.main(['list'])")
    line = (
        '{"protocol": "few_shot", "learner": "coop", "backbone": "tiny", "fingerprint": "f", "task": "digits", '
        '"split_hash": "s", "classes": 10, "shots": 1, "seed": 1, "metrics": {"top1": 0.5}}'
    )
    (tmp_path / "results.jsonl").write_text(line + "\n")
    command = ["report", str(tmp_path / "results.jsonl")]
    assert not heavy_modules(f"import vlprompt.cli; vlprompt.cli.main({command})")


def test_an_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, error = failed(["few-shots"], capsys)
    assert code == 2
    assert "unknown command 'few-shots'; did you mean 'few-shot'?" in error


def test_ctrl_c_says_how_to_continue(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vlprompt.commands.cache.run", interrupted)
    code, error = failed(["cache"], capsys)
    assert code == 130
    assert "run the same command again to continue" in error


INTERRUPT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            exec("os.kill(os.getpid(), signal.SIGINT)")
            {after}
sys.meta_path.insert(0, Interrupt())
from vlprompt.cli import main
main(sys.argv[2:])
"""
AFTER = {"as it is": "", "as a failed import": "raise ImportError(name)"}
SEEN = "try:\n                for _ in range(10**6): pass\n            except KeyboardInterrupt: pass\n            "


@pytest.mark.parametrize("after", ["as it is", "as a failed import"])
@pytest.mark.parametrize("module", ["tyro", "vlprompt.commands.zero_shot", "torch", "open_clip"])
def test_ctrl_c_during_imports_is_one_line(module: str, after: str, tmp_path: Path) -> None:
    code = INTERRUPT.format(after=SEEN + AFTER[after] if AFTER[after] else "")
    command = ["zero-shot", "--task", "digits", "--out", str(tmp_path)]
    run = [sys.executable, "-c", code, module, *command]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "vlprompt: stopped; run the same command again to continue\n"


def test_signals_are_handled_as_before_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert failed(["nothing"], capsys)[0] == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_is_one_line_and_leaves_results_whole(tmp_path: Path) -> None:
    """A limit on the size of files replaces the full disk: writes fail in the same place, with an error of its kind."""
    pytest.importorskip("resource")
    out = tmp_path / "out"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "import torch; torch.set_num_threads(1); from vlprompt import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1]))); cli.main(sys.argv[2:])"
    )
    quick = ["--set", "train.epochs=2", "coop.n_ctx=2", "--augment", "none"]
    command = ["few-shot", "--out", str(out), "--shots", "1", "--seeds", "1", "--learners", "coop", *quick]
    environment = {**os.environ, "VLPROMPT_CACHE": str(tmp_path / "cache")}
    run = [sys.executable, "-c", code, "100", *command]
    stopped = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert stopped.returncode == 1, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "could not be written" in stopped.stderr
    assert not (out / "results.jsonl").exists() or not (out / "results.jsonl").read_text()
    assert not list(out.rglob("prompt.safetensors"))
    run[3] = str(2**30)
    subprocess.run(run, check=True, capture_output=True, env=environment)
    assert len(read(out / "results.jsonl")) == 1


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m vlprompt list | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("learners\n", "")


def test_importing_changes_no_global_state() -> None:
    code = (
        "import sys, logging, warnings; before = (warnings.showwarning, logging.getLogger().handlers[:]);"
        "import torch; state = torch.random.get_rng_state(); threads = torch.get_num_threads();"
        "import vlprompt, vlprompt.cli;"
        "assert torch.equal(state, torch.random.get_rng_state()); assert threads == torch.get_num_threads();"
        "assert (warnings.showwarning, logging.getLogger().handlers[:]) == before;"
        "assert not {'matplotlib', 'transformers', 'sklearn', 'tensorboard'} & set(sys.modules), 'optional packages'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
