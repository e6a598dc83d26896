"""Runs as a notebook has them: a list that shows itself as a table and gives rows for a frame."""

from typing import Any

from gptexp.analysis.records import Run
from gptexp.analysis.render import render_table
from gptexp.analysis.table import per_run

FIGURES = ("params", "best", "best_step", "final", "height", "test")


class Runs(list[Run]):
    """Runs in the order of their folders."""

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict for each run, as pandas.DataFrame and polars.DataFrame take them.

        Its config by dotted keys (optim.lr), then its state, its figures as a table has them
        (losses in nats per token, None where there is none) and its path.
        """
        return [
            {
                **run.config,
                "state": str(run.state),
                **{name: getattr(run, name) for name in FIGURES},
                "path": str(run.path),
            }
            for run in self
        ]

    def __repr__(self) -> str:
        return render_table(per_run(self), "text") if self else "no runs"
