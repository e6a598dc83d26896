"""torch.compile: whether it pays by itself, and its kernels kept from one run to the next."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from gptexp.errors import StorageError
from gptexp.files import user_cache

PAYS_ON = ("cuda",)  # kinds of devices where SAVES is taken to hold
COSTS = 60.0  # seconds that compiling both passes takes, with nothing in the cache
SAVES = 0.2  # of the training time, at least
COMPILERS = ("cc", "gcc", "clang")  # one of which the kernels need, on CUDA too
KERNELS = "TORCHINDUCTOR_CACHE_DIR"


def pays(device: str, seconds: float) -> bool:
    """Whether compiling saves more than it costs, where all steps without it take so long.

    It is taken to save a fifth of the training time on CUDA, and to cost a minute, so that it pays
    from five minutes on: both are cautious figures, and not measured by us. On a CPU it never
    does: there it saved a ninth of a step of one model and nothing of another's, and
    costs half a minute, more than most runs of such models have to save.
    """
    return device in PAYS_ON and SAVES * seconds > COSTS and can_compile()


def can_compile() -> bool:
    """Whether there is a compiler of C, without which kernels cannot be built."""
    return any(map(shutil.which, (os.environ.get("CC", ""), *COMPILERS)))


def compiled(model: torch.nn.Module) -> Any:
    """The model compiled, apart from what an earlier run of this process compiled."""
    keep_kernels()
    torch.compiler.reset()
    return torch.compile(model)


def keep_kernels() -> None:
    """Have torch keep what it builds in the user's cache folder, unless another place is set.

    Its own place is the temporary folder, which it names when it is imported, and which a restart
    of the machine empties.
    """
    given = os.environ.get(KERNELS)
    if given is not None and not Path(given).name.startswith("torchinductor_"):
        return
    with contextlib.suppress(OSError, StorageError):
        folder = user_cache() / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ[KERNELS] = str(folder)


def why_not_compiled(error: BaseException) -> str | None:
    """What torch.compile failed with, in a line; None for an error of anything else."""
    while error is not None and not type(error).__module__.startswith(
        ("torch._dynamo.", "torch._inductor.")
    ):
        error = error.__cause__  # type: ignore[assignment]
    return None if error is None else str(error).partition("\n")[0]
