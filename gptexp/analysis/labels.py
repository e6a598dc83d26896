"""What tells runs apart, in words that a person reads: `lr=0.003 n_layer=2 s1`.

A label follows from the runs that are looked at together, so it is made anew whenever they are
read, and stands in no file of theirs. The name of a run's directory is its identity and stays.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptexp.analysis.groups import gathered
from gptexp.analysis.records import Run, look, mixed
from gptexp.config import flat, is_hashed
from gptexp.text import plain, plural


def label_runs(runs: Sequence[Run]) -> dict[Path, str]:
    """A label for each of the runs, by its directory, and no two alike.

    The values that tell the runs apart, then the seed where there are several; the directory's name
    where nothing varies.
    """
    keys = label_keys(runs)
    labels = {run.path: in_words(keys, run.config) or run.path.name for run in runs}
    return _told_apart(labels)


def label_paths(paths: Sequence[Path]) -> list[str]:
    """What tells run directories apart, read from them; a lone checkpoint goes by its own name."""
    known = [run for path in paths if path.is_dir() and (run := look(path).run) is not None]
    labels = label_runs(known)
    return [labels.get(path) or short_start(path.absolute()) for path in paths]


def label_keys(runs: Sequence[Run]) -> list[str]:
    """The config keys whose values stand in the labels of the runs; the seed last."""
    return [k for k in [*telling(runs), "seed"] if len({run.config.get(k) for run in runs}) > 1]


def label_of_command(config: dict[str, Any], overrides: Sequence[str]) -> str:
    """What a command set of what can change a result: `n_layer=2 s1`; empty where it set nothing.

    All that is known of a run before there are others. `config` is the run's, in plain values; the
    text's path is left out, and so is what a group's choice brings.
    """
    values = flat(config)
    typed = [word.lstrip("+").partition("=")[0] for word in overrides]
    keys = dict.fromkeys(key if key in values else f"{key}.name" for key in typed)
    known = [k for k in keys if k in values and is_hashed(k) and k not in ("data.path", "seed")]
    return in_words([*known, *(["seed"] if "seed" in keys else [])], values)


def telling(runs: Sequence[Run]) -> list[str]:
    """The config keys that tell the runs apart but for their seeds.

    Those that follow from earlier ones are left out, as the layers of a preset do from its name;
    but the dataset's size is always told.
    """
    differing = mixed(runs)
    keys = [key for key in differing if key != "data.fraction"]
    count = _combinations(runs, keys)
    for key in reversed(keys):
        rest = [other for other in keys if other != key]
        if _combinations(runs, rest) == count:
            keys = rest
    return [key for key in differing if key in keys or key == "data.fraction"]


def short_label(by: Sequence[str], values: Sequence[Any]) -> str:
    """A group in words, `n_layer=2 optim=sgd`; `all runs` where there is no key."""
    return " ".join(words_of(by, values)) or "all runs"


def words_of(by: Sequence[str], values: Sequence[Any]) -> list[str]:
    """`n_layer=2`, `optim=sgd`: keys with their values, as short as they can be told apart.

    A key goes without its section where no other ends alike. The name in a section is what was
    chosen for it, so it goes by the section's. A run that others branch from goes by its hash.
    """
    return [
        f"{name}={short_start(value) if key == 'branch_from' else plain(value)}"
        for name, key, value in zip(short_names(by), by, values, strict=True)
    ]


def short_names(by: Sequence[str]) -> list[str]:
    """The keys as they stand in labels: `n_layer` for model.n_layer, `optim` for optim.name."""
    short = leaves(by)
    return [leaf if short.count(leaf) == 1 else key for leaf, key in zip(short, by, strict=True)]


def in_words(keys: Sequence[str], config: dict[str, Any]) -> str:
    """A run in words, by a flat config; its seed, where it is among the keys, as `s1`."""
    by = [key for key in keys if key != "seed"]
    words = words_of(by, [config.get(key) for key in by])
    return " ".join([*words, *([f"s{config.get('seed')}"] if "seed" in keys else [])])


def leaves(keys: Sequence[str]) -> list[str]:
    """The keys without their sections: `lr` of optim.lr, `optim` of optim.name."""
    return [key.removesuffix(".name").rpartition(".")[2] for key in keys]


def short_start(words: Any) -> str:
    """A run, or a checkpoint in one, by the digits of its hash: `7a91c4c2`, `7a91c4c2/step-500`."""
    if words is None:
        return plain(words)
    path = Path(str(words))
    within = path.parent.name == "checkpoints"
    return f"{hash_of(path.parents[1])}/{path.stem}" if within else hash_of(path)


def branch_notes(runs: Sequence[Run]) -> list[str]:
    """A line for each run from which some of these branch."""
    bases = Counter(run.config["branch_from"] for run in runs if run.config.get("branch_from"))
    return [
        f"branch_from: {plural(count, 'run')} began with the steps of {base}, under its settings"
        for base, count in bases.items()
    ]


def _told_apart(labels: dict[Path, str]) -> dict[Path, str]:
    """The labels; where some are alike, with the first of folder, hash and path that differs."""
    apart: dict[Path, str] = {}
    for label, paths in gathered(labels, lambda path: labels[path]).items():
        for part in (_nothing, _folder, hash_of, str):
            parts = [part(path) for path in paths]
            if len(set(parts)) == len(parts):
                break
        apart |= {path: f"{label} {word}".rstrip() for path, word in zip(paths, parts, strict=True)}
    return {path: apart[path] for path in labels}


def _nothing(path: Path) -> str:
    return ""


def _folder(path: Path) -> str:
    return path.parent.name


def hash_of(path: Path) -> str:
    """The digits of the hash that end the name of a run's directory; other names, or their end."""
    return path.name.rpartition("-")[2]


def _combinations(runs: Sequence[Run], keys: Sequence[str]) -> int:
    return len({tuple(run.config.get(key) for key in keys) for run in runs})
