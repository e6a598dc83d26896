"""`gptexp plot`: the evaluation curves of runs in one picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gptexp import cliff
from gptexp.errors import ConfigError
from gptexp.files import storage_errors
from gptexp.journal import read_journal

FORMATS = (".png", ".svg", ".pdf")


def plot(runs: Sequence[Path], to: Path, by: str) -> None:
    """Draw what each of `runs`, or of the runs in it, evaluated, over `by`, into `to`.

    Raises ConfigError for an axis, a kind of picture or a run that cannot be drawn, StorageError.
    """
    from gptexp import figures  # matplotlib: half a second

    if by not in figures.AXES:
        raise ConfigError(f"--by: {by!r} is not known. Fix: one of {', '.join(figures.AXES)}")
    if to.suffix not in FORMATS:
        raise ConfigError(f"--to: {to} is no picture. Fix: a name with {', '.join(FORMATS)}")
    curves = {}
    for run in (found for given in runs for found in within(given)):
        curve = cliff.points(read_journal(run / "metrics.jsonl"))
        if not curve:
            raise ConfigError(f"{run}: holds no evaluation yet. Fix: leave it out")
        curves[f"{run.parent.name}/{run.name}"] = curve
    with storage_errors(to):
        figures.cliffs(curves, by).savefig(to)


def within(path: Path) -> Iterator[Path]:
    """The run directories at or below `path`, in the order of their names; raises ConfigError."""
    found = sorted(file.parent for file in path.rglob("metrics.jsonl"))
    if not found:
        raise ConfigError(f"{path}: holds no run. Fix: name a run directory, outputs/NAME/RUN")
    yield from found
