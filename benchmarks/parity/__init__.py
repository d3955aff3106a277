"""Replay stored numbers of the authors' own code through vlprompt and compare; see `python -m benchmarks.parity -h`."""
