"""Replay numbers that the authors' own code gave through vlprompt and compare; see `python -m benchmarks.parity -h`."""
