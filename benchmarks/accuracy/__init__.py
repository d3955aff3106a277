"""Accuracy on data that is at hand: small experiments as TOML files, their results as committed JSON lines."""
