"""The dashboards that a config asks for, each on a thread of its own, none of them needed."""

import os
from collections.abc import Callable

from gptexp.config import LoggerConfig
from gptexp.tracking.background import Background
from gptexp.tracking.dashboard import Dashboard, RunInfo


def open_dashboards(cfg: LoggerConfig, info: RunInfo) -> list[Background]:
    """The dashboards that the config asks for; each is imported and opened on its own thread."""
    return [Background(name, opener) for name, opener in openers(cfg, info).items()]


def openers(cfg: LoggerConfig, info: RunInfo) -> dict[str, Callable[[], Dashboard]]:
    """The functions that open the dashboards that the config asks for, by name."""
    wanted: dict[str, Callable[[], Dashboard]] = {}
    if cfg.tensorboard:
        wanted["TensorBoard"] = lambda: _tensorboard(info)
    if cfg.wandb:
        wanted["W&B"] = lambda: _wandb(cfg, info)
    return wanted


def _tensorboard(info: RunInfo) -> Dashboard:
    from gptexp.tracking.tensorboard import TensorBoard

    return TensorBoard(info)


def _wandb(cfg: LoggerConfig, info: RunInfo) -> Dashboard:
    # W&B reports its own errors to its server, and would wait ten seconds for one that is gone.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from gptexp.tracking.wandb import WandB

    return WandB(cfg, info)
