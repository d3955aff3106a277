"""The command `vlprompt demo`."""

from pathlib import Path

from vlprompt import demo as demonstration


def run(out: Path = Path("runs/demo"), seeds: tuple[int, ...] = (1, 2, 3), fresh: bool = False) -> None:
    """Watch a frozen CLIP learn a prompt: zero-shot, linear probe and CoOp on handwritten digits.

    Args:
        out: Folder for results, the plot and prompts.
        seeds: Of the few-shot draws.
        fresh: Run again what already has a result.
    """
    demonstration.run(out, seeds, fresh=fresh)
