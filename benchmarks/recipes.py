"""A recipe against another: the time in which it reaches the other's last validation loss.

python -m benchmarks.recipes                          # fast_laptop against nanogpt_laptop, seed 0
python -m benchmarks.recipes --seeds 0 1 2 --fast experiment=fast_laptop optim.lr=1e-2

Both are trained by turns, with an exact evaluation of the validation split every so many steps, on
one thread; times are CPU seconds, of steps and evaluations.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import sides
from benchmarks.table import HEADER, Row, machine
from gptexp.config import from_overrides
from gptexp.errors import GptexpError
from gptexp.models.build import build_model
from gptexp.runtime.device import cpu_threads
from gptexp.runtime.random import stream_seed

FIXED = ["logger=none", "trainer.device=cpu", "trainer.threads=1", "trainer.sample_interval=0"]
TURN = 20  # steps, some seconds, after which it is the other's turn


@dataclass
class Course:
    """A run step by step: CPU seconds and exact validation loss at each evaluation."""

    trainer: sides.Chunked
    every: int  # steps from evaluation to evaluation
    seconds: float = 0.0
    points: list[tuple[int, float, float]] = field(default_factory=list)  # step, seconds, loss

    def go_on(self) -> None:
        """A turn: up to TURN steps, with an evaluation where one is due."""
        step, last = self.trainer.step, self.trainer.cfg.max_steps
        due = min(last, step - step % self.every + self.every)
        began = time.process_time()
        self.trainer.run(min(TURN, due - step))
        loss = self.trainer.parts.evaluator.evaluate("val").loss if self.trainer.step == due else 0
        self.seconds += time.process_time() - began
        if self.trainer.step == due:
            self.points.append((due, self.seconds, loss))

    @property
    def is_over(self) -> bool:
        return self.trainer.step >= self.trainer.cfg.max_steps


def race(fast: list[str], slow: list[str], seed: int, every: int) -> Iterator[Row | str]:
    """The share of the slow one's time that the fast one took to the slow one's last loss."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as place, cpu_threads(1):
        courses = []
        for name, overrides in (("fast", fast), ("slow", slow)):
            config = from_overrides([*overrides, *FIXED, f"seed={seed}"])
            inputs = sides.read(config)
            folder = Path(place) / name
            folder.mkdir()
            drawn = stream_seed(config.seed, "init")  # as a run has it
            network = build_model(config.model, inputs.tokenizer.vocab_size, drawn)
            trainer = stack.enter_context(sides.trainer_side(config, network, inputs, folder))
            courses.append(Course(trainer, every))
        quick, other = courses
        while not other.is_over:  # in step with each other's progress, so that a drift cancels
            share = other.trainer.step / other.trainer.cfg.max_steps
            if not quick.is_over and quick.trainer.step / quick.trainer.cfg.max_steps <= share:
                quick.go_on()
            other.go_on()
        while not quick.is_over:
            quick.go_on()
    goal = other.points[-1][2]
    for name, course in zip(("fast", "slow"), courses, strict=True):
        step, seconds, loss = course.points[-1]
        yield f"seed {seed}, {name}: {loss:.4f} after {step:,} steps, {seconds:.1f} s"
    there = next((point for point in quick.points if point[2] <= goal), None)
    if there is None:
        yield f"seed {seed}: the fast one does not come to {goal:.4f}"
        return
    yield f"seed {seed}: the fast one comes to {goal:.4f} by step {there[0]:,}"
    yield Row(f"seed {seed}: its share of the time", [there[1] / other.seconds], at_most=0.35)
    yield Row(f"seed {seed}: and for all its steps", [quick.seconds / other.seconds])


def main(words: list[str] | None = None) -> None:
    """Print what each seed came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--fast", nargs="+", default=["experiment=fast_laptop"])
    parser.add_argument("--slow", nargs="+", default=["experiment=nanogpt_laptop"])
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations")
    args = parser.parse_args(words)
    try:
        where = sides.read(from_overrides([*args.slow, *FIXED])).runtime
        print(HEADER)
        for seed in args.seeds:
            for row in race(args.fast, args.slow, seed, args.every):
                print(row, flush=True)
        print(machine(where))
    except GptexpError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
