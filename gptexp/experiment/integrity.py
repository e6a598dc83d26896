"""The files of a run directory, read as strictly as they are written. Torch-free.

Each file must be what gptexp would write of its content, byte for byte, with its seal whole; and
what two files say must be the same. Files of before there were seals must have the keys of then.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import yaml

from gptexp.config import parse_yaml, run_name
from gptexp.errors import ConfigError, DamagedError, OwnCodeError, Problem, RetiredKeyError
from gptexp.experiment.record import WORKED_IN, Record
from gptexp.experiment.verdict import STRANGE
from gptexp.files import MOST_JSON, open_regular, read_regular, sha256
from gptexp.runs.directory import RunDirectory, code_digest
from gptexp.runs.entries import BEST, LAST, Entry, read_entry
from gptexp.runs.schema import Manifest
from gptexp.runs.seal import JOURNALS, SEAL, is_broken
from gptexp.runs.state import RunState
from gptexp.text import in_shell

UNSEALED = {  # the keys of before there were seals
    "manifest.json": {
        *("run", "config_hash", "command", "overrides", "seed", "data", "tokenizer", "git"),
        *("environment", "sources", "resumes"),
    },
    "status.json": {"state", "reason", "what", "pid", "host"},
    "summary.json": {
        *("run", "config", "config_hash", "data_sha256", "code", "params", "steps", "tokens"),
        *("epochs", "flops", "seconds", "stop_reason", "best", "final", "cliff", "test", "ngrams"),
        "sample",
    },
}
SHAPES: dict[str, dict[str, type]] = {  # what the files hold at least
    "manifest.json": {
        **dict.fromkeys(("run", "config_hash"), str),
        **dict.fromkeys(("data", "tokenizer", "git", "environment", "sources"), dict),
        "resumes": list,
    },
    "status.json": {"state": str, "reason": str},
    "summary.json": {"stop_reason": str, "final": dict},
}
EVALUATION = {"tokens", "epoch", "seconds", "train/eval_loss", "val/bpb"}  # beside val/loss


def read_record(path: Path) -> Record:
    """Read a run directory; raises ConfigError for a path that is none, or is in use."""
    fix = "name a run directory, outputs/NAME/RUN"
    if not path.is_dir():
        raise ConfigError(Problem(path, "not there, or no folder", fix))
    directory = RunDirectory(path)
    if not any((path / name).exists() for name in ("manifest.json", "config.yaml")):
        raise ConfigError(Problem(path, "not a run directory", fix))
    record = Record(directory, RunState.done)
    done = (path / "summary.json").exists()
    _read_json_files(record, done)
    if not done:
        record.state = (record.status and directory.state()) or RunState.unknown
        if record.state is RunState.done:
            record.differs("summary.json", "no such file, and status.json says `done`")
    if record.state is RunState.running:
        raise ConfigError(Problem(path, "a process works in it", "wait for its end, or stop it"))
    _read_config(record)
    for name in JOURNALS:
        setattr(record, name.partition(".")[0], list(_read_journal(record, name)))
    _read_entries(record)
    if not record.damage and not record.retired:
        try:
            _check_agreement(record)
        except STRANGE as error:
            record.differs(path.name, f"its files hold values of another kind: {error}")
    return record


def read_whole(path: Path) -> Record:
    """Read a run directory whose files are whole.

    Raises DamagedError for another, and ConfigError as read_record does.
    """
    record = read_record(path)
    if record.damage:
        fix = f"gptexp reproduce {in_shell(path)}"
        raise DamagedError(Problem(path, str(record.damage[0]), fix))
    return record


def _read_json_files(record: Record, done: bool) -> None:
    for name in UNSEALED:
        if name == "summary.json" and not done:
            continue
        if (value := _json(record, name)) is None:
            continue
        if SEAL not in value and not value.keys() <= UNSEALED[name]:
            unknown = ", ".join(sorted(value.keys() - UNSEALED[name]))
            record.differs(name, f"no seal, and a key that is not known: {unknown}")
        elif is_broken(value):
            record.differs(name, "changed since it was written: its seal is that of other content")
        elif odd := [k for k, kind in SHAPES[name].items() if not isinstance(value.get(k), kind)]:
            record.differs(name, f"does not hold what it should: {', '.join(odd)}")
        else:
            setattr(record, name.partition(".")[0], value)


def _json(record: Record, name: str) -> dict[str, Any] | None:
    """The object in a file that is written by write_json; None, with a note, of any other."""
    return _parsed(record, name, json.loads, lambda value: json.dumps(value, indent=2) + "\n")


def _read_config(record: Record) -> None:
    values = _parsed(
        record, "config.yaml", parse_yaml, lambda value: yaml.safe_dump(value, sort_keys=False)
    )
    if values is None:
        return
    record.values = values
    try:
        record.config()
    except OwnCodeError:
        raise
    except RetiredKeyError:
        record.retired = True  # no damage: the code of its commit has it
    except ConfigError as error:
        record.differs("config.yaml", error.problems[0].what)
    except STRANGE as error:
        record.differs("config.yaml", f"values of another kind: {error}")


def _parsed(
    record: Record, name: str, parse: Callable[[str], Any], write: Callable[[Any], str]
) -> dict[str, Any] | None:
    path = record.path / name
    if not path.is_file():
        record.differs(name, "no such file")
        return None
    try:
        text = read_regular(path, MOST_JSON).decode()
        value = parse(text)
        whole = isinstance(value, dict) and write(value) == text
    except OSError as error:
        record.differs(name, f"not readable, {error.strerror}")
        return None
    except (ValueError, RecursionError, yaml.YAMLError):
        record.differs(name, "damaged: it cannot be read")
        return None
    if not whole:
        record.differs(name, "damaged: not as gptexp writes it")
    return value if whole else None


def _read_journal(record: Record, name: str) -> Iterator[dict[str, Any]]:
    """The lines of a journal; those that are damaged are noted."""
    path = record.path / name
    if path.is_symlink() or not path.is_file():
        record.differs(name, "no such file")
        return
    ending = "status.json" if record.summary is None else "summary.json"
    wanted = ((record.summary or record.status).get("files") or {}).get(name)
    if wanted is not None and sha256(path) != wanted:
        record.differs(name, f"changed since its end: its SHA-256 is not that in {ending}")
    before = 0
    with open_regular(path) as file:
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n") and record.state in WORKED_IN:
                return  # torn by the end of its process; a resume takes it out
            line = _line(raw)
            # The sample of the best weights comes last, whatever its step.
            if line is None or (line["step"] < before and name == JOURNALS[0]):
                record.differs(name, f"line {number} is damaged")
                return
            before = line["step"]
            yield line


def _line(raw: bytes) -> dict[str, Any] | None:
    """A line of a journal; None where it is not as gptexp writes it, or not all is there."""
    try:
        line = json.loads(raw)
        whole = (json.dumps(line, ensure_ascii=False) + "\n").encode() == raw
    except (ValueError, RecursionError):
        return None
    if not whole or not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    return line if "val/loss" not in line or line.keys() >= EVALUATION else None


def _read_entries(record: Record) -> None:
    """The entries of the checkpoints and their files, each with its size and digest."""
    folder = record.directory.checkpoints
    read: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.json")):
        name = f"checkpoints/{path.name}"
        if (value := _json(record, name)) is None:
            continue
        entry = read_entry(path)
        if entry is not None and _is_whole(entry, value, path.name):
            read[path.name] = entry
        else:
            record.differs(name, "damaged: not the entry of a checkpoint")
    pointers = [read[name] for name in (BEST, LAST) if name in read]
    for name, entry in read.items():
        if name not in (BEST, LAST):
            record.entries[entry.step] = entry
            if what := _other_file(folder, entry):
                # Of an entry and its file, a copy of the entry tells which one it is.
                right = any(p.file == entry.file and not _other_file(folder, p) for p in pointers)
                record.differs(f"checkpoints/{name if right else entry.file}", what)
    for path in sorted(folder.glob("*.pt")):
        name = f"{path.stem}.json"
        if not (folder / name).exists() and record.state not in WORKED_IN:
            record.differs(f"checkpoints/{name}", f"no such file, and {path.name} is there")
    for name in {BEST, LAST} & read.keys():
        if (entry := read[name]) != record.entries.get(entry.step):
            own = f"checkpoints/step-{entry.step}.json"
            record.differs(f"checkpoints/{name}", f"not a copy of {own}, or that is damaged")
    record.best = read.get(BEST)


def _is_whole(entry: Entry, value: dict[str, Any], name: str) -> bool:
    """Whether a file of that name holds this entry and no more."""
    own = f"step-{entry.step}"
    known = value.keys() <= asdict(entry).keys()
    return known and entry.file == f"{own}.pt" and name in (f"{own}.json", BEST, LAST)


def _other_file(folder: Path, entry: Entry) -> str | None:
    """What tells a checkpoint's file from that of its entry; None where it is the same."""
    path = folder / entry.file
    if not path.is_file():
        return f"damaged: {entry.file} is not there"
    if (size := path.stat().st_size) != entry.size:
        return f"damaged: {size:,} bytes in {entry.file}, and {entry.size:,} in its entry"
    if sha256(path) != entry.sha256:
        return f"damaged: the SHA-256 of {entry.file} is not that of its entry"
    return None


