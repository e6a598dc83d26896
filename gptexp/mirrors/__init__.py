"""Dashboards: mirrors of the journals, each on a thread of its own, none of them needed."""

import os
from collections.abc import Callable

from gptexp.config import LoggerConfig
from gptexp.mirrors.background import Background
from gptexp.mirrors.mirror import Final, Mirror, Story

__all__ = ["Background", "Final", "Mirror", "Story", "open_mirrors", "openers"]


def open_mirrors(cfg: LoggerConfig, story: Story) -> list[Background]:
    """The dashboards that the config asks for; each is imported and opened on its own thread."""
    return [Background(name, opened) for name, opened in openers(cfg, story).items()]


def openers(cfg: LoggerConfig, story: Story) -> dict[str, Callable[[], Mirror]]:
    """What opens each dashboard that the config asks for, by its name."""
    wanted: dict[str, Callable[[], Mirror]] = {}
    if cfg.tensorboard:
        wanted["TensorBoard"] = lambda: _tensorboard(story)
    if cfg.wandb:
        wanted["W&B"] = lambda: _wandb(cfg, story)
    return wanted


def _tensorboard(story: Story) -> Mirror:
    from gptexp.mirrors.tensorboard import TensorBoard

    return TensorBoard(story)


def _wandb(cfg: LoggerConfig, story: Story) -> Mirror:
    # W&B reports its own errors to its server, and would wait ten seconds for one that is gone.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from gptexp.mirrors.wandb import WandB

    return WandB(cfg, story)
