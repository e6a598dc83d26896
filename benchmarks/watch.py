"""What `gptexp table --watch` costs: `python -m benchmarks.watch [RUNS]`.

RUNS directories of runs (1,000), of which four are running and log twice a second. The command is
run in a fresh process for ten seconds and for seventy, on a terminal of 200 columns and 50 lines
and into a pipe; the difference of its CPU times is that of a minute.
"""

import contextlib
import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from benchmarks import ROOT
from benchmarks.runs import COMMAND, train, write
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState

LIVE = 4
SHORT, LONG = 10, 70  # seconds
WINDOW = struct.pack("HHHH", 50, 200, 0, 0)


def main(count: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        runs = write(folder / "runs", train(folder), count)
        live = [RunDirectory(runs / f"run-{number}") for number in range(LIVE)]
        with contextlib.ExitStack() as locks:
            for directory in live:
                locks.enter_context(directory.locked())
                (directory.path / "summary.json").unlink()
                directory.set_status(RunState.running)
            threading.Thread(target=log, args=(live,), daemon=True).start()
            for name, on_terminal in (("on a terminal", True), ("into a pipe", False)):
                few, many = (cpu_seconds(runs, seconds, on_terminal) for seconds in (SHORT, LONG))
                share = (many - few) / (LONG - SHORT)
                print(
                    f"{name}: {few:.2f} s of CPU in the first {SHORT} s, then {share:.1%} of a core"
                )
    finally:
        shutil.rmtree(folder)


def log(live: list[RunDirectory]) -> None:
    """Add lines to the journals, every tenth an evaluation."""
    for number in range(1, 1_000_000):
        for directory in live:
            step = 24 + number
            seen = {"step": step, "tokens": 9 * step, "epoch": step / 100, "seconds": step / 2}
            values = {"train/loss": 1.5, "train/lr": 1e-3, "train/tokens_per_second": 15e3}
            lines = [seen | values]
            if number % 10 == 0:
                lines.append(
                    seen | {"train/eval_loss": 1.5, "val/loss": 2 - step / 1e6, "val/bpb": 3}
                )
            with contextlib.suppress(OSError), (directory.path / "metrics.jsonl").open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        time.sleep(0.5)


def cpu_seconds(runs: Path, seconds: float, on_terminal: bool) -> float:
    """The CPU time of the command, ended by SIGTERM after so many seconds."""
    if on_terminal:
        child, screen = pty.fork()
    else:
        screen, end = os.pipe()
        child = os.fork()
    if child == 0:
        if not on_terminal:
            os.dup2(end, 1)
        os.environ |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        os.execv(sys.executable, [sys.executable, "-c", COMMAND, "table", str(runs), "--watch"])
    if on_terminal:
        fcntl.ioctl(screen, termios.TIOCSWINSZ, WINDOW)
    else:
        os.close(end)
    threading.Timer(seconds, os.kill, (child, signal.SIGTERM)).start()
    with contextlib.suppress(OSError):  # a terminal's way to say that it is over
        while os.read(screen, 1 << 16):
            pass
    _, _, usage = os.wait4(child, 0)
    os.close(screen)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
