"""How fast training is, in what it is made of, and beside nanoGPT where a checkout is given.

python -m benchmarks.speed                                  # a step of laptop, tiny and small
python -m benchmarks.speed --nanogpt ~/nanoGPT --parts step whole --threads 1 2
python -m benchmarks.speed --parts all                      # all of it: most of an hour
python -m benchmarks.speed --settings laptop trainer.batch_size=32 --against 303ab48
python -m benchmarks.speed --quick                          # whether it works at all

All sides of a comparison work in turns of seconds, in one process; nanoGPT has one of its own.
Results are added to results/speed.jsonl, and shown beside those of the last commit that was
measured on this machine.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks import grids, kept, processes, sampling, sides
from benchmarks.settings import SETTINGS
from benchmarks.table import HEADER, Row, facts, over, told
from benchmarks.whole import whole
from gptexp.errors import GptexpError
from gptexp.models.counts import flops_per_token
from gptexp.runtime.device import Runtime, cpu_threads, probe_hardware, resolve_runtime
from gptexp.runtime.rate import matrix_rate

BY_SETTING = (
    "step",
    "whole",
    "memory",
    "start",
    "config",
    "sample",
)  # parts that have each of them
PARTS = (*BY_SETTING, "overhead", "sweep")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", help="such as trainer.batch_size=32, behind each setting's own")
    add("--settings", nargs="+", choices=SETTINGS, help="laptop, tiny and small; medium on CUDA")
    add("--parts", nargs="+", choices=(*PARTS, "all"), default=["step"], help="what to measure")
    add("--threads", nargs="+", type=int, default=[0], help="of torch, one after another")
    add("--nanogpt", type=Path, metavar="PATH", help="a checkout of it, whose code is run")
    add("--device", default="auto", help="cpu, cuda, mps or auto")
    add("--pairs", type=int, default=7, help="rounds, of which the median counts")
    add("--seconds", type=float, default=2.0, help="of each side's turn")
    add("--null-steps", type=int, default=1000, help="in a turn of overhead")
    add("--points", type=int, default=4 * grids.CORES, help="of a grid in sweep")
    add("--grids", nargs="+", choices=grids.GRIDS, default=list(grids.GRIDS), help="of sweep")
    add("--against", metavar="COMMIT", help="show the results of this one beside")
    add("--json", type=Path, default=kept.FILE, help="where results are added")
    add("--quick", action="store_true", help="as few as there can be: numbers without meaning")
    args = parser.parse_intermixed_args(words)
    if args.quick:
        args.pairs, args.seconds, args.null_steps, args.points = 1, 0.0, 20, 2
    if "all" in args.parts:
        args.parts = PARTS
    args.overrides = [f"trainer.device={args.device}", *args.overrides]
    if args.settings is None:
        on_cuda = device(args).device.type == "cuda"
        args.settings = [name for name in SETTINGS if on_cuda or name != "medium"]
    return args


def step(overrides: list[str], args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A step beside its own matrix products, a plain loop, and nanoGPT."""
    config = sides.settings([*overrides, "logger=none"])
    inputs = sides.read(config)
    with ExitStack() as stack:
        trainer, textbook = stack.enter_context(sides.both(config, inputs, folder))
        steps = sides.steps_in(args.seconds, trainer, inputs.runtime)
        found: dict[str, sides.Side] = {"trainer": trainer, "textbook loop": textbook}
        if args.nanogpt is not None:
            flags = sides.flags_of(config, inputs, eval_iters=1)
            other = stack.enter_context(sides.nanogpt(args.nanogpt, flags, inputs, folder))
            assert other.parameters == sides.parameters(trainer.parts.model)
            found["nanoGPT"] = other
        found |= sides.floors(config, inputs)
        took = sides.steps_of(found, steps, args.pairs, inputs.runtime)
    for name, values in took.items():
        yield Row(f"a step: {name}", [1e3 * each for each in values], "ms")
    tokens = config.trainer.rows * config.model.block_size
    yield Row("tokens: trainer", [tokens / each for each in took["trainer"]], "tokens/s", more=True)
    flops = tokens * flops_per_token(config.model, inputs.tokenizer.vocab_size)
    rate = matrix_rate(inputs.runtime)
    yield Row("mfu: trainer", [flops / each / rate for each in took["trainer"]], more=True)
    floor = took["its matrix products"]
    yield Row("a step / its matrix products", over(took["trainer"], floor))
    with_attention = [a + b for a, b in zip(floor, took["attention's kernel"], strict=True)]
    yield Row("a step / products and attention", over(took["trainer"], with_attention))
    for name in ("textbook loop", "nanoGPT"):
        if name in took:
            times = over(took[name], took["trainer"])
            yield Row(f"faster than {name}, times", times, more=True)


