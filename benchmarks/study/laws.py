"""The laws of the flagship: fitted to its lines, and what they say of a model of 10.8M."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.study.lines import Line
from benchmarks.study.tables import table
from gptexp.laws.forms import LAWS
from gptexp.laws.frontier import cliff
from gptexp.laws.judge import JudgedLaw, judge_laws
from gptexp.laws.points import Points
from gptexp.report.law_views import band

SHARES = (0.125, 0.25, 0.5, 1.0)  # of a run whose evaluations are points of the laws
LEAST_CELLS = 20  # sizes by texts, from which laws are fitted

CLAIM_SIZE, CLAIM_TEXT, CLAIM_BATCH = 10_770_816, 1_003_854, 16_384  # model=medium
CLAIM_STEPS = 5000  # where its run ends: a step that is no later is foretold


@dataclass(frozen=True)
class Foretold:
    """Where a law has the least loss of model=medium, with its interval."""

    step: tuple[float, float, float]  # low, value, high
    loss: tuple[float, float, float]
    end: float  # loss at step 5,000


def points_of(lines: Sequence[Line]) -> Points:
    """Evaluations at SHARES of each run: under a constant rate each is the end of a shorter one."""
    rows = []
    for number, line in enumerate(lines):
        for share in SHARES if line.done and line.tokens else ():
            _, tokens, loss, _ = min(line.curve, key=lambda row: abs(row[1] - share * line.tokens))  # type: ignore[operator]
            if loss is not None:
                rows.append((line.params, tokens, loss, line.unique, number))
    return Points.of(*np.array(rows, dtype=np.float64).T)


def fitted(lines: Sequence[Line]) -> list[JudgedLaw]:
    """All laws by held-out error; none of too few cells."""
    cells = {(line.params, line.unique) for line in lines if line.done}
    return judge_laws(list(LAWS.values()), points_of(lines)) if len(cells) >= LEAST_CELLS else []


def compared(judged: Sequence[JudgedLaw]) -> list[str]:
    """The laws side by side."""
    rows = [
        (
            f"`{one.fit.law.name}`",
            *(
                f"{one.held_out[side].error:.1%}" if side in one.held_out else ""
                for side in ("models", "data")
            ),
            f"{one.r2:.4f}",
            ", ".join(parameter(one, name) for name in one.fit.values),
        )
        for one in judged
    ]
    head = ("law", "held-out error, models", "held-out error, data", "R2", "parameters")
    return [
        row.replace("---: |", "--- |") if number == 1 else row
        for number, row in enumerate(table(head, rows))
    ]


def parameter(one: JudgedLaw, name: str) -> str:
    """A parameter with its interval, or that the points do not tell it."""
    value, between = one.fit.values[name], one.intervals[name]
    unknown = ", not identified" if name in one.unidentified else ""
    return f"{name} {value:.3g} ({between.low:.3g} to {between.high:.3g}{unknown})"


def foretold(one: JudgedLaw) -> Foretold:
    """The step with the least loss, and that loss, of model=medium by a law."""
    size, text = np.array([float(CLAIM_SIZE)]), np.array([float(CLAIM_TEXT)])
    best = cliff(one, size, text)
    ends = np.concatenate([best.low, best.value, best.high]) / CLAIM_BATCH
    low, step, high = np.minimum(ends, CLAIM_STEPS).tolist()
    seen = CLAIM_BATCH * np.array([step, CLAIM_STEPS])
    points = Points.of(size.repeat(2), seen, np.ones(2), text.repeat(2))
    (loss, end), (least, most) = one.fit.loss(points), (side[0] for side in band(one, points))
    return Foretold((low, step, high), (float(least), float(loss), float(most)), float(end))
