"""A whole run at nanoGPT's cadence, summed from pieces that were each measured in turns of seconds.

A shared machine's speed drifts between two whole runs, so they cannot be compared.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import processes, sides
from benchmarks.settings import Setting
from benchmarks.table import Row, over
from gptexp.config import Config, TrainerConfig, from_overrides
from gptexp.experiment.prepare import Inputs
from gptexp.models.build import build_model

Pieces = dict[str, list[float]]  # seconds of each, by round


def whole(
    setting: Setting,
    overrides: list[str],
    rounds: int,
    seconds: float,
    checkout: Path | None,
    folder: Path,
) -> Iterator[Row]:
    """Rows of the pieces, and of their sum over a run of `overrides`."""
    cadence = from_overrides(overrides).trainer
    config = sides.settings([*overrides, "logger=none"])
    inputs = sides.read(config)
    flags = sides.flags_of(config, inputs, setting.eval_iters)
    with ExitStack() as stack:
        theirs = None
        if checkout is not None:
            theirs = stack.enter_context(sides.nanogpt(checkout, flags, inputs, folder))
        took = in_turns(config, inputs, theirs, rounds, seconds, folder)
    command = None
    if checkout is not None:
        place = [str(checkout.resolve()), str(folder.resolve())]
        command = ["nanogpt", *place, json.dumps(flags.to_dict())]
    (folder / "processes").mkdir()
    ends = processes.start_and_end(overrides, command, rounds, folder / "processes")
    sums = {}
    for name, pieces in took.items():
        pieces["start and end"] = ends[name]
        sums[name] = total(pieces, cadence, name)
        for piece, values in pieces.items():
            yield Row(f"{piece}: {name}", values, "s")
        yield Row(f"whole run of {cadence.max_steps:,} steps: {name}", sums[name], "s")
    if checkout is not None:
        yield Row("whole run: trainer / nanoGPT", over(sums["trainer"], sums["nanoGPT"]))


def total(pieces: Pieces, cadence: TrainerConfig, name: str) -> list[float]:
    """Seconds of a run, for each round; nanoGPT saves at each evaluation but the first."""
    evaluations = cadence.max_steps // cadence.eval_interval + 1
    times = {
        "step": cadence.max_steps,
        "evaluation": evaluations,
        "save": evaluations - (name == "nanoGPT"),
        "start and end": 1,
    }
    rounds = zip(*(pieces[piece] for piece in times), strict=True)
    return [
        sum(count * seconds for count, seconds in zip(times.values(), each, strict=True))
        for each in rounds
    ]


def in_turns(
    config: Config,
    inputs: Inputs,
    theirs: sides.Whole | None,
    rounds: int,
    seconds: float,
    folder: Path,
) -> dict[str, Pieces]:
    """Steps, evaluations and saves of each side, in turns."""
    network = build_model(config.model, inputs.tokenizer.vocab_size, 0)
    with sides.trainer_side(config, network, inputs, folder) as trainer:
        found: dict[str, sides.Whole] = {"trainer": trainer}
        if theirs is not None:
            found["nanoGPT"] = theirs
        steps = sides.steps_in(seconds, trainer, inputs.runtime)
        work: dict[str, Callable[[], object]] = {}
        for name, side in found.items():
            work[f"step: {name}"] = partial(side.run, steps)
            work[f"evaluation: {name}"] = side.evaluate
            work[f"save: {name}"] = side.save
        sides.turns(work, 1, inputs.runtime)  # warms up
        took = sides.turns(work, rounds, inputs.runtime)
    return {
        name: {
            "step": [each / steps for each in took[f"step: {name}"]],
            "evaluation": took[f"evaluation: {name}"],
            "save": took[f"save: {name}"],
        }
        for name in found
    }
