"""How long a table and a report of many runs take: `python -m benchmarks.runs [RUNS]`.

Trains one small run of 25 evaluations, copies it under other sizes, fractions and losses into a
temporary folder, and times the real command in fresh processes, over a tenth of the runs and over
all.
"""

import copy
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks import ROOT
from gptexp.config import from_overrides
from gptexp.experiment.run import run_experiment

COMMAND = "from gptexp.cli import main; main()"
REPEATS = 5  # of each timing, of which the median counts
SEEDS = 5  # runs of each group
SMALL = [
    *("data=text", "logger=none", "trainer.device=cpu", "model.n_layer=1", "model.n_head=1"),
    *("model.n_embd=8", "model.block_size=8", "schedule.warmup_steps=0", "trainer.max_steps=24"),
    *("trainer.eval_interval=1", "trainer.sample_tokens=500", "data.test_fraction=0.1"),
]


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        trained = train(folder)
        few = write(folder / "few", trained, count // 10)
        many = write(folder / "many", trained, count)
        size = sum(path.stat().st_size for path in many.glob("*/summary.json")) / count
        print(f"{count:,} run directories, summary.json of {size:,.0f} bytes each")
        print(f"`gptexp --help`, which reads none: {seconds('--help'):.2f} s")
        for verb, *options in (
            ["table"],
            ["table", "--by", "model.n_embd,data.fraction"],
            ["table", "--format", "json"],
            ["report"],
        ):
            small, large = (seconds(verb, str(place), *options) for place in (few, many))
            each = (large - small) / (count - count // 10)
            print(
                f"{' '.join(['gptexp', verb, *options]):48} {large:.2f} s; {small:.2f} s for "
                f"{count // 10:,}; {each * 1e3:.2f} ms for one more"
            )
    finally:
        shutil.rmtree(folder)


def train(folder: Path) -> Path:
    """One run that is done."""
    text = folder / "text.txt"
    text.write_text("".join(random.Random(0).choices("to be or not ", k=5000)))
    config = from_overrides([*SMALL, f"data.path={text}"])
    outcome = run_experiment(config, folder / "outputs")
    assert outcome.path is not None and outcome.state == "done", outcome.error
    return outcome.path


def write(folder: Path, trained: Path, count: int) -> Path:
    """`count` runs that are done: a grid of sizes and fractions, SEEDS of each point."""
    summary = json.loads((trained / "summary.json").read_text())
    manifest = json.loads((trained / "manifest.json").read_text())
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    for number in range(count):
        point, seed = divmod(number, SEEDS)
        size, share = 1 + point // 10, 1 + point % 10
        run = folder / f"run-{number}"
        shutil.copytree(trained, run)
        own: dict[str, Any] = copy.deepcopy(summary)
        own["config"]["seed"] = seed
        own["config"]["model"]["n_embd"] = 64 * size
        own["config"]["data"]["fraction"] = share / 10
        own["params"]["total"] = 10_000 * size**2
        for evaluation in (own["best"], own["final"]):
            evaluation["val_loss"] += number / count
        manifest["data"]["tokens"]["train"] = 100_000 * share
        rows = [
            {**row, "val/loss": row["val/loss"] + number / count} if "val/loss" in row else row
            for row in lines
        ]
        (run / "summary.json").write_text(json.dumps(own, indent=2))
        (run / "config.yaml").write_text(yaml.safe_dump(own["config"], sort_keys=False))
        (run / "manifest.json").write_text(json.dumps(manifest, indent=2))
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def seconds(*arguments: str) -> float:
    """Median wall time of the command in a fresh process."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
