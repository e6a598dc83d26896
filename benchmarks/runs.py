"""How long a table and a report of many runs take: `python benchmarks/runs.py [RUNS]`.

Trains one small run in a temporary folder, copies it with other sizes, fractions, seeds and losses,
and times the real command in fresh processes, over a tenth of the runs and over all.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed

from gptexp.config import from_overrides
from gptexp.experiment.run import run_experiment

SMALL = [
    *("data=text", "logger=tensorboard", "trainer.device=cpu", "trainer.on_overfit=observe"),
    *("model.n_layer=1", "model.n_head=1", "model.n_embd=8", "model.block_size=8"),
    *("schedule.warmup_steps=0", "trainer.max_steps=24", "trainer.batch_size=4"),
    *("trainer.eval_interval=1", "trainer.sample_interval=3", "data.test_fraction=0.1"),
]
COMMAND = "from gptexp.cli import main; main()"
REPEATS = 5  # of each timing, of which the median counts
SEEDS = 5  # runs of each group


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        run = train(folder)
        few = write(folder / "few", count // 10, run)
        many = write(folder / "many", count, run)
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
    """The directory of a run of 25 evaluations."""
    (folder / "text.txt").write_text("to be or not to be, that is the question\n" * 50)
    path = f"data.path={json.dumps(str(folder / 'text.txt'))}"
    run = run_experiment(from_overrides([*SMALL, path]), folder / "outputs").directory
    assert run is not None
    return run


def write(folder: Path, count: int, run: Path) -> Path:
    """`count` copies of the run: a grid of sizes and fractions, SEEDS of each point."""
    summary = json.loads((run / "summary.json").read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["git"].pop("patch", None)  # of whoever works on the code
    config, best = summary["config"], summary["best"]["val_loss"]
    for number in range(count):
        point, config["seed"] = divmod(number, SEEDS)
        config["model"]["n_embd"] = 64 * (1 + point // 10)
        config["data"]["fraction"] = (1 + point % 10) / 10
        summary["params"]["total"] = 10_000 * (1 + point // 10) ** 2
        summary["best"]["val_loss"] = best + number / count
        manifest["data"]["tokens"]["train"] = 100_000 * (1 + point % 10)
        summary["run"] = f"run-{number}"
        copy = shutil.copytree(run, folder / summary["run"])
        (copy / "summary.json").write_text(json.dumps(summary, indent=2))
        (copy / "manifest.json").write_text(json.dumps(manifest, indent=2))
        (copy / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return folder


def seconds(*arguments: str) -> float:
    """Median wall time of the command in a fresh process."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
