"""What a person sees of a training: a table of evaluations, and a bar below it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gptexp.config import AVERAGES
from gptexp.console import QUIET_SECONDS, brief, open_bar
from gptexp.text import duration, short

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger(__name__)

HEADER = (
    f"{'step':>7} {'tokens':>8} {'epochs':>7} {'train':>8} {'val':>8} {'best':>8} "
    f"{'lr':>8} {'tok/s':>7} {'left':>8}"
)


class Progress:
    """The table of one run's training, and its bar."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self.bar: tqdm | None = None  # type: ignore[type-arg]
        self.latest: dict[str, float] = {}  # the last line of the training loss
        self.first_step = 0
        self.started = self.shown = time.monotonic()

    @contextmanager
    def running(self, step: int) -> Iterator[None]:
        """Show the head of the table, and the bar where standard error is a terminal."""
        log.info("")
        log.info(HEADER)
        self.first_step = step
        self.started = self.shown = time.monotonic()
        self.bar = open_bar(
            "",
            self.max_steps,
            step,
            unit="step",
            smoothing=0,  # the time left is that of the column: by the speed since the beginning
            miniters=1,
        )
        try:
            yield
        finally:
            self.bar.close()

    def step(self) -> None:
        """Move the bar by one update."""
        if self.bar is not None:
            self.bar.update()

    def logged(self, step: int, values: dict[str, float]) -> None:
        """A line of the training loss: on the bar, or now and then as a row."""
        self.latest = values
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix_str(f"loss {values['train/loss']:.4f}", refresh=False)
        elif time.monotonic() - self.shown > QUIET_SECONDS:
            self._row(step, values, train=values["train/loss"])

    def evaluated(self, step: int, values: dict[str, float], best: float, improved: bool) -> None:
        """A row of the table, with a star where the validation loss is the best so far."""
        evaluation = f"{values['val/loss']:>8.4f} {best:>8.4f}"
        averages = {kind: values.get(f"val/{kind}_loss") for kind in AVERAGES}
        averages = {kind: loss for kind, loss in averages.items() if loss is not None}
        self._row(step, values, values["train/eval_loss"], evaluation, "  *" if improved else "")
        for kind, loss in averages.items():
            log.info(f"{kind:>33} {loss:>8.4f}")  # below val
        averaged = "".join(f"  {kind} {loss:.4f}" for kind, loss in averages.items())
        if (accuracy := values.get("val/accuracy")) is not None:
            log.info(f"{'answers':>33} {accuracy:>8.1%} right")
            averaged += f"  {accuracy:.1%} right"
        left = self._left(step)
        brief(
            f"step {step:>{len(f'{self.max_steps:,}')},} of {self.max_steps:,}  "
            f"train {values['train/eval_loss']:.4f}  val {values['val/loss']:.4f}"
            f"{' *' if improved else '  '}{averaged}{f'  {left} left' if left else ''}"
        )

    def _row(
        self,
        step: int,
        values: dict[str, float],
        train: float,
        evaluation: str = " " * 17,
        mark: str = "",
    ) -> None:
        lr, rate = self.latest.get("train/lr"), self.latest.get("train/tokens_per_second")
        log.info(
            f"{step:>7,} {short(values['tokens']):>8} {values['epoch']:>7.2f} {train:>8.4f} "
            f"{evaluation} {'' if lr is None else f'{lr:.1e}':>8} "
            f"{'' if rate is None else short(rate):>7} {self._left(step):>8}{mark}"
        )
        self.shown = time.monotonic()

    def _left(self, step: int) -> str:
        done = step - self.first_step
        if done == 0 or step >= self.max_steps:
            return ""
        return duration((time.monotonic() - self.started) / done * (self.max_steps - step))
