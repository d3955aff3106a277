"""Protocols: each trains and evaluates learners in its own order, and yields results."""
