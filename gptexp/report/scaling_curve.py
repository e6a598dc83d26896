"""A sweep's scaling curve in TensorBoard: runs whose step is the number of parameters."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary

from gptexp.analysis.groups import gathered, statistic
from gptexp.analysis.records import Run, mixed
from gptexp.analysis.scale import is_number
from gptexp.analysis.units import BITS, unit
from gptexp.files import output_folder
from gptexp.tracking.event_file import EventFile

log = logging.getLogger(__name__)

FIGURES = {"best": "scaling/best_val_loss", "height": "scaling/cliff_height"}  # of a Run, and tag


def draw(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Write a TensorBoard run `folder/scaling-f<fraction>` for each dataset size; returns them.

    Its points are means over the seeds of finished runs of one size. Where runs of one size differ
    in more than the seed, a mean would say nothing, and the dataset size is left out, in a line
    that names the keys. One with a single model size has no curve. Earlier drawings are replaced.
    """
    done = [run for run in runs if run.done and is_number(run.config.get("data.fraction", 1))]
    sizes = gathered(done, lambda run: f"{run.config.get('data.fraction', 1):g}")
    for stale in folder.glob("scaling-f*/events.out.tfevents.*"):
        if not stale.parent.is_symlink():  # see output_folder
            stale.unlink(missing_ok=True)  # another sweep may draw here too
    curves = {fraction: _curve(fraction, members) for fraction, members in sizes.items()}
    drawn = [
        _draw(folder / f"scaling-f{fraction}", curve) for fraction, curve in curves.items() if curve
    ]
    for other in set(folder.glob("scaling-f*")) - set(drawn):
        with contextlib.suppress(OSError):  # it holds something else
            other.rmdir()
    return drawn


def _curve(fraction: str, runs: Sequence[Run]) -> dict[int, list[Run]]:
    """The runs by their parameters, in that order; empty where there is no curve of them."""
    known = [run for run in runs if run.params is not None]
    by_params = gathered(known, lambda run: run.params or 0)
    if len(by_params) < 2:
        return {}
    keys = dict.fromkeys(key for same in by_params.values() for key in mixed(same))
    words = f"runs of one size differ in {', '.join(keys)}" if keys else ""
    if len({run.config.get("model.kind") for run in runs}) > 1:
        words = "its runs differ in model.kind"
    if unit(runs) == BITS:
        words = "its runs have several tokenizers"
    if words:
        log.info("TensorBoard has no scaling curve of data.fraction=%s: %s", fraction, words)
        return {}
    return dict(sorted(by_params.items()))


def _draw(path: Path, curve: dict[int, list[Run]]) -> Path:
    output_folder(path)
    events = EventFile(path)
    for params, runs in curve.items():
        for figure, tag in FIGURES.items():
            mean = statistic(getattr(run, figure) for run in runs)
            if mean is not None:
                value = Summary.Value(tag=tag, simple_value=mean.mean)
                events.add(step=params, summary=Summary(value=[value]))
    events.close()
    return path
