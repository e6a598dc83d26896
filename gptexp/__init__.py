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

    `run` may also be a checkpoint file, or say which run as it does after a verb, best:outputs/lr;
    `device` is a torch device, such as cuda:0. Raises ConfigError when no run, or more than one, is
    meant, and CheckpointError when there is no checkpoint that can be verified.
    """
    from gptexp.analysis.find import find_run
    from gptexp.inference.load import (
        load_run,  # imports torch, which `--cfg` and completion must not
    )

    return load_run(find_run(run).path, device)
