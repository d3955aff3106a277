"""Random numbers: every draw has a seed of its own, and the global random state of torch stays unchanged."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vlprompt.errors import UsageError

SEEDS = range(2**32)  # what a user may give; every library here takes these


def check_seed(seed: object) -> int:
    """Return a seed that a user has given; UsageError if it is not a whole number from 0 to 2^32 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed not in SEEDS:
        raise UsageError(f"seed is {seed!r:.60}; it must be a whole number from 0 to {SEEDS.stop - 1}.")
    return seed


def normal(*shape: int, seed: int, std: float = 0.02) -> Tensor:
    """A tensor of samples from N(0, std^2); 0.02 is the spread of CLIP's token embeddings (CoOp, section 4.1)."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * std


def mixed(*numbers: int | str) -> int:
    """One well-mixed 63-bit seed from several numbers, the same on every machine."""
    digest = hashlib.blake2b("|".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this context, torch's initialisers on the CPU use this seed; the caller's random state stays unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Within this context, torch (dropout) uses this seed, on the device too; the caller's state stays unchanged."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
