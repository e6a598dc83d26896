"""How the processes that torchrun starts find each other: who one is, and the joining."""

import atexit
import itertools
import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache

from gptexp import console
from gptexp.config import TrainerConfig
from gptexp.errors import ConfigError, Problem, RankError
from gptexp.runtime.distributed import ALONE, Ranks

GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # by torchrun, to each process

_runs = itertools.count(1)  # of this process among others: all begin the same ones


def launched() -> Ranks:
    """This process among those that torchrun started with it, which are not joined yet.

    Raises ConfigError.
    """
    given = {name: os.environ.get(name) for name in GIVEN}
    if None in given.values():
        return ALONE
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        word = os.environ.get(name, given["RANK"] or "")
        if not word.isdecimal():
            what = f"{word!r} in the environment is no number"
            raise ConfigError(Problem(name, what, "start it by torchrun, or unset it"))
        numbers[name] = int(word)
    size = numbers["WORLD_SIZE"]
    if numbers["RANK"] >= max(size, 1):
        what = f"{numbers['RANK']} of {size} in the environment is none of theirs"
        raise ConfigError(Problem("RANK", what, "start it by torchrun, or unset it"))
    return Ranks(numbers["RANK"], size, numbers["LOCAL_RANK"]) if size > 1 else ALONE


def joined(cfg: TrainerConfig) -> Ranks:
    """This process and those that torchrun started with it, connected; raises RankError.

    It waits for the others for trainer.rank_timeout, here and ever after.
    """
    ranks = launched()
    if not ranks.several:
        return ALONE
    console.follow(ranks.rank, ranks.local)
    ranks = _joined(replace(ranks, timeout=cfg.rank_timeout))
    return replace(ranks, parallel=cfg.parallel, run=next(_runs))


@cache  # a process joins once, and waits as its first run says
def _joined(ranks: Ranks) -> Ranks:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of a rank that is gone we tell
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    limit, store, began = timedelta(seconds=ranks.timeout), None, time.monotonic()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=limit)))
        store = PrefixStore("gptexp", store)
        store.set(f"here/{ranks.rank}", "")
        own = PrefixStore("groups", store)
        dist.init_process_group(
            backend, store=own, rank=ranks.rank, world_size=ranks.size, timeout=limit
        )
    except (RuntimeError, ValueError, OSError) as error:
        absent = [0]
        with suppress(Exception):
            assert store is not None
            absent = [r for r in range(ranks.size) if not store.check([f"here/{r}"])]
        names = ", ".join(map(str, absent)) or "another"
        what, fix = f"did not come within {ranks.timeout} seconds", "look at its lines"
        if time.monotonic() - began < ranks.timeout / 2:  # nobody was waited for
            names, what = f"{ranks.rank}", f"cannot join the others, {error}".partition("\n")[0]
            fix = "look at their lines, or give another MASTER_PORT"
        lost = RankError(Problem(f"rank {names}", what, f"{fix}, and start again"))
        if not ranks.is_main:
            console.fatal("%s", lost)
        raise lost from error
    atexit.register(_leave_group)
    return replace(ranks, store=store)


def _leave_group() -> None:
    import torch.distributed as dist

    with suppress(Exception):
        dist.destroy_process_group()
