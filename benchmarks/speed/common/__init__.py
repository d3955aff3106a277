"""What the benchmarks share: models, class names, baselines, timing, records and tables."""
