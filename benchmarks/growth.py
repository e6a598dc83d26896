"""What a training step costs as the work grows: in parameters, in context, in rows of a batch.

python -m benchmarks.growth             # measures for two minutes, and draws results/growth.png
python -m benchmarks.growth --draw      # draws it again from the last line of results/growth.jsonl
python -m benchmarks.growth --quick     # whether it works at all

From one model on, one thing grows at a time. Beside each time stands what the FLOPs of the step
take at the rate at which this machine multiplies matrices, measured in the same turns. In one
thread on a CPU it is CPU time.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks import ROOT, kept, sides
from benchmarks.table import Row, facts, over, told
from gptexp.errors import GptexpError
from gptexp.files import write_bytes
from gptexp.models.build import build_model
from gptexp.models.counts import flops_per_token, total_parameters
from gptexp.report import style
from gptexp.runtime.device import Runtime, cpu_threads, probe_hardware, resolve_runtime
from gptexp.runtime.rate import matrix_rate
from gptexp.text import aligned, plural

FILE, PICTURE = ROOT / "results" / "growth.jsonl", ROOT / "results" / "growth.png"

SIZE = (10.5, 4.0)  # inches
MEASURED, PREDICTED = "measured: median, lowest to highest", "its FLOPs at the matrix rate"


@dataclass(frozen=True)
class Point:
    """A model and the batch of its step."""

    n_layer: int
    n_head: int
    n_embd: int
    context: int = 64
    rows: int = 12

    @property
    def model(self) -> str:
        return f"{plural(self.n_layer, 'layer')}, {self.n_embd} wide"

    @property
    def overrides(self) -> list[str]:
        sizes = {key: getattr(self, key) for key in ("n_layer", "n_head", "n_embd")}
        model = [f"model.{key}={value}" for key, value in sizes.items()]
        return [*model, f"model.block_size={self.context}", f"trainer.batch_size={self.rows}"]


BASE = Point(4, 4, 128)  # model=laptop
PANELS = {  # what grows in each
    "parameters": [
        *(Point(1, 1, 12), Point(1, 1, 32), Point(2, 2, 64)),
        *(BASE, Point(4, 4, 256), Point(6, 6, 384)),
    ],
    "context": [replace(BASE, context=context) for context in (32, 64, 128, 256, 512, 1024)],
    "rows": [replace(BASE, rows=rows) for rows in (1, 2, 4, 8, 12, 16, 32, 64)],
}
WORDS = {  # of each axis, and of what does not grow
    "parameters": ("parameters", f"{BASE.rows} rows of {BASE.context} tokens"),
    "context": ("context, tokens", f"{BASE.model}, {BASE.rows} rows"),
    "rows": ("rows of a batch", f"{BASE.model}, context of {BASE.context}"),
}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", help="such as model.dropout=0.2, of all points")
    add("--threads", type=int, default=1, help="of torch")
    add("--rounds", type=int, default=5, help="of which the median counts")
    add("--seconds", type=float, default=0.3, help="of each point's turn, at least a step")
    add("--draw", action="store_true", help="measure nothing")
    add("--json", type=Path, default=FILE, help="where results are added")
    add("--to", type=Path, default=PICTURE, help="the figure")
    add("--quick", action="store_true", help="as little as there can be; writes nothing")
    args = parser.parse_intermixed_args(words)
    if args.quick:
        args.rounds, args.seconds = 1, 0.0
    return args


@dataclass(frozen=True)
class Live:
    """A point that trains, so many steps in a turn."""

    side: sides.Side
    steps: int
    parameters: int
    flops: int  # of a step


@contextmanager
def living(point: Point, overrides: list[str], seconds: float, folder: Path) -> Iterator[Live]:
    """The trainer of a point, warm."""
    folder.mkdir()
    config = sides.settings([*overrides, "logger=none", *point.overrides])
    inputs, cfg = sides.read(config), config.model
    vocab_size, tokens = inputs.tokenizer.vocab_size, point.rows * point.context
    flops = tokens * flops_per_token(cfg, vocab_size)
    with sides.trainer_side(config, build_model(cfg, vocab_size, 0), inputs, folder) as side:
        steps = sides.steps_in(seconds, side, inputs.runtime)
        yield Live(side, steps, total_parameters(cfg, vocab_size), flops)


def measure(
    overrides: list[str], rounds: int, seconds: float, where: Runtime, folder: Path
) -> list[dict[str, Any]]:
    """The rows of each panel; a point that several panels show is measured once."""
    points = list(dict.fromkeys(point for each in PANELS.values() for point in each))
    rates: list[float] = []
    with ExitStack() as stack:
        found = {
            point: stack.enter_context(living(point, overrides, seconds, folder / str(index)))
            for index, point in enumerate(points)
        }
        work: dict[str, Callable[[], object]] = {
            str(point): partial(live.side.run, live.steps) for point, live in found.items()
        }
        work["rate"] = lambda: rates.append(matrix_rate(where))
        alone = where.device.type == "cpu" and torch.get_num_threads() == 1
        # CPU time leaves out what other work takes of the core.
        clock = time.process_time if alone else time.perf_counter
        took = sides.turns(work, rounds, where, clock)
    rows = {p: row(p, live, took[str(p)], rates) for p, live in found.items()}
    return [{"panel": name, **rows[point]} for name, each in PANELS.items() for point in each]


def row(point: Point, live: Live, turns: list[float], rates: list[float]) -> dict[str, Any]:
    """What was found of a point: milliseconds of a step, and those that its FLOPs predict."""
    took = [1e3 * seconds / live.steps for seconds in turns]
    predicted = [1e3 * live.flops / rate for rate in rates]
    return {
        **asdict(point),
        "parameters": live.parameters,
        "flops": live.flops,  # of a step
        **Row("a step", took, "ms").to_dict(),
        "predicted": statistics.median(predicted),
        "times": Row("a step / its FLOPs at the matrix rate", over(took, predicted)).to_dict(),
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines: each step, and how many times as long it takes as its FLOPs at the matrix rate."""
    head = ("grows", "parameters", "context", "rows", "ms a step", "from", "to", "FLOPs", "times")
    cells = [
        (
            row["panel"],
            *(f"{row[key]:,}" for key in ("parameters", "context", "rows")),
            *(f"{row[key]:,.2f}" for key in ("median", "low", "high", "predicted")),
            f"{row['times']['median']:.2f}",
        )
        for row in rows
    ]
    return aligned([head, *cells], [False, *[True] * 8])


