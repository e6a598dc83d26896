"""gptexp: a research harness for small GPTs.

import gptexp
run = gptexp.load("outputs/default/laptop-shakespeare-f1-s0-1a2b3c4d")
run.model, run.tokenizer, run.config, run.metrics
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptexp.inference.load import LoadedRun

__version__ = "0.1.0"


def load(run: str | Path, device: str = "cpu") -> "LoadedRun":
    """Model (best weights, evaluation mode), tokenizer, config and metrics of a run directory.

    `run` may also be a checkpoint file; `device` is a torch device, such as cuda:0. Raises
    CheckpointError when there is no checkpoint that can be verified.
    """
    from gptexp.files import at_home
    from gptexp.inference.load import (
        load_run,  # imports torch, which `--cfg` and completion must not
    )

    return load_run(at_home(run), device)
