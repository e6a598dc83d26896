"""A law on the dashboards that its runs have: a run `law`, with its numbers, curves and figures."""

import io
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb

from gptexp.analysis.records import Run
from gptexp.config import LoggerConfig
from gptexp.files import output_folder
from gptexp.laws import screen
from gptexp.laws.judge import JudgedLaw
from gptexp.laws.observed import Observations
from gptexp.report import law_views
from gptexp.tracking.event_file import EventFile

log = logging.getLogger(__name__)

NAME = "law"  # of the run

FIRST = "law/first"  # tag of what does not hold or is not known

PARAMETERS = "parameters"  # the axis of curves


@dataclass(frozen=True)
class Board:
    """What dashboards show of laws."""

    first: list[str]  # what does not hold or is not known
    values: dict[str, float]  # parameters with intervals and held-out errors, by tag
    curves: dict[int, dict[str, float]]  # losses by the best law, by parameters and tag
    pictures: dict[str, bytes]  # PNG files by tag


def publish(
    folder: Path,
    runs: Sequence[Run],
    seen: Observations,
    judged: Sequence[JudgedLaw],
    drawn: Sequence[Path],
) -> None:
    """Show laws, the best first, on the dashboards that some of the runs have; it never raises.

    With the pictures among `drawn`, see law_figures.draw_law. TensorBoard's run is `folder/law`, in
    place of an earlier one; W&B's files lie there too.
    """
    wanted: dict[str, Callable[[Path, Board], None]] = {}
    if any(run.config.get("logger.tensorboard") for run in runs):
        wanted["TensorBoard"] = to_tensorboard
    if any(run.config.get("logger.wandb") for run in runs):
        wanted["W&B"] = to_wandb
    path = folder.resolve() / NAME
    for name, show in wanted.items():
        try:
            show(output_folder(path), board(seen, judged, drawn))
        except Exception as error:
            log.warning("%s has no law of %s: %s", name, folder, str(error).partition("\n")[0])


def board(seen: Observations, judged: Sequence[JudgedLaw], drawn: Sequence[Path]) -> Board:
    """The numbers of all laws, and the curves of the first; raises OSError."""
    values: dict[str, float] = {}
    for one in judged:
        tag = f"law_{one.fit.law.name}"
        for name, value in one.fit.values.items():
            interval = one.intervals[name]
            values |= {f"{tag}/{name}": value}
            values |= {f"{tag}/{name}_low": interval.low, f"{tag}/{name}_high": interval.high}
        for side, away in one.held_out.items():
            values[f"{tag}/held_out_{side}"] = away.error
        values[f"{tag}/r2"] = one.r2
    lines = law_views.curves(judged[0], seen.points)
    return Board(
        first=screen.known(seen, judged),
        values=values,
        curves={
            round(n): {f"law_loss/{line.label}": float(line.loss[i]) for line in lines}
            for i, n in enumerate(lines[0].n.tolist())
        },
        pictures={
            f"law/{path.stem.removeprefix('law_')}": path.read_bytes()
            for path in drawn
            if path.suffix == ".png"
        },
    )


def to_tensorboard(path: Path, shown: Board) -> None:
    """One event file in `path`, in place of those that are there; raises OSError."""
    for stale in path.glob("events.out.tfevents.*"):
        stale.unlink(missing_ok=True)
    events = EventFile(path)
    images = [
        Summary.Value(tag=tag, image=Summary.Image(encoded_image_string=picture))
        for tag, picture in shown.pictures.items()
    ]
    if shown.first:
        events.add(step=0, summary=text_pb(FIRST, "".join(f"- {line}\n" for line in shown.first)))
    events.add(step=0, summary=Summary(value=[*_scalars(shown.values), *images]))
    for n, losses in shown.curves.items():
        events.add(step=n, summary=Summary(value=_scalars(losses)))
    events.close()


def _scalars(values: dict[str, float]) -> list[Summary.Value]:
    return [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]


def to_wandb(path: Path, shown: Board) -> None:
    """A run in the project that WANDB_PROJECT names, or in `gptexp`, with its files in `path`.

    Online where there is a key and a server that answers, else offline.
    """
    import wandb
    from PIL import Image

    from gptexp.tracking.dashboard import RunInfo
    from gptexp.tracking.wandb import PROBE, begin

    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    settings = wandb.setup(wandb.Settings(silent=True, login_timeout=PROBE)).settings
    # Whose account, and which project, is not for a stored config to say: it may be another's.
    cfg = LoggerConfig(
        name=NAME,
        tensorboard=False,
        wandb=True,
        entity=os.environ.get("WANDB_ENTITY"),
        job_type=NAME,
    )
    cfg = replace(cfg, project=os.environ.get("WANDB_PROJECT") or cfg.project)
    info = RunInfo(path, path.parent.name, {}, None, [], [], label=path.parent.name)
    run = begin(cfg, info, settings)
    run.define_metric("law_loss/*", step_metric=PARAMETERS)
    for n, losses in shown.curves.items():
        run.log({**losses, PARAMETERS: n})
    images = {tag: Image.open(io.BytesIO(data)) for tag, data in shown.pictures.items()}
    run.log({tag: wandb.Image(image) for tag, image in images.items()})
    run.summary.update({**shown.values, FIRST: "\n".join(shown.first)})
    run.finish()
