"""What tells runs apart, in words that a person reads: `lr=0.003 n_layer=2 s1`.

A label follows from the runs that are looked at together, so it is made anew whenever they are
read, and stands in no file of theirs. The name of a run's directory is its identity and stays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptexp.analysis.groups import gathered
from gptexp.analysis.records import Run, mixed


def label_runs(runs: Sequence[Run]) -> dict[Path, str]:
    """A label for each of the runs, by its directory, and no two alike.

    The values that tell the runs apart, then the seed where there are several; the directory's name
    where nothing varies.
    """
    keys = [key for key in telling(runs) if len({run.config.get(key) for run in runs}) > 1]
    seeds = len({run.seed for run in runs}) > 1
    labels = {}
    for run in runs:
        words = words_of(keys, [run.config.get(key) for key in keys])
        words += [f"s{run.seed}"] if seeds else []
        labels[run.path] = " ".join(words) or run.path.name
    return _told_apart(labels)


def telling(runs: Sequence[Run]) -> list[str]:
    """The config keys that tell the runs apart but for their seeds.

    Those that follow from earlier ones are left out, as the layers of a preset do from its name;
    but the dataset's size is always told.
    """
    told = mixed(runs)
    keys = [key for key in told if key != "data.fraction"]
    count = _combinations(runs, keys)
    for key in reversed(keys):
        rest = [other for other in keys if other != key]
        if _combinations(runs, rest) == count:
            keys = rest
    return [key for key in told if key in keys or key == "data.fraction"]


def short_label(by: Sequence[str], values: Sequence[Any]) -> str:
    """A group in words, `n_layer=2 optim=sgd`; `all runs` where there is no key."""
    return " ".join(words_of(by, values)) or "all runs"


def words_of(by: Sequence[str], values: Sequence[Any]) -> list[str]:
    """`n_layer=2`, `optim=sgd`: keys with their values, as short as they can be told apart.

    A key goes without its section where no other ends alike. The name in a section is what was
    chosen for it, so it goes by the section's.
    """
    leaves = [key.removesuffix(".name").rpartition(".")[2] for key in by]
    names = [leaf if leaves.count(leaf) == 1 else key for leaf, key in zip(leaves, by, strict=True)]
    return [f"{name}={_plain(value)}" for name, value in zip(names, values, strict=True)]


def _plain(value: Any) -> str:
    """A value of the config as one would type it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
    return str(value)


def _told_apart(labels: dict[Path, str]) -> dict[Path, str]:
    """The labels; where some are alike, with the first of folder, hash and path that differs."""
    told: dict[Path, str] = {}
    for label, paths in gathered(labels, lambda path: labels[path]).items():
        for part in (_nothing, _folder, hash_of, str):
            parts = [part(path) for path in paths]
            if len(set(parts)) == len(parts):
                break
        told |= {path: f"{label} {word}".rstrip() for path, word in zip(paths, parts, strict=True)}
    return {path: told[path] for path in labels}


def _nothing(path: Path) -> str:
    return ""


def _folder(path: Path) -> str:
    return path.parent.name


def hash_of(path: Path) -> str:
    """The digits of the hash that end the name of a run's directory; other names, or their end."""
    return path.name.rpartition("-")[2]


def _combinations(runs: Sequence[Run], keys: Sequence[str]) -> int:
    return len({tuple(run.config.get(key) for key in keys) for run in runs})
