"""Run directories as rows: what each says of itself, from one file of each that is done."""

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.config import BUDGETS, flat, is_hashed
from gptexp.errors import ConfigError, Problem
from gptexp.files import read_json
from gptexp.runs.directory import RunDirectory, code_digest
from gptexp.runs.state import RunState

MOVED_ASIDE = re.compile(r"\.old\d+$")  # see RunDirectory.move_aside


@dataclass(frozen=True)
class Run:
    """One run directory; losses in nats per token, None where there is none or it is not finite."""

    path: Path
    state: RunState
    reason: str  # one line; empty for one that is done
    config: dict[str, Any]  # see config.flat
    code: str | None  # see runs.directory.code_digest
    data_sha256: str | None  # of the text
    params: int | None = None
    best: float | None = None  # validation loss at its best
    best_step: int | None = None
    final: float | None = None  # validation loss at the end
    height: float | None = None  # of the cliff
    test: float | None = None  # loss of the best weights

    @property
    def seed(self) -> Any:
        return self.config.get("seed")

    @property
    def done(self) -> bool:
        return self.state is RunState.done

    def identity(self) -> dict[str, Any]:
        """The config values that can change a result, but for the seed and the text's path."""
        values = {k: v for k, v in self.config.items() if is_hashed(k)}
        unused = ["seed", "data.path"]
        if any(values.get(f"trainer.{key}") is not None for key in BUDGETS):
            unused.append("trainer.max_steps")
        for key in unused:
            values.pop(key, None)
        values["trainer.device"] = str(values.get("trainer.device")).partition(":")[0]
        return values


class DamagedError(Exception):
    """A file of a run directory does not hold what it should."""


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[Problem]]:
    """The runs that `paths` are or hold, at any depth, each once; and notes about damaged ones.

    Runs that were moved aside are left out, unless a path names one. Raises ConfigError for a path
    that is not there or holds no run.
    """
    runs: dict[str, Run] = {}
    notes: list[Problem] = []
    for path in paths:
        if not path.is_dir():
            what = "not a folder" if path.exists() else "not there"
            raise ConfigError(Problem(path, what, "name a run directory or a folder of them"))
        noted = len(notes)
        run = _read_or_note(path, notes)
        at_path = [run] if run is not None else list(_below(path, notes, []))
        if not at_path and len(notes) == noted:
            fix = "name a folder such as outputs/default"
            raise ConfigError(Problem(path, "holds no runs", fix))
        for item in at_path:
            runs.setdefault(os.path.realpath(item.path), item)
    notes = list(dict.fromkeys(notes))
    if not runs:
        raise ConfigError(*notes)
    return list(runs.values()), notes


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory."""
    return any((path / name).exists() for name in ("summary.json", "status.json", "config.yaml"))


def read(path: Path) -> Run | None:
    """The run in `path`; None when it is no run directory; raises DamagedError without a config."""
    try:
        text = (path / "summary.json").read_bytes()
    except FileNotFoundError:
        return _unfinished(path)
    except OSError as error:
        return _damaged(path, f"cannot be read, {error.strerror}")
    try:
        summary = json.loads(text)
        return _done(path, summary)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _damaged(path, "is damaged")


def read_config(path: Path) -> dict[str, Any]:
    """The values in config.yaml of a run directory; raises DamagedError."""
    import yaml  # most tables read none

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent where PyYAML is not compiled
    try:
        values = yaml.load((path / "config.yaml").read_bytes(), Loader=loader)
    except FileNotFoundError as error:
        raise DamagedError("has no config.yaml") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DamagedError("config.yaml is damaged") from error
    if not isinstance(values, dict):
        raise DamagedError("config.yaml is damaged")
    return values


def differing(runs: Sequence[Run]) -> list[str]:
    """Config keys whose values are not the same in all runs, in the config's order; seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    unlike = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    return sorted(unlike, key=lambda key: key == "seed")


