"""What was measured, as a table."""

import statistics
from dataclasses import dataclass

import torch

from gptexp.runs.provenance import cpu
from gptexp.runtime.device import Runtime

HEADER = f"{'what':46} {'median':>8} {'':8} {'spread':>18} {'runs':>5}  target"


@dataclass(frozen=True)
class Row:
    """One line, over a value of each run."""

    what: str
    values: list[float]
    unit: str = ""
    at_most: float | None = None  # the target

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        spread = f"{_number(min(self.values))}..{_number(max(self.values))}"
        line = f"{self.what:46} {_number(self.median):>8} {self.unit:8} {spread:>18}"
        line += f" {len(self.values):>5}"
        if self.at_most is not None:
            kept = "" if self.median <= self.at_most else ", MISSED"
            line += f"  at most {self.at_most:g} {self.unit}{kept}"
        return line


def machine(where: Runtime) -> str:
    """One line: what the numbers were taken on."""
    threads = torch.get_num_threads()
    return f"{cpu()}, {threads} threads, torch {torch.__version__}, on {where.describe()}"


def _number(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 20 else 3
    return f"{value:,.{digits}f}"
