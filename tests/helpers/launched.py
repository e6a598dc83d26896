"""Ranks as torchrun starts them, but forked, so that none has to import torch: for their tests."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from interruptions import fork

from gptexp import console


class Ended(NamedTuple):
    """What a rank left: its exit code, negative for a signal, and what it wrote."""

    code: int
    out: str
    err: str


def launch(
    work: Callable[[int], int], folder: Path, size: int = 2, seconds: int = 60
) -> list[Ended]:
    """`work(rank)` by so many ranks, each killed after some seconds; the store is held here."""
    from torch.distributed import TCPStore

    host = "127.0.0.1"
    store = TCPStore(host, 0, None, True, timedelta(seconds=seconds), False)
    folder.mkdir(parents=True, exist_ok=True)
    children = []
    for rank in range(size):
        if not (child := fork()):
            given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
            given |= {"MASTER_ADDR": host, "MASTER_PORT": store.port}
            os.environ |= {name: str(value) for name, value in given.items()}
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            _work(lambda rank=rank: work(rank), folder / str(rank), seconds)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    files = [(folder / f"{rank}.out", folder / f"{rank}.err") for rank in range(size)]
    written = [(out.read_text(), err.read_text()) for out, err in files]
    return [Ended(code, *texts) for code, texts in zip(codes, written, strict=True)]


def _work(work: Callable[[], int], path: Path, seconds: int) -> None:
    """Do the work of a forked child, which ends here."""
    code = 99
    try:
        signal.alarm(seconds)
        sys.stdout = path.with_suffix(".out").open("w", buffering=1)
        sys.stderr = path.with_suffix(".err").open("w", buffering=1)
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            os.dup2(stream.fileno(), number)
        console.setup()
        code = work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
