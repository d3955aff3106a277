"""The small random CLIPs of tests/learners, for the parts of learners too."""

from tests.learners.conftest import batch, make_small, names, single, small, stir

__all__ = ["batch", "make_small", "names", "single", "small", "stir"]
