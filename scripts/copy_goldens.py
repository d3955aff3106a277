"""Copy goldens into tests/goldens: every case that has an adapter, smallest first, and a cut-down model.

    python scripts/copy_goldens.py ../shared/goldens

Run it again when benchmarks/parity/adapters has a new file. It prints the files that do not fit into 5 MB.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 5 * 10**6
MANIFEST_ROOM = 200_000
LEFT_OUT = {  # methods and files
    "PromptSRC",  # its templates' words have substitute rows in the goldens' CLIP, which cutting would hide
    "TPT + CoCoOp",  # 157 kB of views; TPT's smallest case is enough, other tests cover the rest
    "tpt_cls_middle.npz",
    "tpt_v32_2step.npz",
    "tpt_v64_1step.npz",
}


def main() -> None:
    """Copy the cases, their manifest entries, and the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goldens", type=Path, help="folder of clip/ and tiny_clip/")
    parser.add_argument("--into", type=Path, default=ROOT / "tests" / "goldens")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from benchmarks.parity.adapters import adapter_name
    from benchmarks.parity.models import cut_down

    source, into = options.goldens / "clip", options.into / "clip"
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    adapted = [case for case in manifest["cases"] if adapter_name(case["method"])]
    cases = [case for case in adapted if not LEFT_OUT & {case["method"], case["file"]}]
    shutil.rmtree(options.into, ignore_errors=True)
    cut_down(options.goldens / "tiny_clip", options.into / "tiny_clip", set(tokens_of(source, manifest["cases"])))
    into.mkdir(parents=True)
    room = LIMIT - MANIFEST_ROOM - sum(path.stat().st_size for path in options.into.rglob("*") if path.is_file())
    kept = set(copy_smallest(source, into, [case["file"] for case in cases], room))
    manifest["cases"] = [case for case in cases if case["file"] in kept]
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    (into / "manifest.json").write_text(text + "\n", encoding="utf-8")


def tokens_of(source: Path, cases: Iterable[dict[str, Any]]) -> Iterator[int]:
    """Every token that a replay of the cases can use, and those with which vlprompt probes a model."""
    tokenizer = open_clip.SimpleTokenizer()
    yield from tokenizer(["x x x x"])[0].tolist()
    for case in cases:
        texts = [*strings(case["hyperparameters"])]
        with np.load(source / case["file"], allow_pickle=False) as arrays:
            for name in arrays.files:
                if arrays[name].dtype.kind == "U":
                    texts += arrays[name].ravel().tolist()
                elif name.startswith("tokenized"):
                    yield from np.unique(arrays[name]).tolist()
        for text in texts:
            yield from tokenizer.encode(text.replace("_", " ") + ".")
            yield from tokenizer.encode(text.replace("_", " "))


def strings(value: Any) -> Iterator[str]:
    """All texts in nested lists and tables."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def copy_smallest(source: Path, into: Path, names: Iterable[str], room: int) -> Iterator[str]:
    """Copy files, smallest first, while there is room; yields the names of copied files."""
    for name in sorted(names, key=lambda name: (source / name).stat().st_size):
        size = (source / name).stat().st_size
        if size > room:
            print(f"not copied, no room: {name} ({size} bytes)")
            continue
        shutil.copyfile(source / name, into / name)
        room -= size
        yield name


if __name__ == "__main__":
    main()
