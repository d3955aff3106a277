"""What the command line asks for a task of texts: the language model, the data and the folder of a run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlprompt import parallel
from vlprompt.backbones import Clip, load_backbone, load_lm
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task, set_aside
from vlprompt.errors import UsageError
from vlprompt.runner import Bench, Entry
from vlprompt.settings import by_owner

SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's (princeton-nlp/LM-BFF, tools/generate_k_shot_data.py)


@dataclass(frozen=True)
class Texts:
    """The language model, the texts and the folder of a run.

    Attributes:
        task: A data set (sst2, ag_news), a .csv, .tsv or .jsonl file, or a folder with files called train, dev, test.
        root: The folder that holds the data set.
        template: The blank, as "{text} It was {mask}."; slots are columns. Data sets have one of their own.
        words: Label words, one argument a class, several with commas: terrible,bad great,good. Without: class names.
        text_columns: Columns that are texts; without them all but the label's.
        label_column: The column of classes.
        unlabelled: So many training texts, drawn at random, lose their labels; pet and ipet learn from such.
        backbone: A model of the Hugging Face hub (roberta-base, gpt2, t5-small), or local-dir:PATH.
        pretrained: Weights of a CLIP (openai), which clip_text takes; give it a table of its own.
        kind: masked, causal or encoder-decoder, where the model does not say.
        precision: fp32 or bf16.
        device: cpu, cuda, cuda:1, mps.
        out: Folder for results and prompts; runs that have a result there are not run again.
        set: Changed settings, as prompt_tuning.length=20 or train.epochs=10.
        fresh: Run again what already has a result.
        json: Print result lines instead of tables.
    """

    task: str = "sst2"
    root: Path | None = None
    template: str = ""
    words: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    label_column: str = "label"
    unlabelled: int = 0
    backbone: str = "roberta-base"
    pretrained: str = ""
    kind: str = ""
    precision: str = "fp32"
    device: str = "cpu"
    out: Path = Path("runs")
    set: tuple[str, ...] = ()
    fresh: bool = False
    json: bool = False

    def open_task(self) -> Task:
        """The task, with its template and its label words replaced where some are given."""
        columns = {"text_columns": self.text_columns, "label_column": self.label_column}
        task = catalog.open_texts(self.task, self.root, template=self.template, **columns)
        words = tuple(tuple(own.split(",")) for own in self.words)
        if words and len(words) != len(task.classes):
            raise UsageError(f"--words has {len(words)} arguments for the classes {', '.join(task.classes)}; one each.")
        templates = (self.template,) if self.template else task.templates
        task = replace(task, templates=templates, words=words or task.words)
        return set_aside(task, self.unlabelled) if self.unlabelled else task

    def bench(self, rows: Sequence[Entry]) -> Bench:
        """The frozen model that the rows of the table take, and where results go."""
        frozen: Any
        if rows and all(Clip in row.kind.takes for row in rows):
            frozen = load_backbone(self.backbone, self.pretrained, precision=self.precision, device=self.device)
        else:
            frozen = load_lm(self.backbone, kind=self.kind, precision=self.precision, device=self.device)
        training = by_owner(self.set).get("train", {})
        team = parallel.started()
        return Bench(frozen, self.out, FeatureStore(), training, fresh=self.fresh, quiet=self.json, team=team)


def text_of(given: str) -> str | Mapping[str, str]:
    """A text from the command line: words, or a JSON object of fields.

    Raises:
        UsageError: It opens like a JSON object and is none.
    """
    if not given.lstrip().startswith("{"):
        return given
    try:
        fields = json.loads(given)
    except json.JSONDecodeError as error:
        raise UsageError(f"{given!r} is not JSON ({error.msg}); give {{\"field\": \"text\"}}, or words.") from error
    return {str(name): str(value) for name, value in fields.items()}
