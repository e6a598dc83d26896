"""microGPT: how much its losses vary over seeds, and the trainer against the scalar engine.

python -m benchmarks.microgpt                         # 20 seeds; 5 pairs of 20 steps
python -m benchmarks.microgpt --quick                 # whether it works at all
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import sides
from benchmarks.table import HEADER, Row, machine
from gptexp import reference
from gptexp.config import from_overrides
from gptexp.experiment.run import run_experiment
from gptexp.interchange import microgpt
from gptexp.models.build import build_model
from gptexp.runs.journal import read_journal
from gptexp.runtime.device import cpu_threads, probe_hardware, resolve_runtime

QUIET = ["experiment=microgpt", "logger=none", "trainer.device=cpu", "trainer.threads=1"]
SMOOTHED = 100  # steps


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("overrides", nargs="*", help="first, if any: such as model.n_layer=2")
    add("--seeds", type=int, default=20, help="runs of the whole experiment")
    add("--pairs", type=int, default=5, help="chunks of each side")
    add("--steps", type=int, default=20, help="in a chunk")
    add("--quick", action="store_true", help="as few as there can be: numbers without meaning")
    args = parser.parse_intermixed_args(words)
    if args.quick:
        args.seeds, args.pairs, args.steps = 2, 2, 2
    args.overrides = [*QUIET, *args.overrides]
    return args


def losses(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Nats per token at the end of the experiment, a value for each seed."""
    steps = ["trainer.max_steps=20"] if args.quick else []
    config = from_overrides([*args.overrides, *steps, "trainer.log_interval=1"])
    last, smoothed, held_out, seconds = [], [], [], []
    for seed in range(args.seeds):
        config.seed = seed
        began = time.perf_counter()
        outcome = run_experiment(config, folder)
        seconds.append(time.perf_counter() - began)
        assert outcome.path is not None and outcome.state == "done", outcome.error
        lines = read_journal(outcome.path / "metrics.jsonl")
        trained = [line["train/loss"] for line in lines if "train/loss" in line]
        last.append(trained[-1])
        smoothed.append(statistics.fmean(trained[-SMOOTHED:]))
        held_out.append(lines[-1]["val/loss"])
    named = {
        "the last step, one document": last,
        f"mean of the last {SMOOTHED} steps": smoothed,
        "held-out documents, exact": held_out,
    }
    for what, values in named.items():
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        yield Row(f"{what}: {mean:.3f} +- {deviation:.3f}", values, "nats")
    yield Row("the whole experiment, in a running process", seconds, "s")


def speed(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Steps a second over the same documents, from the same weights; one thread."""
    config = sides.settings(args.overrides)
    inputs = sides.read(config)
    network = build_model(config.model, inputs.tokenizer.vocab_size, 0)
    weights = microgpt.from_state(network.state_dict(), config.model.n_layer)  # type: ignore[attr-defined]
    rows = {name: weight.tolist() for name, weight in weights.items()}
    scalar = reference.Model(rows, config.model.n_head)  # type: ignore[attr-defined]
    total = (args.pairs + 1) * args.steps
    documents = [tokens_of(inputs.corpus.batch(step)) for step in range(total)]
    theirs = reference.train(scalar, documents, sides.NEVER)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    gc.disable()  # as `python -m gptexp.reference` does: it is what the scalar engine is fast with
    with (
        cpu_threads(1),
        sides.trainer_side(config, network, inputs, folder) as ours,
    ):
        for _ in range(args.pairs + 1):  # the first warms up
            for name, run in (
                ("ours", lambda: ours.run(args.steps)),
                ("theirs", lambda: [next(theirs) for _ in range(args.steps)]),
            ):
                began = time.perf_counter()
                run()
                times[name].append((time.perf_counter() - began) / args.steps)
    gc.enable()
    pairs = list(zip(times["ours"][1:], times["theirs"][1:], strict=True))
    yield Row("a step of the trainer", [1e3 * mine for mine, _ in pairs], "ms")
    yield Row("a step of the scalar engine", [1e3 * other for _, other in pairs], "ms")
    yield Row("the trainer is faster, times", [other / mine for mine, other in pairs])


def tokens_of(batch: tuple) -> list[int]:
    """The only document of a batch, with the boundary on both sides."""
    inputs, targets = batch
    return [*inputs[0].tolist(), int(targets[0, -1])]


def main(words: list[str] | None = None) -> None:
    args = arguments(words)
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for part in (losses, speed):
            for row in part(args, Path(folder)):
                print(row, flush=True)
    with cpu_threads(1):
        where = resolve_runtime(from_overrides(args.overrides).trainer, probe_hardware())
        print(machine(where))


if __name__ == "__main__":
    main()
