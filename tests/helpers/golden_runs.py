"""Tiny runs whose curves are kept; `python tests/helpers/golden_runs.py "REASON"` does it anew.

That is for a change that is meant to move bits; fixtures/golden_runs.json keeps its reason.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from gptexp.config import from_overrides
from gptexp.experiment.run import run_experiment
from gptexp.runs.journal import read_journal
from gptexp.runs.provenance import environment
from gptexp.runtime.device import Runtime

FILE = Path(__file__).resolve().parents[1] / "fixtures" / "golden_runs.json"
CURVES = ("train/loss", "train/grad_norm", "train/eval_loss", "val/loss", "val/bpb")
COMMON = [
    *("logger=none", "trainer.device=cpu", "trainer.dtype=float32", "trainer.threads=1"),
    *("trainer.max_steps=50", "trainer.log_interval=1", "trainer.eval_interval=25"),
    *("trainer.sample_interval=0", "trainer.sample_tokens=1", "trainer.sample_documents=1"),
]
RUNS = {
    "gpt": [
        *("data=text", "data.path=text.txt", "model.n_layer=2", "model.n_head=2"),
        *("model.n_embd=16", "model.block_size=16", "model.dropout=0.1", "trainer.batch_size=4"),
        *("optim.lr=1e-2", "schedule.warmup_steps=5"),
    ],
    "documents": ["experiment=microgpt", "data=documents", "data.path=names.txt"],
    "bigram": ["experiment=ladder_bigram", "data=documents", "data.path=names.txt"],
}


def write_corpora(folder: Path) -> None:
    """A text and some names, drawn by a generator of our own, which no version changes."""
    state = 1

    def draw(letters: str) -> str:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return letters[(state >> 16) % len(letters)]

    syllables = [draw("bdfklmnprstv") + draw("aeiou") for _ in range(1200)]
    text = "".join(syllable + draw("    \n") * (draw("yn") == "y") for syllable in syllables)
    names = ("".join(syllables[at : at + 2 + at % 3]) for at in range(0, 900, 5))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def train(name: str, folder: Path) -> dict[str, list[str]]:
    """The curves of a run, as hexadecimal floats, from the corpora in `folder`."""
    config = from_overrides([*RUNS[name], *COMMON])
    config.data.path = str(folder / str(config.data.path))
    outcome = run_experiment(config, folder / "outputs")
    assert outcome.path is not None, outcome
    lines = read_journal(outcome.path / "metrics.jsonl")
    return {
        curve: [float(line[curve]).hex() for line in lines if curve in line] for curve in CURVES
    }


def here() -> dict[str, Any]:
    """What decides on the bits of a run in one thread of this machine."""
    now = environment(Runtime(torch.device("cpu"), torch.float32))
    versions = {name: now["packages"][name] for name in ("torch", "numpy")}
    built = hashlib.sha256(now["torch_build"].encode()).hexdigest()  # a page of compiler options
    machine = {key: now[key] for key in ("cpu", "cpu_capability")}
    return {**versions, **machine, "torch_build_sha256": built}


def record(reason: str) -> None:
    """Write the curves of all runs as they are here; `reason` comes after those of before."""
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"reasons": []}
    with tempfile.TemporaryDirectory() as folder:
        write_corpora(Path(folder))
        runs = {name: train(name, Path(folder)) for name in RUNS}
    reasons = [*before["reasons"], reason]
    value = {"reasons": reasons, "environment": here(), "runs": runs}
    FILE.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit('usage: python tests/helpers/golden_runs.py "why the bits changed"')
    record(sys.argv[1])
