"""Runs that a SIGTERM ends once they are saved."""

import os
import signal
from pathlib import Path

import pytest
from interruptions import before

from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.training.trainer import Trainer


def terminate_after(step: int, config: Config, outputs: Path) -> None:
    """Run `config` until a SIGTERM in the step after `step`."""

    def send(self: Trainer) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        before(Trainer, "train_step", send, patch)
        assert run_experiment(config, outputs).exit_code == 143