def draw(rows: list[dict[str, Any]]) -> Figure:
    """A panel for each thing that grows, on log axes, beside the line of the FLOPs."""
    figure, panels = style.panels(SIZE, len(PANELS))
    for axes, name in zip(panels, PANELS, strict=True):
        _panel(axes, name, [row for row in rows if row["panel"] == name])
    panels[0].set_ylabel("milliseconds a step")
    panels[0].yaxis.set_major_formatter(FuncFormatter(style.tick))
    panels[0].legend(loc="upper left", fontsize=7, frameon=False)
    return figure


def _panel(axes: Axes, name: str, rows: list[dict[str, Any]]) -> None:
    x = [row[name] for row in rows]
    median = [row["median"] for row in rows]
    ends = [
        [row["median"] - row["low"] for row in rows],
        [row["high"] - row["median"] for row in rows],
    ]
    shape: dict[str, Any] = {"markersize": 4, "linewidth": 1.4, "capsize": 2, "elinewidth": 1}
    axes.errorbar(x, median, ends, fmt="o-", color=style.PALETTE[0], label=MEASURED, **shape)
    predicted = [row["predicted"] for row in rows]
    axes.plot(x, predicted, "--", color=style.PALETTE[1], linewidth=1.4, label=PREDICTED)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(style.tick))
    axes.xaxis.set_minor_locator(NullLocator())
    if name != "parameters":
        powers = [value for value in x if value & (value - 1) == 0]  # of 2
        axes.set_xticks(powers, [f"{value:,}" for value in powers])
    words, fixed = WORDS[name]
    axes.set_xlabel(words)
    axes.set_title(fixed, fontsize=9)


def read_last(file: Path) -> dict[str, Any]:
    """What was measured last."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8").splitlines()[-1])
    except (OSError, ValueError, IndexError):
        raise SystemExit(f"{file} has no results: python -m benchmarks.growth") from None
    return found


def taken(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured now, with the facts of the machine; kept unless it is quick."""
    overrides = ["trainer.device=cpu", *args.overrides]
    where = resolve_runtime(sides.settings(overrides).trainer, probe_hardware())
    print(f"{args.rounds} rounds, some minutes ...", file=sys.stderr, flush=True)
    with cpu_threads(args.threads), tempfile.TemporaryDirectory() as place:
        rows = measure(overrides, args.rounds, args.seconds, where, Path(place))
    found = {**facts(where), "threads": args.threads, "overrides": args.overrides, "rows": rows}
    if not args.quick:
        kept.add(args.json, found)
    return found


def main(words: list[str] | None = None) -> None:
    args = arguments(words)
    try:
        found = read_last(args.json) if args.draw else taken(args)
        print("\n".join(table(found["rows"])))
        print(f"{told(found)}; {plural(found['threads'], 'thread')}")
        picture = style.png(draw(found["rows"]))
        if not args.quick:
            write_bytes(args.to, picture)
    except GptexpError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
