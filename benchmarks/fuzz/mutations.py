"""Mutations of files, for tests of what reads them: the result must be success or one VlpromptError."""

import copy
import json
import random
import tomllib
from typing import Any

# Values that are seldom expected: other types, bounds, addresses, control characters, half of a surrogate pair.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 1e300, 2**31, 2**70, 10**9, "", "a", "x" * 5000, "../x", "/etc/passwd"),
    *("hf-hub:evil/x", "a/b", "a b", "\x1b[2J", "\u202e", "a\nb", "\ud800", "[MASK]", "cuda:9", "nan"),
    *([], [[]], [1], ["a"], [0.5] * 3, {}, {"a": 1}, {"": None}),
)
TEXTS = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"\\",
    b",",
    b"\n",
    b"\r",
    b"{",
    b"[" * 2000,
    b"1" * 5000,
    b"NaN",
    b"-1",
)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """A file with one to three changes: flipped bits, cut, doubled, shuffled or inserted pieces."""
    for _ in range(rng.randint(1, 3)):
        start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        piece = data[start:stop]
        change = rng.randrange(6)
        if change == 0 and start < len(data):
            flipped = bytes([data[start] ^ 1 << rng.randrange(8)])
            data = data[:start] + flipped + data[start + 1 :]
        elif change == 1:
            data = data[:start]
        elif change == 2:
            data = data[:start] + data[stop:]
        elif change == 3:
            data = data[:stop] + piece[:1000] + data[stop:]
        elif change == 4:
            data = data[:start] + rng.choice(TEXTS) + data[start:]
        else:
            data = data[:start] + bytes(rng.sample(piece[:200], len(piece[:200]))) + data[start + len(piece[:200]) :]
    return data


def mutate_json(rng: random.Random, value: Any) -> Any:
    """A value of JSON with one to three changes: a part is replaced, removed, doubled or moved under another key."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        change = rng.randrange(5)
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        elif change == 2:
            other, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        else:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def mutate_json_file(rng: random.Random, data: bytes) -> bytes:
    """A file of JSON, changed as a value or, in a quarter of the cases, as bytes."""
    if rng.randrange(4) == 0:
        return mutate_bytes(rng, data)
    return json.dumps(mutate_json(rng, json.loads(data))).encode()


def mutate_json_lines(rng: random.Random, data: bytes) -> bytes:
    """JSON lines, at least one of them changed."""
    lines = data.splitlines()
    certain = rng.randrange(len(lines))
    changed = (mutate_json_file(rng, x) if at == certain or rng.randrange(4) == 0 else x for at, x in enumerate(lines))
    return b"\n".join(changed) + b"\n"


def mutate_text(rng: random.Random, text: str) -> str:
    """A text, changed as bytes or, in a quarter of the cases, replaced in a part by one of `VALUES`."""
    if rng.randrange(4):
        return mutate_bytes(rng, text.encode()).decode(errors="surrogateescape")
    start = rng.randrange(len(text) + 1)
    value = rng.choice(VALUES)
    return f"{text[:start]}{value if isinstance(value, str) else json.dumps(value)}{text[start + rng.randrange(4) :]}"


def mutate_toml(rng: random.Random, data: bytes) -> bytes:
    """A file of TOML, changed as a value or, in a quarter of the cases, as bytes."""
    if rng.randrange(4) == 0:
        return mutate_bytes(rng, data)
    changed = mutate_json(rng, tomllib.loads(data.decode()))
    lines = changed.items() if isinstance(changed, dict) else [("a", changed)]
    return "\n".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in lines).encode()


def _toml(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(inner)}' for key, inner in value.items())}}}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every list or table with every index or key in it, however deep."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *_places(value[key]))]
