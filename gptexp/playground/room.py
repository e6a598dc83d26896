"""Which runs a page shows: all that it has room for, or the best seed of each setting."""

from collections.abc import Sequence
from pathlib import Path

from gptexp.analysis.groups import gathered
from gptexp.analysis.records import Run, look
from gptexp.errors import ConfigError, Problem

MOST_RUNS = 6  # that there is room for side by side

MOST_STAGES = 9  # of runs on documents, whose texts are a line each


def with_room(runs: Sequence[Path]) -> dict[Path, list[float]]:
    """The runs that a page shows; of more than it has room for, the best seed of each setting.

    Each with the best validation losses of the seeds that it stands for. Raises ConfigError where
    they are too many then, too.
    """
    records = {run: look(run).run if run.is_dir() else None for run in runs}
    of_documents = all(r is not None and r.config.get("data.documents") for r in records.values())
    most = MOST_STAGES if of_documents else MOST_RUNS
    losses = {run: _loss(record) for run, record in records.items()}
    if len(runs) <= most:
        return losses
    settings = gathered(records, lambda run: _setting(run, records[run]))
    if len(settings) > most:
        apart = "" if len(settings) == len(runs) else f", {len(settings)} but for their seeds"
        what = f"{len(runs)}{apart}, and a page has room for {most} side by side"
        raise ConfigError(Problem("runs", what, "name fewer"))
    best = {
        min(each, key=lambda run: losses[run] or [float("inf")]): each for each in settings.values()
    }
    return {run: [loss for seed in seeds for loss in losses[seed]] for run, seeds in best.items()}


def _loss(record: Run | None) -> list[float]:
    """Its best validation loss, where there is one."""
    return [] if record is None or record.best is None else [record.best]


def _setting(run: Path, record: Run | None) -> object:
    """What runs that differ in their seed alone have in common; a lone file is by itself."""
    if record is None:
        return run
    return (record.data_sha256, tuple(sorted((k, str(v)) for k, v in record.identity().items())))
