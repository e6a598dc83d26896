"""Run directories as somebody else might send them: each file with something else in it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEEP = "[" * 100_000

VALUES = {  # as JSON would spell them, or as it could not
    "null": "null",
    "true": "true",
    "list": "[]",
    "object": "{}",
    "word": '"x"',
    "nested list": '[["x"], {"y": [1]}]',
    "negative": "-7",
    "fraction": "0.5",
    "huge": "1" + "0" * 400,
    "beyond digits": "9" * 5000,
    "NaN": "NaN",
    "Infinity": "Infinity",
    "overflow": "1e999",
    "deep": DEEP,
    "surrogate": '"\\ud800"',
    "control": '"\\u001b[31m\\u0000\\r\\n"',
    "interpolation": '"${oc.env:HOME}"',
}

FILES = ("summary.json", "manifest.json", "status.json")


@dataclass(frozen=True)
class Mutation:
    """One change to a run directory."""

    label: str
    apply: Callable[[Path], None]


def of_values(run: Path) -> Iterator[Mutation]:
    """Every key of every JSON file of `run` with every one of VALUES, and without it."""
    entries = [f"checkpoints/{path.name}" for path in sorted((run / "checkpoints").glob("*.json"))]
    for name in [name for name in [*FILES, *entries] if (run / name).exists()]:
        stored = json.loads((run / name).read_text())
        for keys in _paths(stored):
            where = ".".join(map(str, keys)) or "the whole"
            for label, word in VALUES.items():
                yield Mutation(f"{name} {where} {label}", _writer(name, _text(stored, keys, word)))
            if keys:
                yield Mutation(f"{name} without {where}", _writer(name, _text(stored, keys, None)))


def of_bytes(run: Path) -> Iterator[Mutation]:
    """Files that are torn, foreign, or no files at all."""
    names = [*FILES, "config.yaml", "metrics.jsonl", "samples.jsonl", "run.log", "wandb-id"]
    names += [f"checkpoints/{path.name}" for path in sorted((run / "checkpoints").iterdir())]
    for name in names:
        whole = (run / name).read_bytes() if (run / name).is_file() else b""
        contents = {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "not UTF-8": b"\xff\xfe\x00",
            "zeros": bytes(len(whole)),
            "deep": DEEP.encode(),
            "aliases": b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n",
            "a list": b"[1, 2]",
        }
        for label, content in contents.items():
            yield Mutation(f"{name} {label}", _byte_writer(name, content))
        for label, put in SPECIAL.items():
            yield Mutation(f"{name} {label}", _replacer(name, put))


def _missing(path: Path) -> None:
    pass


SPECIAL: dict[str, Callable[[Path], object]] = {
    "missing": _missing,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
}


def _paths(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield keys
    if isinstance(value, dict):
        for key, item in list(value.items())[:12]:  # of a hundred source files, some
            yield from _paths(item, (*keys, key))
    elif isinstance(value, list) and value:
        yield from _paths(value[0], (*keys, 0))


def _text(stored: Any, keys: tuple[Any, ...], word: str | None) -> str:
    """The JSON with `word` at `keys`; None takes the key out."""
    if not keys:
        return word or ""
    changed = json.loads(json.dumps(stored))
    inner = changed
    for key in keys[:-1]:
        inner = inner[key]
    if word is None:
        del inner[keys[-1]]
        return json.dumps(changed)
    inner[keys[-1]] = "PLACE"
    return json.dumps(changed).replace('"PLACE"', word)


def _writer(name: str, text: str) -> Callable[[Path], None]:
    return _byte_writer(name, text.encode())


def _byte_writer(name: str, content: bytes) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).write_bytes(content)

    return write


def _replacer(name: str, put: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        put(run / name)

    return replace
