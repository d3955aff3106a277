"""The command `vlprompt cloze`."""

from vlprompt.commands.options import TextRun
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import TEXT_SEEDS


def run(
    options: TextRun,
    learners: tuple[str, ...] = ("hard_prompt", "prompt_oriented_fine_tuning"),
    shots: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Train on K texts per class: a language model fills a blank with a word for the class.

    Args:
        options: Data, language model and output folder.
        learners: Methods to run: prompt_tuning, hard_prompt:calibrated for a published setting, FILE.py:CLASS for your
            own.
        shots: Training texts per class.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
    """
    from vlprompt.experiments.protocols import few_shot

    specs, task = options.specs(learners), options.open_task()
    print_results(few_shot.run(options.runner(specs), task, specs, shots, seeds), options, "few_shot")
