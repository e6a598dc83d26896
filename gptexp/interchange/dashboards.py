"""A run's dashboard written again from its journals, where a dashboard was lost or never there."""

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gptexp.analysis.labels import label_runs
from gptexp.analysis.records import MOVED_ASIDE, collect, is_run
from gptexp.config import Config, LoggerConfig, to_dict
from gptexp.errors import CheckpointError, ConfigError, GptexpError, Problem, StorageError
from gptexp.files import refusal
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import BEST, read_entry, verified_bytes
from gptexp.runs.journal import Sample, Samples, curves
from gptexp.runs.lines import Lines
from gptexp.runs.state import RunState
from gptexp.runs.summary import scalars
from gptexp.tracking.choose import openers
from gptexp.tracking.dashboard import Dashboard, FinalResult, RunInfo

log = logging.getLogger(__name__)

PROJECT = "gptexp"  # that of conf/logger

DASHBOARDS = ("tensorboard", "wandb")


def export_dashboard(run: Path, to: str) -> None:
    """Write the curves and samples of a run directory to TensorBoard or W&B, one of DASHBOARDS.

    TensorBoard's event files are replaced by one that has their pictures too; W&B gets a run of its
    own, with a new id and without pictures, since no journal holds them. Raises ConfigError,
    CheckpointError, InUseError while the run is training, and GptexpError when the dashboard fails.
    """
    if to not in DASHBOARDS:
        known = ", ".join((*DASHBOARDS, "huggingface", "gguf", "nanogpt", "microgpt"))
        raise ConfigError(Problem("--to", f"{to!r} is not known", f"one of {known}"))
    directory = RunDirectory(run)
    lines = Lines(run / "metrics.jsonl")
    last = lines.last_step() if run.is_dir() else None
    if last is None:
        fix = "name a run, outputs/NAME/RUN"
        raise CheckpointError(Problem(run, "holds no metrics.jsonl", fix))
    config = directory.config()
    samples = Samples(Lines(run / "samples.jsonl"))
    with directory.locked():
        try:
            if to == "tensorboard":
                info = RunInfo(run, config.name, to_dict(config), last, lines, samples, over=True)
                dashboard = tensorboard(config, info)
            else:
                dashboard = wandb(config, run, lines, samples)
            finish(directory, dashboard, samples)
        except GptexpError:
            raise
        except Exception as error:
            # Of W&B, which has a network too, only what names a file.
            if isinstance(error, OSError) and error.errno and (to != "wandb" or error.filename):
                raise StorageError(refusal(error, Path(error.filename or run))) from error
            what = str(error).partition("\n")[0]
            problem = Problem(run, f"{to} failed: {what}", "see to that, and again")
            raise GptexpError(problem) from error
    for damage in lines.damage():
        log.warning("%s", damage)


def tensorboard(config: Config, info: RunInfo) -> Dashboard:
    """TensorBoard, opened as a resume after the last line, which writes all that came before."""
    return opened(replace(config.logger, tensorboard=True, wandb=False), info)


def wandb(config: Config, run: Path, lines: Lines, samples: Samples) -> Dashboard:
    """W&B, opened as a run that begins anew and told everything at once.

    Whose account it goes to, and which project, is not for the run to say: it may be another's.
    """
    info = RunInfo(run, config.name, to_dict(config), None, [], [], label=label_beside(run))
    entity = os.environ.get("WANDB_ENTITY")
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    log.info(
        "W&B     project %s of %s (WANDB_PROJECT and WANDB_ENTITY name others)",
        project,
        entity or "your default entity",
    )
    chosen = replace(config.logger, entity=entity, project=project)
    dashboard = opened(replace(chosen, tensorboard=False, wandb=True), info)
    for line in lines:
        dashboard.scalars({**line, **curves(line)})
    for sample in samples:
        dashboard.sample(sample)
    return dashboard


def label_beside(run: Path) -> str:
    """What tells a run from those in the same folder; empty where nothing does."""
    run = run.resolve()
    beside = [path for path in run.parent.iterdir() if is_run(path)]
    runs, _ = collect(sorted(path for path in beside if not MOVED_ASIDE.search(path.name)))
    label = label_runs(runs).get(run, "")
    return "" if label == run.name else label


def opened(cfg: LoggerConfig, info: RunInfo) -> Dashboard:
    """The one dashboard that `cfg` asks for."""
    [opener] = openers(cfg, info).values()
    return opener()


def finish(directory: RunDirectory, dashboard: Dashboard, samples: Iterable[Sample]) -> None:
    """Tell `dashboard` the summary, if there is one, and how the run ended."""
    summary = directory.summary()
    best_step = summary["best"]["step"] if summary and summary["best"] else 0
    sample = None
    for sample in samples:
        if sample.step == best_step:
            break
    if summary is not None and sample is not None:
        best = best_file(directory)
        dashboard.final(FinalResult(summary["steps"], scalars(summary), sample, None, best))
    state = directory.state() or RunState.unknown
    dashboard.close(state.exit_code)


def best_file(directory: RunDirectory) -> Path | None:
    """The best checkpoint, verified, since it is handed on; None where there is none.

    Raises CheckpointError.
    """
    entry = read_entry(directory.checkpoints / BEST)
    if entry is None:
        return None
    path = directory.checkpoints / entry.file
    verified_bytes(path, entry)
    return path
