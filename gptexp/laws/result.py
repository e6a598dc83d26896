"""fit.json: what laws were fitted to, and what came out; written whole."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from gptexp.files import write_json
from gptexp.laws.bootstrap import LEVEL
from gptexp.laws.held_out import HeldOut
from gptexp.laws.judge import Interval, JudgedLaw
from gptexp.laws.observed import Observations, Rejections
from gptexp.laws.power_law import LawOfOptima
from gptexp.laws.verdict import in_sample, why_no_optimum, why_not
from gptexp.runs.schema import Number

NAME = "fit.json"

FORMAT: Literal[1] = 1  # of the file


class Row(TypedDict):
    """A point: parameters, tokens seen, unique tokens among them, and the loss."""

    label: str
    n: Number
    tokens: Number
    unique: Number
    loss: Number
    flops: NotRequired[Number]


class LeftOut(TypedDict):
    """See observed.Rejected."""

    label: str
    reason: str


class Conventions(TypedDict):
    """What the columns of a point are."""

    columns: str
    unit: str


class Estimate(TypedDict):
    """A parameter of a law, with its interval; None for what is not finite."""

    value: float | None
    low: float | None
    high: float | None


class Missed(TypedDict):
    """The median relative error on rows that were left out of the fit, as a share of 1."""

    error: float | None
    rows: int


class LawResult(TypedDict):
    """One law; see judge.JudgedLaw."""

    name: str
    formula: str
    source: str
    holds: bool
    why_not: str  # in words; empty where it holds
    objective: float | None
    parameters: dict[str, Estimate]
    r2: float | None
    in_sample: float | None  # median relative error on what it was fitted to
    held_out: dict[str, Missed]  # by what was left out: models, data
    unidentified: dict[str, str]
    optima: NotRequired[list[dict[str, Number]]]  # of a law of what is best: what it was fitted to
    unknown: NotRequired[list[LeftOut]]  # of one: curves without an optimum, the first of each kind
    unknown_counts: NotRequired[dict[str, int]]  # of all of these, by kind of reason


class FitResult(TypedDict):
    """The file; laws of the loss by held-out error, the best first, then those of what is best."""

    format: Literal[1]
    points: list[Row]
    rejected: list[LeftOut]  # the first of each kind of reason
    rejected_counts: NotRequired[dict[str, int]]  # of all, by kind of reason
    notes: list[str]
    conventions: Conventions
    level: float  # share that an interval holds
    draws: int  # of the bootstrap
    seed: int
    laws: list[LawResult]


def write_result(
    folder: Path,
    observed: Observations,
    judged: Sequence[JudgedLaw],
    draws: int,
    seed: int,
    best: Sequence[LawOfOptima] = (),
) -> Path:
    """Write fit.json in the folder, which is there; returns it. Raises StorageError."""
    value: FitResult = {
        "format": FORMAT,
        "points": _rows(observed),
        "rejected": _left_out(observed.rejected),
        "rejected_counts": dict(observed.rejected.counts),
        "notes": observed.notes,
        "conventions": {"columns": observed.convention, "unit": observed.unit},
        "level": LEVEL,
        "draws": draws,
        "seed": seed,
        "laws": [*(_law(one, observed) for one in judged), *(_of_optima(one) for one in best)],
    }
    write_json(folder / NAME, value)
    return folder / NAME


def _rows(observed: Observations) -> list[Row]:
    points = observed.points
    rows: list[Row] = []
    for i, label in enumerate(observed.labels):
        columns = {
            name: float(getattr(points, name)[i]) for name in ("n", "tokens", "unique", "loss")
        }
        flops = {} if observed.flops is None else {"flops": float(observed.flops[i])}
        row: Any = {"label": label, **columns, **flops}
        rows.append(row)
    return rows


def _law(judged: JudgedLaw, observed: Observations) -> LawResult:
    law, why = judged.fit.law, why_not(judged, observed.points)
    return {
        "name": law.name,
        "formula": law.formula,
        "source": law.source,
        "holds": not why,
        "why_not": why,
        "objective": finite(judged.fit.objective),
        "parameters": _parameters(judged.fit.values, judged.intervals),
        "r2": finite(judged.r2),
        "in_sample": finite(in_sample(judged, observed.points)),
        "held_out": _held_out(judged.held_out),
        "unidentified": judged.unidentified,
    }


def _of_optima(law: LawOfOptima) -> LawResult:
    fit, why = law.fits[0], why_no_optimum(law)
    return {
        "name": law.name,
        "formula": law.formula,
        "source": law.source,
        "holds": not why,
        "why_not": why,
        "objective": finite(float(fit.residuals @ fit.residuals)),
        "parameters": _parameters(law.values, law.intervals),
        "r2": finite(fit.r2),
        "in_sample": finite(fit.in_sample),
        "held_out": _held_out(law.held_out),
        "unidentified": law.unidentified,
        "optima": [dict(one) for one in law.optima],
        "unknown": _left_out(law.rejected),
        "unknown_counts": dict(law.rejected.counts),
    }


def _parameters(values: dict[str, float], intervals: dict[str, Interval]) -> dict[str, Estimate]:
    return {
        name: {
            "value": finite(value),
            "low": finite(intervals[name].low),
            "high": finite(intervals[name].high),
        }
        for name, value in values.items()
    }


def _held_out(sides: dict[str, HeldOut]) -> dict[str, Missed]:
    return {
        side: {"error": finite(one.error), "rows": int(one.rows.sum())}
        for side, one in sides.items()
    }


def _left_out(rejected: Rejections) -> list[LeftOut]:
    return [{"label": one.label, "reason": one.reason} for one in rejected.first]


def finite(value: float) -> float | None:
    """The number; None in place of one that JSON has no word for."""
    return float(value) if math.isfinite(value) else None
