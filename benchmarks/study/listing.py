"""What of a study is done and left, and how long the rest takes."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.study.lines import Line
from benchmarks.study.points import Study, StudyPoint
from gptexp.runs.directory import OUTPUTS
from gptexp.sweep.plan import Planner
from gptexp.text import aligned, duration, plural

LEFT, WAITS = "to train", "waits for rates"


def listing(study: Study, lines: Sequence[Line]) -> list[str]:
    """A row for each point, and the sum; models are timed here, in some seconds."""
    known = {line.hash: line for line in lines}
    points = study.resolved(lines)
    planner = Planner(OUTPUTS)
    rows, states, seconds = [("state", "best val", "time", "stage", "point")], Counter[str](), 0.0
    for point in points:
        line = None if point.waits else known.get(point.hash)
        state = line.state if line else WAITS if point.waits else LEFT
        left = 0.0 if line else planner.cost(point.config).seconds
        states[state] += 1
        seconds += left
        best = f"{line.best.loss:.4f}" if line and line.best else ""
        took = line.cpu_seconds or line.seconds if line else left
        time = "" if took is None else duration(took) if line else f"about {duration(took)}"
        rows.append((state, best, time, point.stage, point.label))
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    total = f"{plural(len(points), 'point')}: {counted}; the rest about {duration(seconds)} in one"
    return [
        *aligned(rows, [False, True, True, False, False]),
        "",
        f"{total} process",
        *strangers(points, lines),
    ]


def strangers(points: Sequence[StudyPoint], lines: Sequence[Line]) -> list[str]:
    """Words about lines that are of no point, or of other code than most."""
    asked = {point.hash for point in points if not point.waits}
    others = sum(line.hash not in asked for line in lines)
    notes = [f"{plural(others, 'line')} of other points, as of an earlier grid"] if others else []
    return [*notes, *codes(lines)]


def codes(lines: Sequence[Line]) -> list[str]:
    """A word about lines by several states of the code; none where there is one."""
    counts = Counter(line.machine.code for line in lines if line.done)
    if len(counts) < 2:
        return []
    told = ", ".join(
        f"{plural(count, 'line')} by {'unknown code' if code is None else code[:8]}"
        for code, count in counts.most_common()
    )
    return [f"several states of the code: {told}"]
