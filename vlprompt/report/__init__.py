"""Tables and plots made of results."""

from vlprompt.report.plots import accuracy_by_shots
from vlprompt.report.tables import base_to_new_table, few_shot_table

__all__ = ["accuracy_by_shots", "base_to_new_table", "few_shot_table"]
