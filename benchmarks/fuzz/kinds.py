"""The kinds of input: each is a function that changes a real input of its kind and reads it."""

import contextlib
import gzip
import io
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import vlprompt as vp
from benchmarks.fuzz.mutations import (
    mutate_bytes,
    mutate_json,
    mutate_json_file,
    mutate_json_lines,
    mutate_text,
    mutate_toml,
)
from vlprompt import checkpoint
from vlprompt.cloze.parts import template as cloze
from vlprompt.commands.output import print_tables
from vlprompt.config import by_owner, make_config
from vlprompt.data.images import Files
from vlprompt.data.readers import ag_news, aircraft, cifar, cub, domains, glue, idx, lama, split_file, sst2, vpt, vtab
from vlprompt.data.task import Task
from vlprompt.data.templates import IMAGENET_SELECT, Template
from vlprompt.experiments import grid, results_file
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.sweep.plan import read_sweep, units
from vlprompt.learners import CoOp
from vlprompt.report.published import read_paper
from vlprompt.training.config import TrainConfig

Kind = Callable[[random.Random, Path], None]
Change = Callable[[random.Random, bytes], bytes]
BENCHMARKS = Path(__file__).resolve().parent.parent
FORMS = ("terminal", "markdown", "latex")

IMAGE_TABLES = {
    "t.csv": b"path,label,split\na/1.png,cat,train\na/2.png,dog,train\nb/3.png,cat,test\nb/4.png,dog,val\n",
    "t.tsv": b'file\tlabel\n"a 1.png"\tcat\n2.png\tdog\n3.png\tcat\n4.png\tdog\n',
    "u.csv": ";image;label\r\n0;\u00e4 1.png;cat\r\n1;2.png;dog\r\n".encode("utf-16"),
    "t.jsonl": b'{"path": "1", "label": "cat", "split": "val"}\n{"path": "2", "label": "dog", "split": "test"}\n',
}
TEXT_TABLES = {
    "t.csv": b'text,label\n"good, even ""great""",1\nbad,0\nfair,1\npoor,0\n',
    "t.tsv": b"idx\ttext\tlabel\n0\tit's \"good\tpos\n1\tbad\tneg\n",
    "t.jsonl": b'{"text": "good", "label": 1, "a": {"b": [1]}}\n{"text": "b", "label": 0}\n{"text": "", "label": 1}\n',
}
SPLIT = {
    "split.json": json.dumps(
        {part: [[f"{part}/1.jpg", 0, "cat"], [f"{part}/2.jpg", 1, "dog"]] for part in ("train", "val", "test")}
    ).encode()
}
VPT = {f"{part}.json": b'{"001.cat/1.jpg": 1, "002.dog/2.jpg": 2}' for part in ("train", "val", "test")}
LAMA = {
    "relations.jsonl": b'{"relation": "P1", "template": "[X] works in [Y] ."}\n',
    **{f"P1/{part}.jsonl": b'{"sub_label": "a", "obj_label": "b"}\n{"sub_label": "c", "obj_label": "d"}\n'
       for part in ("train", "dev", "test")},
}  # fmt: skip
AG_NEWS = {f"{part}.csv": b'"3","Title","Body, with\\more"\n"1","A ""b""","c"\n' * 4 for part in ("train", "test")}
SST2 = {f"stsa.binary.{part}": b"1 a good film\n0 a bad one\n" for part in ("train", "dev", "test")}
GLUE = {
    "train.tsv": b"sentence\tlabel\nit's a \"good one\t1\nbad\t0\n",
    "dev.jsonl": b'{"sentence": "a", "label": "pos"}\n{"sentence": "b", "label": 0}\n',
}
PIXELS, LABELS = (
    bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + bytes(24),
    bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]),
)
IDX = {
    **{"train-images-idx3-ubyte": PIXELS, "train-labels-idx1-ubyte": LABELS},
    "t10k-images-idx3-ubyte.gz": gzip.compress(PIXELS, mtime=0),
    "t10k-labels-idx1-ubyte.gz": gzip.compress(LABELS, mtime=0),
}
CIFAR = {
    "train.bin": bytes(2 * (2 + cifar.PIXELS)), "test.bin": bytes(2 + cifar.PIXELS), "fine_label_names.txt": b"a\nb\n",
}  # fmt: skip
LISTS = {
    "variants.txt": b"Boeing 707\nA-320\n",
    **{f"images_variant_{part}.txt": b"001 Boeing 707\n002 A-320\n" for part in ("train", "val", "test")},
    "classes.txt": b"1 001.Cat\n2 002.Dog\n",
    "images.txt": b"1 001.Cat/1.jpg\n2 001.Cat/2.jpg\n3 002.Dog/1.jpg\n4 002.Dog/2.jpg\n",
    "image_class_labels.txt": b"1 1\n2 1\n3 2\n4 2\n",
    "train_test_split.txt": b"1 1\n2 0\n3 1\n4 0\n",
    **{f"real_{part}.txt": b"real/cat/1.jpg 0\nreal/dog/2.jpg 1\n" for part in ("train", "test")},
    **{f"t/{name}.txt": b"images/1.jpg 0\nimages/2 b.jpg 1\n" for name in ("train800", "val200", "test")},
    "t/classnames.txt": b"cat\ndog\n",
}
IMAGE_TEMPLATES = (*IMAGENET_SELECT, "a photo of a {}, a type of pet.", "{}")
CLOZES = ("{text} It was {mask}.", "{a:whole}{sep}{mask}, {b}", "{soft:3} {text} {mask}", "{{x}} {mask} {text:whole}")
SETTINGS = {
    "train": ("train.epochs=10", "train.lr=0.1", "train.augment=none"),
    "grid": ("train.lr=0.1,1", "train.weight_decay=[0, 1e-4]"),
    "coop": ("coop.n_ctx=4", 'coop.position="front"'),
    "tpt+coop": ("tpt.lr=0.005", "coop.words=a photo of a"),
    "vpt:vpt-deep": ("vpt.depth=2", "vpt.dropout=0"),
}


