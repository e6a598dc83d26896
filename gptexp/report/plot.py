"""`gptexp plot`: one figure of the report as a picture of its own."""

import logging
from collections.abc import Sequence
from pathlib import Path

from gptexp.analysis.labels import short_names
from gptexp.errors import ConfigError, Problem
from gptexp.files import storage_errors, write_atomic
from gptexp.report import figures, loss_figures
from gptexp.report.charts import AXES
from gptexp.report.figures import ReportFigure
from gptexp.report.points import COUNTED, Factor, Point, factor
from gptexp.report.points import points as group_points
from gptexp.report.results import Results, bundles, read_results
from gptexp.report.style import WIDE
from gptexp.text import listed, unknown_name

log = logging.getLogger(__name__)

FORMATS = (".png", ".svg", ".pdf")


def plot(paths: Sequence[Path], by: str, to: Path | None = None) -> tuple[Path, list[Problem]]:
    """Draw runs, or folders of them, into the file `to`, which is named after the figure if None.

    `by` is one of AXES, for the curves; or one or two things that vary, for the best loss over
    them: config keys, or their last words where these say it all, or one of COUNTED. Returns the
    file, and what is damaged among the runs. Raises ConfigError, StorageError.
    """
    if to is not None and to.suffix not in FORMATS:
        known = f"a name with {', '.join(FORMATS)}"
        raise ConfigError(Problem("--to", f"{to} is no picture", known))
    results = read_results(*paths)
    for words in results.notes:
        log.warning("%s", words)
    figure = _curves(results, by) if by in AXES else _losses(results, by)
    target = to or Path("cliffs.png" if by in AXES else f"{figure.name}.png")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    picture, form = figure.draw(WIDE, True), target.suffix.removeprefix(".")
    write_atomic(target, lambda file: picture.savefig(file, format=form))
    return target, results.damaged


def _curves(results: Results, by: str) -> ReportFigure:
    records = list(results.records.values())
    for record in records:
        path = record.run.path
        if not record.curve and not any(str(path) in words for words in results.notes):
            log.warning("%s: holds no evaluation yet, so it is left out", path)
    drawn, groups = bundles(results)
    if not drawn:
        problem = Problem("runs", "none holds an evaluation", "name a run that has got that far")
        raise ConfigError(problem)
    return dict(zip(AXES, figures.cliffs(drawn, groups, records), strict=True))[by]


def _losses(results: Results, by: str) -> ReportFigure:
    points, names = group_points(results), [name.strip() for name in by.split(",")]
    if not points:
        what = "no run is done with a finite loss"
        raise ConfigError(Problem("--by", what, f"one of {', '.join(AXES)} draws what there is"))
    over = [_factor(results, points, name, [] if names[1:] else list(AXES)) for name in names]
    if len(over) == 1:
        return loss_figures.losses(points, over[0])
    if len(over) > 2 or over[0].key == over[1].key:
        raise ConfigError(Problem("--by", f"{by} is not one key, or two", "name one or two"))
    made = loss_figures.maps(points, *over)
    if not made:
        most = f"at most {loss_figures.MOST_SIDE} values each"
        raise ConfigError(Problem("--by", f"{by} have too many values for a map", most))
    return made[-1]


def _factor(results: Results, points: Sequence[Point], name: str, axes: Sequence[str]) -> Factor:
    """What varies and goes by that name; raises ConfigError, with `axes` as names that would do."""
    by = results.by
    counts = [count for count in COUNTED if len({point.at.get(count) for point in points}) > 1]
    known = [*by, *(count for count in counts if all(count in point.at for point in points))]
    keys = dict(zip([*short_names(by), *known], [*by, *known], strict=True))
    if name in keys:
        return factor(points, by, keys[name])
    config = {key for record in results.records.values() for key in record.run.config}
    if not keys or any(f".{key}".endswith(f".{name}") for key in config):
        what = f"{name} does not tell these runs apart"
        raise ConfigError(Problem("--by", what, f"use one of {listed([*axes, *known])}"))
    raise ConfigError(unknown_name("--by", name, [*axes, *known]))
