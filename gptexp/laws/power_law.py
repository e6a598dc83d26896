"""Laws of what is best: how the best size, or learning rate, goes with compute, size and data."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gptexp.laws.bootstrap import ENDS
from gptexp.laws.held_out import HeldOut
from gptexp.laws.judge import Interval
from gptexp.laws.law import Parameter
from gptexp.laws.observed import Rejections
from gptexp.laws.points import Array
from gptexp.laws.valley import Curve, Valley

DRAWS = 2000  # of a straight line they cost nothing
Optimum = dict[str, float]  # what is best, and what for, by name

FLAT = 1e-3  # of the spread of logarithms: what varies less along a direction does not vary


def power(name: str) -> Parameter:
    """An exponent of either sign."""
    return Parameter(name, -np.inf, np.inf)


def logarithm(name: str) -> Parameter:
    """The logarithm of a factor."""
    return Parameter(name, -np.inf, np.inf)


def columns(optima: Sequence[Optimum], *names: str) -> Array:
    """Some values [row, name] of each optimum."""
    return np.array([[one[name] for name in names] for one in optima]).reshape(-1, len(names))


@dataclass(frozen=True)
class PowerLaw:
    """y = factor x_1^power_1 x_2^power_2 ..., fitted by least squares of logarithms."""

    parameters: tuple[Parameter, ...]  # the factor, and a power for each x that varies
    varied: tuple[int, ...]  # which x those are
    at: Array  # coordinates [parameter]: see law.Parameter
    draws: Array  # coordinates [draw, parameter] that may as well be true
    residuals: Array  # differences of logarithms [row]
    r2: float  # of the logarithms

    @property
    def in_sample(self) -> float:
        """The median relative error on what it was fitted to, as a share of 1."""
        return float(np.median(np.abs(np.expm1(-self.residuals))))

    def predict(self, x: Array) -> Array:
        """y [row] at x [row, x]."""
        return np.exp(self.at[0] + np.log(x[:, self.varied]) @ self.at[1:])

    @property
    def values(self) -> dict[str, float]:
        """The parameters by name."""
        pairs = zip(self.parameters, self.at, strict=True)
        return {one.name: float(one.value(at)) for one, at in pairs}

    @property
    def intervals(self) -> dict[str, Interval]:
        """Between what values each parameter lies, with the probability bootstrap.LEVEL."""
        low, high = np.percentile(self.draws, ENDS, axis=0)
        ends = zip(self.parameters, low, high, strict=True)
        return {p.name: Interval(float(p.value(a)), float(p.value(b))) for p, a, b in ends}


@dataclass(frozen=True)
class Profile:
    """The losses of a budget over the size of its models."""

    flops: float
    sizes: Curve
    valley: Valley


@dataclass(frozen=True)
class LawOfOptima:
    """A law of what is best, with what is known of it."""

    name: str
    what: str  # that is best, as the first fit has it: the best N
    formula: str
    source: str
    fits: tuple[PowerLaw, ...]
    unidentified: dict[str, str]  # why the points do not tell a parameter
    held_out: dict[str, HeldOut]  # by what was left out, of the first fit: budgets, models
    optima: list[Optimum]  # that were fitted
    rejected: Rejections  # curves without an optimum that is known
    profiles: list[Profile] = field(default_factory=list)  # of the budgets among the optima

    @property
    def error(self) -> float | None:
        """The median relative error on what was held out; None where there is none."""
        return max((one.error for one in self.held_out.values()), default=None)

    @property
    def values(self) -> dict[str, float]:
        """The parameters by name."""
        return {name: value for fit in self.fits for name, value in fit.values.items()}

    @property
    def intervals(self) -> dict[str, Interval]:
        """Between what values each parameter lies, with the probability bootstrap.LEVEL."""
        return {name: one for fit in self.fits for name, one in fit.intervals.items()}


@dataclass(frozen=True)
class NoLaw:
    """A law of what is best that could not be fitted."""

    name: str
    reason: str
    rejected: Rejections  # curves without an optimum that is known


def fit_power(
    parameters: Sequence[Parameter], x: Array, y: Array, draws: int = DRAWS, seed: int = 0
) -> PowerLaw | str:
    """y [row] as a power law of x [row, x], or why it cannot be fitted.

    An x that does not vary has no power, and its parameter is left out. Draws are those of a
    parametric bootstrap, studentised (Efron and Tibshirani 1993, chapter 12): of residuals that are
    normal and of a size which is itself estimated from few rows, so that intervals are those of
    Student's t.
    """
    if len(y) < 2:
        return "too few: 1 optimum, and 3 are the least" if len(y) else "no optimum is known"
    logs, target = np.log(x), np.log(y)
    centre, mean = logs.mean(axis=0), target.mean()
    varied = tuple(int(i) for i in np.flatnonzero(np.ptp(logs, axis=0) > FLAT))
    rows, free = len(y), 1 + len(varied)
    if rows <= free or not varied:
        return f"too few: {rows} optima, and {max(free, 2) + 1} that differ are the least"
    moved = (logs - centre)[:, varied]
    spread = np.linalg.svd(moved, compute_uv=False)
    if spread[-1] < FLAT * spread[0]:
        return "what it goes with grows together in all of the points: one power cannot be told"
    powers = np.linalg.lstsq(moved, target - mean, rcond=None)[0]
    residuals = target - mean - moved @ powers
    squares = float(residuals @ residuals)
    at = np.concatenate([[mean], powers])
    drawn = at + _students(moved, squares, draws, seed)
    total = float(((target - mean) ** 2).sum())
    return PowerLaw(
        parameters=(parameters[0], *(parameters[1 + i] for i in varied)),
        varied=varied,
        at=_uncentred(at, centre[list(varied)]),
        draws=_uncentred(drawn, centre[list(varied)]),
        residuals=residuals,
        r2=1 - squares / total if total > 0 else 0.0,
    )


def hold_out_largest(
    parameters: Sequence[Parameter], x: Array, y: Array, largest: Array
) -> HeldOut | None:
    """The power law fitted without the rows of the largest value, and what it says of those.

    None where what is left has no fit that knows as many powers.
    """
    rows = largest >= largest.max() * (1 - FLAT)
    whole, kept = fit_power(parameters, x, y), fit_power(parameters, x[~rows], y[~rows], draws=1)
    if isinstance(kept, str) or isinstance(whole, str) or kept.varied != whole.varied:
        return None
    return HeldOut(rows, kept.predict(x[rows]), y[rows])


def _students(moved: Array, squares: float, draws: int, seed: int) -> Array:
    """How far [draw, parameter] the centred fit may be from what is true."""
    random = np.random.default_rng(seed)
    rows, free = len(moved), 1 + moved.shape[1]
    scale = np.sqrt(squares / random.chisquare(rows - free, draws))
    normal = random.standard_normal((draws, free))
    root = np.linalg.inv(np.linalg.qr(moved, mode="r"))  # of the inverse of moved' moved
    return scale[:, None] * np.column_stack([normal[:, 0] / np.sqrt(rows), normal[:, 1:] @ root.T])


def _uncentred(at: Array, centre: Array) -> Array:
    """Coordinates [..., parameter] with the factor where every x is 1, and not at the centre."""
    factor = at[..., 0] - at[..., 1:] @ centre
    return np.concatenate([factor[..., None], at[..., 1:]], axis=-1)
