"""Run directories as rows: what each says of itself, from one file of each that is done."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptexp.config import BUDGETS, flat, is_hashed, parse_yaml, retired
from gptexp.errors import ConfigError, DamagedError, Problem
from gptexp.files import read_regular, readable
from gptexp.runs.directory import MOST_CONFIG, RunDirectory, code_digest
from gptexp.runs.lines import is_whole
from gptexp.runs.schema import Manifest, Summary, read_manifest, read_status, read_summary
from gptexp.runs.state import RunState

FIX = "name a run directory or a folder of them"

RUN_FILES = ("manifest.json", "metrics.jsonl", "status.json", "summary.json")

MOVED_ASIDE = re.compile(r"\.old\d+$")  # see RunDirectory.move_aside


@dataclass(frozen=True)
class Run:
    """One run directory; losses in nats per token, None where there is none or it is not finite."""

    path: Path
    state: RunState
    reason: str  # one line; empty for one that is done
    config: dict[str, Any]  # see config.flat; every value is hashable
    code: str | None  # see runs.directory.code_digest
    data_sha256: str | None  # of the text
    params: int | None = None
    best: float | None = None  # validation loss at its best
    best_step: int | None = None
    bpb: float | None = None  # validation loss at its best in bits per byte
    accuracy: float | None = None  # of conversations: right answers at the best, as a share
    final: float | None = None  # validation loss at the end
    height: float | None = None  # of the cliff
    test: float | None = None  # loss of the best weights
    judged: int | None = None  # validation targets of an evaluation in training, where capped
    max_steps: int | None = None  # updates that one that is not done is to have
    summary: Summary | None = field(default=None, repr=False)  # of one that is done

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


@dataclass(frozen=True)
class Found:
    """What stands at a path: a run, or none, and a note of what is damaged."""

    run: Run | None
    note: Problem | None = None


Reader = Callable[[Path], Found]  # as `look` is


def collect(paths: Sequence[Path]) -> tuple[list[Run], list[Problem]]:
    """The runs that `paths` are or hold, at any depth, each once; and notes about damaged ones.

    Runs that were moved aside are left out, unless a path names one, and so are those that have
    just begun. Raises ConfigError for a path that is not there or holds no run.
    """
    runs: list[Run] = []
    notes: list[Problem] = []
    begun: list[Problem] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(Problem(path, "not there", FIX))
        at_path, noted = beneath(path, look)
        if not at_path and not noted and is_run(path):
            begun.append(just_begun(path))
        elif not at_path and not noted:
            fix = "name a folder such as outputs/default"
            raise ConfigError(Problem(path, "holds no runs", fix))
        runs += at_path
        notes += noted
    notes = list(dict.fromkeys(notes))
    if not runs:
        raise ConfigError(*(notes or begun))
    return distinct(runs), notes


def just_begun(path: Path) -> Problem:
    """The problem of a run directory of which `read` knows no run yet."""
    return Problem(path, "has just begun, and has no config yet", "look again once it trains")


def beneath(path: Path, reader: Reader) -> tuple[list[Run], list[Problem]]:
    """The runs that `path` is or holds, none where it is not there; and notes of damage.

    Raises ConfigError for what is no folder, or cannot be read.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(Problem(path, "not a folder", FIX))
    entry = reader(path)
    entries = [entry] if entry.run or entry.note else list(_below(path, reader, []))
    notes = [entry.note for entry in entries if entry.note is not None]
    return [entry.run for entry in entries if entry.run is not None], notes


def distinct(runs: Sequence[Run]) -> list[Run]:
    """The runs, each directory once, whatever links lead to it."""
    once: dict[Any, Run] = {}
    for run in runs:
        try:
            stat = os.stat(run.path)  # noqa: PTH116  # as fast as a watch needs
        except OSError:  # it has gone since
            continue
        once.setdefault((stat.st_dev, stat.st_ino), run)
    return list(once.values())


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory; one that cannot be looked into is none.

    A config.yaml alone is anybody's, as that in conf/.
    """
    return any(os.path.exists(path / name) for name in RUN_FILES)  # noqa: PTH110  # no error


def inner_folders(folder: Path) -> list[tuple[bool, Path]]:
    """The folders in a folder that may be runs or hold some; raises OSError.

    Each with whether it is a link: those come last. Hidden ones and those that were moved aside are
    left out.
    """
    with os.scandir(folder) as entries:
        folders = [entry for entry in entries if os.path.isdir(entry)]  # noqa: PTH112  # no loop
        inner = sorted((entry.is_symlink(), entry.name) for entry in folders)
    return [
        (is_link, folder / name)
        for is_link, name in inner
        if not name.startswith(".") and not MOVED_ASIDE.search(name)
    ]


def look(path: Path) -> Found:
    """The run at `path`, with a note of what is damaged; such a run has its config and no figures.

    One whose config is damaged is left out.
    """
    try:
        return Found(read(path))
    except DamagedError as error:
        problem = error.problems[0]
    try:
        config = read_config(path)
    except DamagedError as error:
        cause = error.problems[0]
        return Found(
            None, Problem(cause.subject, f"{cause.what}, so its run is left out", cause.fix)
        )
    reason = f"{Path(problem.subject).name}: {problem.what}"
    run = Run(path, RunState.damaged, reason, config, code=None, data_sha256=None)
    return Found(run, problem)


def read(path: Path) -> Run | None:
    """The run in `path`; None when it is no run directory; raises DamagedError."""
    summary = read_summary(path)
    return _unfinished(path) if summary is None else _done(path, summary)


def read_config(path: Path) -> dict[str, Any]:
    """The values in config.yaml of a run directory, by dotted keys; raises DamagedError."""
    file, fix = path / "config.yaml", "restore it, or run its command again with rerun=true"
    try:
        values = parse_yaml(read_regular(file, MOST_CONFIG).decode())
    except OSError as error:
        raise DamagedError(Problem(file, f"{error.strerror}", readable(error, fix))) from error
    except ValueError as error:
        raise DamagedError(Problem(file, f"damaged: {error}", fix)) from error
    return _flat(values, file, fix)


def differing(runs: Sequence[Run]) -> list[str]:
    """Config keys whose values are not the same in all runs, in the config's order; seed last."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    unlike = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    return sorted(unlike, key=lambda key: key == "seed")


