"""The command `vlprompt show`."""

from dataclasses import asdict
from pathlib import Path

import torch
from tyro.conf import Positional

from vlprompt.errors import UsageError
from vlprompt.report.neighbours import lines, neighbours
from vlprompt.where import as_json, load_prompt


def run(
    prompt: Positional[Path],
    count: int = 5,
    backbone: str = "",
    pretrained: str = "",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Say what a saved prompt has learned: the words nearest to each of its tokens, or the words that it has found.

    A token far from all words has nearest ones too: look at the cosines, at the norm (of the vocabulary's mean) and at
    how far it has turned from its start.

    Args:
        prompt: The folder that holds prompt.safetensors.
        count: How many words for each token.
        backbone: The frozen model, where it is not found under the name it was trained with.
        pretrained: Its weights.
        device: cpu, cuda, ...
        json: Print one JSON object a line.
    """
    if count < 1:
        raise UsageError(f"count is {count}; ask for 1 word or more.")
    learner = load_prompt(prompt, None, backbone, pretrained, device=device)
    with torch.no_grad():
        words, tokens = learner.found_words(), learner.soft_tokens()
        if not words and not tokens:
            raise UsageError(f"{learner.method()} has no learned tokens among words, so none is near to any.")
        for name, found in words.items():
            print(as_json({"name": name, "words": found}) if json else f"{name}: {', '.join(found)}")
        if not tokens:
            return
        fresh = type(learner)(learner.backbone, learner.classes, learner.config, seed=learner.seed).eval()
        table, spelt = learner.backbone.word_table()
        near = list(neighbours(tokens, fresh.soft_tokens(), table, spelt, count))
    print("\n".join(as_json(asdict(token)) for token in near) if json else lines(near))
