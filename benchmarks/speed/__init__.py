"""Speed and memory benchmarks: every module here has a `run(quick)`; see `python -m benchmarks.speed -h`."""
