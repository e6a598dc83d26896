"""Time this trainer against a plain training loop over the same model.

python -m benchmarks.trainer                          # the laptop preset on Tiny Shakespeare
python -m benchmarks.trainer --model tiny --device cuda --steps 200
python -m benchmarks.trainer --parts overhead start   # some of it
python -m benchmarks.trainer --quick                  # whether it works at all
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import processes, sides
from benchmarks.table import HEADER, Row, machine
from gptexp.runtime.device import Runtime, probe_hardware, resolve_runtime

PARTS = ("speed", "overhead", "memory", "start", "config")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", help="first, if any: such as trainer.batch_size=32")
    add("--model", default="laptop", help="a preset")
    add("--device", default="auto", help="cpu, cuda, mps or auto")
    add("--logger", default="none", help="of the trainer in speed and memory")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    add("--pairs", type=int, default=7, help="chunks of each side, for speed and overhead")
    add("--steps", type=int, default=50, help="in a chunk of the real model")
    add("--null-steps", type=int, default=1000, help="in a chunk of the null model")
    add("--runs", type=int, default=7, help="fresh processes, for memory, start and config")
    add("--quick", action="store_true", help="as few as there can be: numbers without meaning")
    args = parser.parse_intermixed_args(words)
    if args.quick:
        args.pairs, args.steps, args.null_steps, args.runs = 2, 2, 20, 1
    args.overrides = [f"model={args.model}", f"trainer.device={args.device}", *args.overrides]
    return args


def speed(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Tokens a second of a real model."""
    config = sides.settings([*args.overrides, f"logger={args.logger}"])
    with sides.both(config, sides.read(config), folder) as compared:
        found = sides.pairs(compared, args.steps, args.pairs)
    tokens = args.steps * compared.tokens_per_step
    yield Row("speed: trainer", [tokens / ours for ours, _ in found], "tokens/s")
    yield Row("speed: textbook loop", [tokens / theirs for _, theirs in found], "tokens/s")
    yield Row("speed: trainer / textbook, by pairs", [theirs / ours for ours, theirs in found])


def overhead(args: argparse.Namespace, where: Runtime, folder: Path) -> Iterator[Row]:
    """Microseconds a step around a model that does nothing."""
    for logger in ("none", "tensorboard"):
        config = sides.settings([*sides.NULL, f"logger={logger}"])
        (folder / logger).mkdir()
        with sides.both_null(config, where, folder / logger) as compared:
            found = sides.pairs(compared, args.null_steps, args.pairs)
        ours = [1e6 * seconds / args.null_steps for seconds, _ in found]
        theirs = [1e6 * seconds / args.null_steps for _, seconds in found]
        yield Row(f"null step: trainer, logger={logger}", ours, "us")
        yield Row("null step: textbook loop", theirs, "us")
        above = [a - b for a, b in zip(ours, theirs, strict=True)]
        yield Row(f"overhead a step, logger={logger}", above, "us", at_most=200)


def measure(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All rows of args.parts, as they come in."""
    for part in args.parts:
        (folder / part).mkdir()
    if "config" in args.parts:
        yield from processes.cfg_job(args.overrides, args.runs, folder / "config")
    if "start" in args.parts:
        yield from processes.start(args.overrides, args.device, args.runs, folder / "start")
    if "memory" in args.parts:
        settings = [*args.overrides, f"logger={args.logger}"]
        yield from processes.memory(settings, args.runs, folder / "memory")
    if "overhead" in args.parts:
        yield from overhead(args, device(args), folder / "overhead")
    if "speed" in args.parts:
        yield from speed(args, folder / "speed")


def device(args: argparse.Namespace) -> Runtime:
    return resolve_runtime(sides.settings(args.overrides).trainer, probe_hardware())


def main(words: list[str] | None = None) -> None:
    args = arguments(words)
    with tempfile.TemporaryDirectory() as folder:
        print(HEADER)
        for row in measure(args, Path(folder)):
            print(row, flush=True)
    print(machine(device(args)))


if __name__ == "__main__":
    main()
