"""Shared by all loading functions: prefixes of model names, the device, and the wording of errors."""

import torch

from vlprompt.errors import UsageError

LOCAL, HUB, TIMM = "local-dir:", "hf-hub:", "timm:"
OFFLINE_HINT = f"If it must be downloaded, check the network or download it elsewhere and give {LOCAL}PATH"


def device_of(name: str) -> torch.device:
    """The device with a name such as "cpu" or "cuda:1"; UsageError if this machine cannot use it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'.") from error


def one_line(error: Exception) -> str:
    """An exception's type and the start of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
