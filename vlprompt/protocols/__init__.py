"""Protocols: functions that call fit and evaluate in some order and return results."""
