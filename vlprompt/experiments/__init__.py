"""Runs: what is trained and evaluated in which order, and what is saved."""
