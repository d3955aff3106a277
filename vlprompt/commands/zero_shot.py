"""The command `vlprompt zero-shot`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results


def run(options: Run, learners: tuple[str, ...] = ("zero_shot",)) -> None:
    """Evaluate class names in templates, without training.

    Args:
        options: Data, frozen model and output folder.
        learners: Methods to run: zero_shot (the data set's own template), zero_shot:ensemble (with ImageNet's seven).
    """
    from vlprompt.experiments.protocols import zero_shot

    specs, task = options.specs(learners), options.open_task()
    task = task.whole() if options.task == "digits" else task
    print_results(zero_shot.run(options.runner(specs), task, specs), options, "zero_shot")
