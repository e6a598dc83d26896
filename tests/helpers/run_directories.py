"""Run directories written by hand: what a run leaves, without training one."""

import copy
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import yaml

from gptexp.config import from_overrides, to_dict
from gptexp.runs.directory import code_digest

CONFIG = to_dict(from_overrides(["data=text", "data.path=text.txt", "logger=none"]))
SOURCES = {"model.py": "1" * 64, "trainer.py": "2" * 64}
ENVIRONMENT = {"device": "cpu", "threads": 1, "packages": {"torch": "2.13.0", "numpy": "2.4.6"}}
TEXT = "a" * 64  # its digest


def write_run(
    folder: Path,
    seed: int = 0,
    best: float | None = 2.0,
    *,
    state: str = "done",
    reason: str = "",
    old: bool = False,  # a summary without config, code and data
    sources: dict[str, str] | None = None,
    data_sha256: str = TEXT,
    metrics: list[dict[str, Any]] | None = None,
    resumes: list[dict[str, Any]] | None = None,
    test: float | None = None,
    bpb: float | None = 3.0,  # of every loss
    params: int = 809856,
    train_tokens: int = 900,
    sample: str = "to be or not to be " * 25,
    ngrams: list[float] | None = None,
    command: list[str] | None = None,
    **keys: Any,
) -> Path:
    """A run directory below `folder`; `optim__lr=0.1` sets that key, `best` the best loss."""
    config = copy.deepcopy(CONFIG)
    for key, value in {"seed": seed, "name": folder.name, **keys}.items():
        *sections, field = key.split("__")
        (config[sections[0]] if sections else config)[field] = value
    hashed = hashlib.sha256(json.dumps({**config, "name": "", "sha": data_sha256}).encode())
    path = folder / f"laptop-text-f{config['data']['fraction']:g}-s{seed}-{hashed.hexdigest()[:8]}"
    path.mkdir(parents=True)
    manifest = {
        "run": path.name,
        "config_hash": hashed.hexdigest(),
        "command": command or ["run.py", f"seed={seed}"],
        "seed": seed,
        "data": {
            "name": "text",
            "sha256": data_sha256,
            "bounds": {"train": [0, 900]},
            "tokens": {"train": train_tokens, "test": 0, "val": 100},
        },
        "tokenizer": {"name": "char", "sha256": "b" * 64},
        "git": {"commit": "c" * 40, "changed": []},
        "environment": ENVIRONMENT,
        "sources": sources or SOURCES,
        "resumes": resumes or [],
    }
    status = {"state": state, "reason": reason, "pid": os.getpid(), "host": socket.gethostname()}
    put(path, "config.yaml", yaml.safe_dump(config, sort_keys=False))
    put(path, "manifest.json", json.dumps(manifest, indent=2))
    put(path, "status.json", json.dumps(status))
    rows = curve(best or 2.0) if metrics is None else metrics
    put(path, "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if state == "done":
        summary = result(seed, best, test, bpb) | {"sample": sample}
        summary |= {} if old else {"ngrams": ngrams}
        summary["params"] = {"total": params, "non_embedding": max(0, params - 16512)}
        if not old:
            facts = {"run": path.name, "config": config, "config_hash": hashed.hexdigest()}
            facts |= {"data_sha256": data_sha256, "code": code_digest(manifest)}
            summary = facts | summary
        put(path, "summary.json", json.dumps(summary, indent=2))
    return path


def write_board(folder: Path, seed: int = 0, **keys: Any) -> Path:
    """A run directory below `folder`, as write_run makes it, with an event file."""
    from gptexp.runs.journal import read_journal
    from gptexp.runs.schema import read_summary
    from gptexp.runs.summary import scalars
    from gptexp.tracking.dashboard import RunInfo
    from gptexp.tracking.tensorboard import TensorBoard

    run = write_run(folder, seed, **keys)
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    lines = read_journal(run / "metrics.jsonl")
    board = TensorBoard(RunInfo(run, folder.name, config, None, lines, []))
    if (summary := read_summary(run)) is not None:
        board.values(summary["steps"], scalars(summary))
    board.close(0)
    return run


def put(path: Path, name: str, text: str) -> None:
    (path / name).write_text(text, encoding="utf-8")


def result(
    seed: int, best: float | None, test: float | None, bpb: float | None = 3.0
) -> dict[str, Any]:
    """The rest of summary.json: best at step 1000 + seed, ended 0.5 higher."""

    def evaluation(step: int, loss: float | None, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(f"{name} {seed} {best}".encode()).hexdigest()
        losses = {"val_loss": loss, "val_bpb": bpb, "train_loss": loss}
        seen = {"step": step, "tokens": 9 * step, "epochs": step / 100}
        return {**seen, **losses, "weights_sha256": digest}

    onset = {"step": 1500, "tokens": 13500, "epochs": 15.0, "val_loss": 3.0, "train_loss": 1.0}
    fall = {"verdict": "cliff", "onset": onset, "height": 0.5, "slope": 0.1, "gap": 0.2}

    return {
        "steps": 2000,
        "tokens": 18000,
        "epochs": 20.0,
        "flops": 1e9,
        "seconds": 60.0,
        "stop_reason": "all steps are done",
        "best": None if best is None else evaluation(1000 + seed, best, "best"),
        "final": evaluation(2000, None if best is None else best + 0.5, "final"),
        "cliff": None if best is None else fall,
        "test": None if test is None else {"loss": test, "bpb": bpb},
    }


def curve(best: float) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl: the training loss every 10 steps, an evaluation every 20."""
    rows: list[dict[str, Any]] = []
    for step in range(0, 60, 10):
        fall = 1 / (step + 1)
        if step:
            rows.append({"step": step, "seconds": step / 7, "train/loss": best + fall})
        if step % 20 == 0:
            losses = {"train/eval_loss": best - 0.1 + fall, "val/loss": best + fall}
            rows.append({"step": step, "seconds": step / 7, **losses})
    return rows


def valley(best: float, evaluations: int = 25, high: float = 0.5) -> list[dict[str, Any]]:
    """Evaluations that fall to `best`, halfway, and rise by `high`: an overfit cliff."""
    rows = []
    half = evaluations // 2
    for number in range(evaluations):
        away = (number - half) / half
        val = best + (high * away if away > 0 else 2 * away * away)
        step = 100 * number
        rows.append(
            {
                "step": step,
                "tokens": 9 * step,
                "epoch": step / 100,
                "seconds": step / 40,
                "train/eval_loss": best + 2 - 2.4 * number / evaluations,
                "val/loss": val,
                "val/bpb": val * 1.4,
                "val/stderr": 0.01,
            }
        )
    return rows