def varying(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """The `keys` that say more than which variant a run has, as optim.beta1 of adam does not.

    So the runs that have the key must differ in it. Of one that was taken out, all others have it
    off.
    """

    def values(key: str) -> set[Any]:
        held = [run.config[key] for run in runs if key in run.config]
        others = key in retired.RETIRED and len(held) < len(runs)
        return {*held, *([retired.RETIRED[key].off] if others else [])}

    return [key for key in keys if len(values(key)) > 1]


def mixed(runs: Sequence[Run]) -> list[str]:
    """Config keys that can change a result and differ between runs meant to differ in the seed.

    The text's path is one where the texts differ too.
    """
    identities = [run.identity() for run in runs]
    if len({run.data_sha256 for run in runs}) > 1:
        for run, values in zip(runs, identities, strict=True):
            values["data.path"] = run.config.get("data.path")
    keys = dict.fromkeys(key for values in identities for key in values)
    return [key for key in keys if len({values.get(key) for values in identities}) > 1]


def _below(folder: Path, reader: Reader, seen: list[str]) -> Iterator[Found]:
    """The runs in a folder, at any depth, in the order of their names, and what is damaged.

    Links come last, and are followed to what was not `seen` and does not hold it all.
    """
    seen.append(os.path.realpath(folder))
    try:
        inner = inner_folders(folder)
    except FileNotFoundError:  # not there, or no more
        return
    except OSError as error:
        raise ConfigError(Problem(folder, f"{error.strerror}", "make it readable")) from error
    for is_link, path in inner:
        entry = reader(path)
        if entry.run or entry.note:
            yield entry
        elif not (is_link and _around(os.path.realpath(path), seen)):
            yield from _below(path, reader, seen)


def _around(target: str, seen: list[str]) -> bool:
    """Whether a folder was seen, or holds the one that the search began with."""
    return target in seen or Path(seen[0]).is_relative_to(target)


def _done(path: Path, summary: Summary) -> Run:
    best, fall, test = summary["best"], summary["cliff"], summary["test"]
    config, code, data_sha256 = _provenance(path, summary)
    return Run(
        path=path,
        state=RunState.done,
        reason="",
        config=config,
        code=code,
        data_sha256=data_sha256,
        params=summary["params"]["total"],
        best=best["val_loss"] if best else None,
        best_step=best["step"] if best else None,
        bpb=best["val_bpb"] if best else None,
        accuracy=best.get("val_accuracy") if best else None,
        final=summary["final"]["val_loss"],
        height=fall["height"] if fall else None,
        test=test["loss"] if test else None,
        judged=summary["final"].get("capped", {}).get("targets"),
        summary=summary,
    )


def _provenance(path: Path, summary: Summary) -> tuple[dict[str, Any], Any, Any]:
    """Flat config, digest of the code and digest of the text; older summaries hold none of them."""
    if "config" in summary:
        file, fix = path / "summary.json", "delete it and run its command again"
        config = _flat(summary["config"], file, fix)
        return config, summary.get("code"), summary.get("data_sha256")
    return _from_manifest(path, read_manifest(path))


def _from_manifest(path: Path, manifest: Manifest) -> tuple[dict[str, Any], Any, Any]:
    return read_config(path), code_digest(manifest), manifest.get("data", {}).get("sha256")


def _flat(values: Any, file: Path, fix: str) -> dict[str, Any]:
    """`values` with dotted keys; raises DamagedError for those that could not be compared."""
    try:
        config = flat(values)
        json.dumps(config, allow_nan=False)  # as tables and reports write it
        for key, value in config.items():
            if not (isinstance(key, str) and isinstance(value, str | int | float | None)):
                raise TypeError(key)
            if isinstance(value, int):
                float(value)  # no number of a config is beyond it
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedError(Problem(file, "damaged: its config is no config", fix)) from error
    return config


def _unfinished(path: Path) -> Run | None:
    """The run at `path` without summary.json, which has not ended; None where there is no run."""
    status, is_there = read_status(path), (path / "config.yaml").exists()
    if status is None and not is_run(path):
        return None
    state = RunDirectory(path).state() or RunState.unknown
    if state is RunState.running and not is_there:
        return None  # its process has just begun, and writes the config next
    reason = status.get("reason", "").partition("\n")[0] if status else ""
    if state is RunState.killed:
        reason = "its process is gone"
    elif state in (RunState.done, RunState.unknown):
        state, reason = RunState.unknown, "there is no summary.json"
    manifest = read_manifest(path)
    config, code, data_sha256 = _from_manifest(path, manifest)
    steps = manifest.get("max_steps")
    if steps is None and not any(config.get(f"trainer.{key}") for key in BUDGETS):
        steps = config.get("trainer.max_steps")
    max_steps = steps if is_whole(steps) else None
    judged = manifest.get("data", {}).get("judged", {}).get("val")
    return Run(path, state, reason, config, code, data_sha256, judged=judged, max_steps=max_steps)
