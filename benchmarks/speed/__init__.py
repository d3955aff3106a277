"""Speed and memory: every file here with a `run(quick)` is a benchmark; see `python -m benchmarks.speed -h`."""