def _check_agreement(record: Record) -> None:
    """What two of the files say must be the same."""
    manifest, summary, config = record.manifest, record.summary, record.config()
    data = manifest.get("data", {})
    if (summary or {}).get("config", record.values) != record.values:
        record.differs("config.yaml", "not the config in summary.json")
    pairs = {
        "seed": (manifest.get("seed"), config.seed),
        "data.name": (data.get("name"), config.data.name),
        "data.path": (data.get("path"), config.data.path),
    }
    for key, (told, own) in pairs.items():
        if told != own:
            record.differs("manifest.json", f"{key} is {told!r}, and {own!r} in config.yaml")
    named = run_name(config, str(manifest.get("config_hash")))
    if manifest.get("run") != named:
        record.differs("manifest.json", f"run is {manifest['run']!r}, by config.yaml {named}")
    if summary is None:
        return
    for key in ("run", "config_hash"):
        if summary.get(key, manifest[key]) != manifest[key]:
            record.differs("summary.json", f"{key} is not that of manifest.json")
    code = code_digest(cast(Manifest, manifest))
    if summary.get("code", code) != code:
        record.differs("manifest.json", "its sources are not the code of summary.json")
    ended = (record.status["state"], record.status["reason"])
    if ended[0] != RunState.running and ended != (RunState.done, summary["stop_reason"]):
        record.differs("status.json", "not `done` for the reason in summary.json")
    best = (summary.get("best") or {}).get("step")
    if config.data.has_text and best != (None if record.best is None else record.best.step):
        record.differs("checkpoints/best.json", f"not the best of summary.json, of step {best}")
