"""Tables and plots of results; no module here imports torch.

Every function takes results of any protocols, oldest first, uses those of its own protocol, and shows the latest of
equal runs. The formats of tables (`form`) are "terminal", "markdown" and "latex"; `metric` is the metric in the cells.
UsageError is raised where there is nothing to show, a run lacks the metric, or the format is unknown.
"""

from vlprompt.report.plots import accuracy_by_shots
from vlprompt.report.tables import base_to_new_table, few_shot_table

__all__ = ["accuracy_by_shots", "base_to_new_table", "few_shot_table"]