def varying(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """The `keys` that say more than which variant a run has, as optim.beta1 of adam does not.

    So the runs that have the key must differ in it.
    """
    return [key for key in keys if len({run.config[key] for run in runs if key in run.config}) > 1]


def mixed(runs: Sequence[Run]) -> list[str]:
    """Config keys that can change a result and differ between runs meant to differ in the seed."""
    identities = [run.identity() for run in runs]
    keys = dict.fromkeys(key for values in identities for key in values)
    return [key for key in keys if len({values.get(key) for values in identities}) > 1]


def _below(folder: Path, notes: list[Problem], seen: list[str]) -> Iterator[Run]:
    """The runs in a folder, at any depth, in the order of their names; damaged ones go to `notes`.

    Links come last, and are followed to what was not `seen` and does not hold it all.
    """
    seen.append(os.path.realpath(folder))
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if os.path.isdir(entry)]  # noqa: PTH112  # no loop
            inner = sorted((entry.is_symlink(), entry.name) for entry in found)
    except OSError as error:
        raise ConfigError(Problem(folder, f"{error.strerror}", "make it readable")) from error
    for is_link, name in inner:
        if name.startswith(".") or MOVED_ASIDE.search(name):
            continue
        noted, path = len(notes), folder / name
        run = _read_or_note(path, notes)
        if run is not None:
            yield run
        elif len(notes) == noted and not (is_link and _around(os.path.realpath(path), seen)):
            yield from _below(path, notes, seen)


def _around(target: str, seen: list[str]) -> bool:
    """Whether a folder was seen, or holds the one that the search began with."""
    return target in seen or Path(seen[0]).is_relative_to(target)


def _read_or_note(path: Path, notes: list[Problem]) -> Run | None:
    """The run at `path`, with a note of what is damaged; None where none can be read."""
    try:
        run = read(path)
    except DamagedError as error:
        notes.append(Problem(path, f"{error}, so it is left out", "run its command again"))
        return None
    if run is not None and run.state is RunState.damaged:
        notes.append(Problem(path, run.reason, "delete summary.json and run its command again"))
    return run


def _done(path: Path, summary: dict[str, Any]) -> Run:
    best, final = summary["best"] or {}, summary["final"]
    config, code, data_sha256 = _provenance(path, summary)
    return Run(
        path=path,
        state=RunState.done,
        reason="",
        config=config,
        code=code,
        data_sha256=data_sha256,
        params=_checked_number(summary["params"]["total"]),
        best=_checked_number(best.get("val_loss")),
        best_step=_checked_number(best.get("step")),
        final=_checked_number(final["val_loss"]),
        height=_checked_number((summary["cliff"] or {}).get("height")),
        test=_checked_number((summary["test"] or {}).get("loss")),
    )


def _provenance(path: Path, summary: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """Flat config, digest of the code and digest of the text; older summaries hold none of them."""
    if "config" in summary:
        return _flat(summary["config"]), summary["code"], summary["data_sha256"]
    config = _flat(read_config(path))
    manifest = read_json(path / "manifest.json") or {}
    return config, code_digest(manifest), manifest.get("data", {}).get("sha256")


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with dotted keys; raises DamagedError for those that could not be compared."""
    try:
        config = flat(values)
        hash(tuple(config.values()))
    except TypeError as error:
        raise DamagedError("its config is damaged") from error
    return config


def _damaged(path: Path, what: str) -> Run:
    config, code, data_sha256 = _provenance(path, {})
    return Run(path, RunState.damaged, f"summary.json {what}", config, code, data_sha256)


def _unfinished(path: Path) -> Run | None:
    """The run at `path` without summary.json, which has not ended; None where there is no run."""
    status = read_json(path / "status.json")
    if status is None and not (path / "config.yaml").exists():
        return None
    state = RunDirectory(path).state() or RunState.unknown
    reason = str((status or {}).get("reason", ""))
    if state is RunState.killed:
        reason = "its process is gone"
    elif state in (RunState.done, RunState.unknown):
        state, reason = RunState.unknown, "there is no summary.json"
    config, code, data_sha256 = _provenance(path, {})
    return Run(path, state, reason, config, code, data_sha256)


def _checked_number(value: Any) -> Any:
    """A finite number or None; raises TypeError for anything else, as in a damaged file."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value if math.isfinite(value) else None
