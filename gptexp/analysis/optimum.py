"""Where a curve of a few means is lowest: between the points, or at an edge of what was tried."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Optimum:
    """The lowest place of a curve."""

    place: float
    loss: float  # there
    edge: str  # smaller or larger, where one has to look on; empty between two points


def optimum(points: Sequence[tuple[float, float]]) -> Optimum | None:
    """The lowest place of a curve of (place, loss) with rising places; None of less than three.

    Between its ends: the vertex of the parabola through the lowest point b and its neighbours a and
    c. In Newton's form with divided differences,

        p(x) = f(a) + f[a,b] (x - a) + f[a,b,c] (x - a) (x - b),
        vertex = (a + b) / 2 - f[a,b] / (2 f[a,b,c]),

    which is the step of successive parabolic interpolation (Brent, "Algorithms for Minimization
    without Derivatives", 1973, chapter 5). Neighbours and not the next lowest points: those bracket
    the lowest, so that the parabola opens upwards and its vertex lies between them; three lowest
    points that are not adjacent say that there are two valleys, or noise, and their parabola may
    have its vertex anywhere.
    """
    if len(points) < 3:
        return None
    lowest = min(range(len(points)), key=lambda number: points[number][1])
    if lowest in (0, len(points) - 1):
        return Optimum(*points[lowest], edge="smaller" if lowest == 0 else "larger")
    (a, f_a), (b, f_b), (c, f_c) = points[lowest - 1 : lowest + 2]
    f_ab, f_bc = (f_b - f_a) / (b - a), (f_c - f_b) / (c - b)
    f_abc = (f_bc - f_ab) / (c - a)
    place = (a + b) / 2 - f_ab / (2 * f_abc)
    return Optimum(place, f_a + f_ab * (place - a) + f_abc * (place - a) * (place - b), edge="")
