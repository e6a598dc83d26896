"""A run's dashboard written again from its journals, where a mirror was lost or never there."""

from dataclasses import replace
from pathlib import Path

from gptexp.config import to_dict
from gptexp.errors import CheckpointError, ConfigError, GptexpError
from gptexp.files import read_json
from gptexp.journal import Sample, curves, read_journal
from gptexp.mirrors import Final, Mirror, Story, openers
from gptexp.rundir import RunDirectory
from gptexp.summary import scalars

DASHBOARDS = ("tensorboard", "wandb")
EXIT_CODES = {"done": 0, "diverged": 3}  # of a run in that state; any other did not end well


def dashboard(run: Path, to: str) -> None:
    """Write the curves and samples of a run directory to TensorBoard or W&B, one of DASHBOARDS.

    TensorBoard's old event files are replaced; W&B gets a run of its own, with a new id. Pictures
    are not written, since no journal holds them. Raises ConfigError, CheckpointError, InUseError
    while the run is training, and GptexpError when the dashboard fails.
    """
    if to not in DASHBOARDS:
        raise ConfigError(f"--to: {to!r} is not known. Fix: one of {', '.join(DASHBOARDS)}")
    directory = RunDirectory(run)
    if not (run / "metrics.jsonl").is_file():
        raise CheckpointError(f"{run}: holds no metrics.jsonl. Fix: name a run, outputs/NAME/RUN")
    config = directory.config()
    cfg = replace(config.logger, tensorboard=to == "tensorboard", wandb=to == "wandb")
    with directory.locked():
        story = Story(run, config.name, to_dict(config), None, [], [])
        [opened] = openers(cfg, story).values()
        try:
            replay(directory, opened())
        except Exception as error:
            what = str(error).partition("\n")[0]
            raise GptexpError(f"{run}: {to} failed: {what}. Fix: see to that, and again") from error


def replay(directory: RunDirectory, mirror: Mirror) -> None:
    """Tell `mirror` all that the journals hold, and the summary if there is one; close it."""
    for line in read_journal(directory.path / "metrics.jsonl"):
        mirror.scalars({**line, **curves(line)})
    samples = [Sample(**line) for line in read_journal(directory.path / "samples.jsonl")]
    for sample in samples:
        mirror.sample(sample)
    summary = directory.summary()
    if summary is not None and samples:
        best_step = (summary["best"] or {}).get("step", 0)
        sample = next((s for s in samples if s.step == best_step), samples[-1])
        entry = read_json(directory.checkpoints / "best.json")
        best = None if entry is None else directory.checkpoints / entry["file"]
        mirror.final(Final(summary["steps"], scalars(summary), sample, None, best))
    mirror.close(EXIT_CODES.get(directory.status().get("state", ""), 1))
