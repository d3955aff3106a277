"""Accuracy on local data: small experiments as TOML files, their results as committed JSON lines."""