def _mutated(rng: random.Random, folder: Path, files: Mapping[str, bytes], change: Change = mutate_bytes) -> str:
    """Write all files, one of them changed, and return the name of that one."""
    changed = rng.choice(sorted(files))
    change = mutate_json_lines if changed.endswith(".jsonl") and change is mutate_bytes else change
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(change(rng, content) if name == changed else content)
    return changed


def _image_table(rng: random.Random, folder: Path) -> None:
    Task.from_csv(folder / _mutated(rng, folder, IMAGE_TABLES), classes=rng.choice(((), ("cat", "dog"))))


def _text_table(rng: random.Random, folder: Path) -> None:
    name = _mutated(rng, folder, TEXT_TABLES)
    Task.from_texts(folder / name, template="{text} It was {mask}.", classes=rng.choice(((), ("neg", "pos"))))


def _split_file(rng: random.Random, folder: Path) -> None:
    split_file.read_split_file(folder / _mutated(rng, folder, SPLIT, mutate_json_file), folder)


def _vpt(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, VPT, mutate_json_file)
    vpt.read_vpt_lists(folder, folder)


def _lama(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, LAMA)
    lama.read_lama(folder, "P1")


def _ag_news(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, AG_NEWS)
    ag_news.read_ag_news(folder, ("world", "sport", "business", "science"))


def _sst2(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, SST2)
    sst2.read_sst2(folder, ("negative", "positive"))


def _glue(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, GLUE)
    layout = glue.Layout({"train": "train.tsv", "test": "dev.jsonl"}, {"text": "sentence"})
    glue.read_glue(folder, ("neg", "pos"), layout)


def _idx(rng: random.Random, folder: Path) -> None:
    idx.read_idx_pair(folder, _mutated(rng, folder, IDX).partition("-")[0])


def _cifar(rng: random.Random, folder: Path) -> None:
    _mutated(rng, folder, CIFAR)
    cifar.read_cifar(folder, cifar.CIFAR100)


def _lists(rng: random.Random, folder: Path) -> None:
    name = _mutated(rng, folder, LISTS)
    if name.startswith("t/"):
        vtab.read_vtab(folder, "t", 2)
    elif name.startswith("real"):
        domains.read_domain_lists(folder, {"real": "real"}, "{domain}_{part}.txt", ".")
    elif "variant" in name:
        aircraft.read_aircraft(folder, folder)
    else:
        cub.read_cub(folder, folder)


def _image_template(rng: random.Random, _: Path) -> None:
    Template(mutate_text(rng, rng.choice(IMAGE_TEMPLATES)))("a_class")


def _cloze(rng: random.Random, _: Path) -> None:
    template = cloze.Template(mutate_text(rng, rng.choice(CLOZES))).check_blank()
    template.check_fields(("text", "a", "b"))
    cloze.without_words(template)


def _settings(rng: random.Random, _: Path) -> None:
    """One or two settings: of a method, of training, or of a grid."""
    name, texts = rng.choice(list(SETTINGS.items()))
    changed = [mutate_text(rng, text) for text in rng.sample(texts, rng.randint(1, len(texts)))]
    if name == "grid":
        grid.points(grid.parse(changed), TrainConfig())
    elif name == "train":
        make_config(TrainConfig, by_owner(changed).get("train", {}))
    else:
        LearnerSpec.parse(mutate_text(rng, name) if rng.randrange(4) == 0 else name, by_owner(changed))