def overhead(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Microseconds a step around a model that does nothing."""
    where = device(args)
    for logger in ("none", "tensorboard"):
        config = sides.settings([*sides.NULL, f"logger={logger}"])
        (folder / logger).mkdir()
        with sides.both_null(config, where, folder / logger) as (trainer, textbook):
            both: dict[str, sides.Side] = {"trainer": trainer, "textbook": textbook}
            found = sides.steps_of(both, args.null_steps, args.pairs, where)
        ours, theirs = ([1e6 * each for each in found[name]] for name in both)
        yield Row(f"null step: trainer, logger={logger}", ours, "us")
        yield Row("null step: textbook loop", theirs, "us")
        above = [a - b for a, b in zip(ours, theirs, strict=True)]
        yield Row(f"overhead a step, logger={logger}", above, "us", at_most=200)


def part(name: str, setting: str, args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """The rows of one part for one setting, with torch's threads as they are."""
    threads = f"trainer.threads={torch.get_num_threads()}"  # of fresh processes
    overrides = [*SETTINGS[setting].overrides, threads, *args.overrides]
    match name:
        case "step":
            return step(overrides, args, folder)
        case "whole":
            fixed = (args.pairs, args.seconds, args.nanogpt, folder)
            return whole(SETTINGS[setting], overrides, *fixed)
        case "sample":
            return sampling.sample(overrides, args.pairs)
        case "memory":
            return processes.memory([*overrides, "logger=none"], args.pairs, folder)
        case "start":
            return processes.start(overrides, args.device, args.pairs, folder)
        case "config":
            return processes.cfg_job(overrides, args.pairs, folder)
    raise KeyError(name)


def measure(args: argparse.Namespace) -> Iterator[tuple[str, Iterator[Row]]]:
    """The rows of args.parts under a heading each, measured as they are read."""
    with tempfile.TemporaryDirectory() as place:
        folders = (Path(tempfile.mkdtemp(dir=place)) for _ in iter(int, 1))
        for threads in args.threads:
            with cpu_threads(threads or None):
                count = torch.get_num_threads()
                heading = f"{count} thread{'s' if count > 1 else ''}"
                for setting in args.settings:
                    for name in args.parts:
                        if name in BY_SETTING:
                            rows = part(name, setting, args, next(folders))
                            yield f"{setting}, {heading}: {name}", rows
                if "overhead" in args.parts:
                    yield f"{heading}: overhead", overhead(args, next(folders))
        if "sweep" in args.parts:
            some = (args.grids, args.overrides, args.points, args.pairs, args.quick)
            rows = grids.runs_an_hour(*some, next(folders))
            yield f"sweep, {args.points} points", rows


def device(args: argparse.Namespace) -> Runtime:
    return resolve_runtime(sides.settings(args.overrides).trainer, probe_hardware())


def main(words: list[str] | None = None) -> None:
    try:
        args = arguments(words)
        where = device(args)
        taken_on = facts(where)
        before = kept.Before(args.json, taken_on, args.against)
        found: dict[str, list[Row]] = {}
        print(HEADER)
        for heading, rows in measure(args):
            print(f"--- {heading}")
            found[heading] = []
            for row in rows:
                found[heading].append(row)
                print(f"{row}{before.beside(heading, row)}", flush=True)
    except GptexpError as error:
        raise SystemExit(str(error)) from None
    print(told(taken_on))
    if not args.quick:
        kept.keep(args.json, taken_on, found)


if __name__ == "__main__":
    main()
