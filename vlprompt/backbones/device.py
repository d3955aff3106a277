"""Where a model is put."""

import torch

from vlprompt.errors import UsageError


def device_of(name: str) -> torch.device:
    """A device by name ("cpu", "cuda:1").

    Raises:
        UsageError: It cannot be used on this machine.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'.") from error
