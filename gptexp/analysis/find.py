"""Which run is meant by what a person writes: a path, `best:FOLDER`, the first digits of a hash.

What becomes of a folder while its runs train is looked up anew each time: nothing is kept.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gptexp.analysis.labels import hash_of, label_runs
from gptexp.analysis.records import Run, collect, inner_folders, is_run
from gptexp.analysis.units import BITS, in_bits, judged_apart, unit
from gptexp.errors import ConfigError, Problem
from gptexp.files import at_home
from gptexp.runs.directory import OUTPUTS
from gptexp.runs.state import RunState
from gptexp.text import in_shell, listed, nearest, plural

CHOICES = ("latest", "best")  # of the runs in a folder, as in best:FOLDER

WRITTEN = ("metrics.jsonl", "samples.jsonl", "status.json", "summary.json")  # by a run at work


@dataclass(frozen=True)
class Found:
    """The run, or file, that was meant."""

    path: Path
    why: str = ""  # what makes it the one; empty where the words are its path
    notes: tuple[Problem, ...] = ()  # what else to know: damaged runs, losses that do not compare


def find_run(words: str | Path) -> Found:
    """The run that is meant; raises ConfigError for none, or for several, with those there are."""
    run = look_up(words)
    if run is None:
        raise ConfigError(_missing(words))
    return run


def look_up(words: str | Path) -> Found | None:
    """The run that is meant, or None where nothing goes by these words.

    A path that is there comes first: a run directory, any file, or a folder that holds one run.
    Then `latest:FOLDER`, the run that was active last, and `best:FOLDER`, that of the lowest best
    validation loss among those that are done. Then the begin of a name or hash, or words of a
    label, that one run alone has in a folder of runs, or in the outputs where no folder is given.
    Raises ConfigError.
    """
    path = at_home(words)
    if os.path.exists(path):  # noqa: PTH110  # it raises nothing
        return _only(path) if _is_folder(path) else Found(path)
    choice, colon, folder = str(words).partition(":")
    if colon and choice in CHOICES:
        return _chosen(choice, at_home(folder or OUTPUTS))
    return _begun(path)


def find_all(words: Sequence[str | Path]) -> tuple[list[Found], list[Problem]]:
    """The runs that are meant, of a folder all that are done; and what is damaged in folders.

    Raises ConfigError, as find_run does, and for a folder in which none is done.
    """
    meant: list[Found] = []
    damaged: list[Problem] = []
    for word in words:
        if not _is_folder(at_home(word)):
            meant.append(find_run(word))
            continue
        runs, notes = collect([at_home(word)])
        done = [run for run in runs if run.done]
        if not done:
            raise ConfigError(*notes, Problem(word, "holds no run that is done", "name its runs"))
        others = [run for run in runs if run.state not in (RunState.done, RunState.damaged)]
        left_out = [Problem(run.path, f"{run.state}, so left out", "name it too") for run in others]
        meant += [Found(run.path, notes=tuple(left_out if run is done[0] else ())) for run in done]
        damaged += notes
    return meant, damaged


def _is_folder(path: Path) -> bool:
    """Whether a path is there, and a folder that may hold runs but is none."""
    is_there = os.path.isdir(path)  # noqa: PTH112  # it raises nothing
    return is_there and not is_run(path) and not (path / "checkpoints").is_dir()


def _only(folder: Path) -> Found:
    near = [*_runs_in(folder, 2)]  # no deeper, since any folder may be named by mistake
    if not near:
        raise ConfigError(Problem(folder, "holds no runs", "name a folder such as outputs/default"))
    runs, notes = collect(near)
    if len(runs) > 1:
        labels = label_runs(runs)
        is_any_done = any(run.best is not None for run in runs)
        choices = [f"{how}:{folder}" for how in CHOICES if is_any_done or how != "best"]
        what = f"holds {plural(len(runs), 'run')}"
        raise ConfigError(_several(folder, what, list(labels), labels, choices))
    return Found(runs[0].path, f"the only run in {folder}", tuple(notes))


def _chosen(choice: str, folder: Path) -> Found:
    runs, damaged = collect([folder])
    notes = list(damaged)
    if choice == "latest":
        run = max(runs, key=lambda run: (_last_active(run.path), run.path))
        why = f"the latest of {len(runs):,}"
    else:
        done = [run for run in runs if run.best is not None]
        if not done:
            what = f"none of {plural(len(runs), 'run')} is done"
            raise ConfigError(Problem(f"best:{folder}", what, f"latest:{folder}"))
        if len({run.data_sha256 for run in done}) > 1:
            what = "losses on several texts are compared"
            notes.append(Problem(f"best:{folder}", what, "name a folder of one"))
        for what in judged_apart(done):
            notes.append(Problem(f"best:{folder}", what, "name a folder of one"))
        told_in = unit(done)
        if told_in == BITS:
            done = [run for run in map(in_bits, done) if run.best is not None]
            if not done:
                what = "the runs' tokens differ, and none has bits per byte to compare by"
                raise ConfigError(Problem(f"best:{folder}", what, "name a folder of one tokenizer"))
        run = min(done, key=lambda run: (run.best, run.path))
        why = f"the best of {len(done):,} at {run.best:.4f}"
        why += f" {BITS}, which compares their tokens" if told_in == BITS else ""
    label = label_runs(runs)[run.path]
    return Found(run.path, why if label == run.path.name else f"{label}, {why}", tuple(notes))


def _begun(path: Path) -> Found | None:
    """The run that the last part of a path that is not there tells from the others around."""
    known, word = _near(path), path.name
    paths, why = _beginning(known, word), f"begins with {word}"
    labels = {} if len(paths) == 1 else label_runs(_readable(known))
    if not paths:
        paths = [run for run, label in labels.items() if {*word.split()} <= {*label.split()}]
        why = f"of {plural(len(known), 'run')} the one with {word}"
    if len(paths) > 1:
        raise ConfigError(_several(path, f"{len(paths):,} runs go by that", paths, labels))
    return Found(paths[0], why) if paths else None


def _near(path: Path) -> list[Path]:
    """The runs beside a path or one folder below; of a bare name, those of the outputs too.

    No deeper, since what was mistyped may stand in a large folder.
    """
    bare = len(path.parts) == 1
    around = _runs_in(path.parent, 1 if bare else 2)
    runs: dict[str, Path] = {}
    for run in chain(around, _runs_in(OUTPUTS, 2)) if bare else around:
        runs.setdefault(os.path.realpath(run), run)  # links to it come later
    return list(runs.values())


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    # Of a folder that cannot be read, or whose name none can have, nothing is meant.
    with contextlib.suppress(OSError, ValueError):
        for _, inner in inner_folders(folder):
            if is_run(inner):
                yield inner
            elif depth > 1:
                yield from _runs_in(inner, depth - 1)


def _beginning(runs: Sequence[Path], word: str) -> list[Path]:
    """The runs whose name or hash begins so: if any, those alone where a field ends there."""
    names = {run: (run.name, hash_of(run)) for run in runs}
    whole = [run for run in runs if any(f"{n}-".startswith(f"{word}-") for n in names[run])]
    return whole or [run for run in runs if any(n.startswith(word) for n in names[run])]


def _several(
    subject: Path,
    what: str,
    paths: Sequence[Path],
    labels: Mapping[Path, str],
    choices: Sequence[str] = (),
) -> Problem:
    """The problem of words that several runs go by, with the first of these."""
    paths = sorted(paths, key=lambda path: labels.get(path, ""))
    hashes = {hash_of(path): f"{hash_of(path)} ({labels.get(path, path.name)})" for path in paths}
    names = list(hashes.values()) if len(hashes) == len(paths) else paths  # which may be copies
    fix = " or ".join([f"name one, as {paths[0]}", *choices])
    return Problem(subject, f"{what}: {listed(names)}", fix)


def _readable(paths: Sequence[Path]) -> list[Run]:
    """The runs at these paths but for those that are damaged."""
    with contextlib.suppress(ConfigError):
        return collect(paths)[0]
    return []


def _missing(words: str | Path) -> Problem:
    path = at_home(words)
    choice, colon, folder = str(words).partition(":")
    meant = nearest(choice, CHOICES) if colon or choice in CHOICES else None
    known = _near(path)
    near = nearest(path.name, [run.name for run in known])
    if meant and at_home(folder or OUTPUTS).is_dir():
        fix = f"{meant}:{folder or OUTPUTS}"
    elif near:
        fix = f"did you mean {next(run for run in known if run.name == near)}?"
    elif known:
        fix = f"one of those that gptexp table {in_shell(known[0].parent)} lists"
    else:
        fix = "name a run directory, as in outputs/NAME/RUN"
    return Problem(words, "not there, and no run goes by that", fix)


def _last_active(run: Path) -> int:
    """When the run wrote something, in nanoseconds; 0 where it never did."""
    times = [0]
    for name in WRITTEN:
        with contextlib.suppress(OSError):
            times.append((run / name).stat().st_mtime_ns)
    return max(times)
