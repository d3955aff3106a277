"""Shared by all loading functions: prefixes of model names, the device, and the wording of errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

LOCAL, HUB, TIMM = "local-dir:", "hf-hub:", "timm:"
OFFLINE_HINT = f"If it must be downloaded, check the network or download it elsewhere and give {LOCAL}PATH"


def device_of(name: str) -> torch.device:
    """The device with a name such as "cpu" or "cuda:1"; UsageError if this machine cannot use it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'.") from error


def folder_of(name: str) -> Path:
    """The folder of "local-dir:PATH"; UsageError if it does not exist."""
    folder = Path(name.removeprefix(LOCAL)).expanduser()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give an existing one as {LOCAL}PATH.")
    return folder


@contextmanager
def one_error(make: Callable[[BaseException], VlpromptError]) -> Iterator[None]:
    """Turn whatever a library raises about a model's files into one VlpromptError.

    Damaged files make open_clip, timm and transformers raise anything. A panic in tokenizers' Rust code is no
    Exception; Ctrl-C and the exit of the process pass.
    """
    try:
        yield
    except (VlpromptError, VlpromptWarning):
        raise
    except Exception as error:
        raise make(error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise make(error) from error


def one_line(error: BaseException) -> str:
    """An exception's type and the start of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