def _experiment(rng: random.Random, folder: Path) -> None:
    path = folder / "grid.toml"
    path.write_bytes(mutate_toml(rng, rng.choice(_contents("accuracy/*.toml"))))
    units(read_sweep(path))


def _results(rng: random.Random, folder: Path) -> None:
    lines = rng.choice(_result_lines())
    path = folder / "results.jsonl"
    path.write_bytes(mutate_json_lines(rng, b"\n".join(lines)))
    results = results_file.read(path)
    for form in FORMS:
        with contextlib.redirect_stdout(io.StringIO()):
            print_tables(results, form)


def _paper(rng: random.Random, folder: Path) -> None:
    path = folder / "paper.toml"
    path.write_bytes(mutate_toml(rng, PAPER))
    read_paper(path)


def _prompt_bytes(rng: random.Random, folder: Path) -> None:
    content = _prompt()[0]
    change = rng.choice((mutate_bytes, _mutated_header))
    (folder / checkpoint.TENSORS).write_bytes(change(rng, content))
    checkpoint.description(folder)


def _mutated_header(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file with a changed header."""
    size = int.from_bytes(content[:8], "little")
    header = mutate_json_file(rng, content[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _prompt_description(rng: random.Random, folder: Path) -> None:
    """A description with a valid checksum, loaded with the tiny model."""
    _, tensors, meta = _prompt()
    changed = mutate_json(rng, meta)
    checkpoint.save(folder, tensors, changed if isinstance(changed, dict) else {"a": changed})
    vp.load(folder, _tiny())


def _image(rng: random.Random, folder: Path) -> None:
    kind, content = rng.choice(_images())
    path = folder / f"image.{kind}"
    path.write_bytes(mutate_bytes(rng, content))
    Files(shown=bool(rng.randrange(2))).open(path)


@cache
def _contents(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(BENCHMARKS.glob(pattern)))


@cache
def _result_lines() -> tuple[tuple[bytes, ...], ...]:
    """Some result lines of each file of the benchmarks."""
    files = (content.splitlines() for content in _contents("results/*.jsonl"))
    found = (tuple(line for line in lines[:: max(1, len(lines) // 6)] if b'"protocol"' in line) for lines in files)
    return tuple(lines[:6] for lines in found if lines)


@cache
def _tiny() -> vp.Clip:
    return vp.load_clip("tiny")


@cache
def _prompt() -> tuple[bytes, Mapping[str, Any], Mapping[str, Any]]:
    """The file, the tensors and the description of an untrained prompt."""
    with tempfile.TemporaryDirectory() as folder:
        CoOp(_tiny(), ("one", "two")).save(folder)
        return (Path(folder) / checkpoint.TENSORS).read_bytes(), *checkpoint.load(folder)


@cache
def _images() -> tuple[tuple[str, bytes], ...]:
    """Small images of noise in several formats and modes."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9, 4), np.uint8))
    modes = {"png": "RGBA", "jpeg": "RGB", "webp": "RGBA", "gif": "P", "bmp": "RGB", "tiff": "RGB"}
    found = []
    for kind, mode in modes.items():
        stream, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6  # turned by 90 degrees
        noise.convert("RGB").convert(mode).save(stream, kind, **({} if kind in ("gif", "bmp") else {"exif": exif}))
        found.append((kind, stream.getvalue()))
    return tuple(found)


PAPER = b"""
[evidence]
mem = "from memory"
[[table]]
source = "A paper"
evidence = "mem"
protocol = "base_to_new"
backbone = "ViT-B-16/openai"
shots = 16
tasks = ["a", "b"]
[[table.row]]
method = "CoOp"
ours = ["coop", "coop n_ctx=4"]
base_top1 = [82.5, 70.0]
new_top1 = [63.0, 60.0]
harmonic_mean = [71.4, 64.6]
average = { base_top1 = 76.25, new_top1 = 61.5, harmonic_mean = 68.1 }
"""

KINDS: Mapping[str, Kind] = {
    "image_table": _image_table,
    "text_table": _text_table,
    "split_file": _split_file,
    "vpt": _vpt,
    "lama": _lama,
    "ag_news": _ag_news,
    "sst2": _sst2,
    "glue": _glue,
    "idx": _idx,
    "cifar": _cifar,
    "lists": _lists,
    "image_template": _image_template,
    "cloze": _cloze,
    "settings": _settings,
    "experiment": _experiment,
    "results": _results,
    "paper": _paper,
    "prompt_bytes": _prompt_bytes,
    "prompt_description": _prompt_description,
    "image": _image,
}
