"""`gptexp report`: the runs of a folder as one page, with its figures and numbers beside it."""

import contextlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gptexp.analysis.cliff import best_of
from gptexp.analysis.render import Cells, cells, render_table
from gptexp.analysis.table import Table, per_group, per_run
from gptexp.analysis.units import BITS, NATS
from gptexp.errors import ConfigError, Problem, StorageError
from gptexp.files import output_folder, read_regular, storage_errors, write_bytes, write_text
from gptexp.report import figures, interactive, law_section, loss_figures, ngram_baselines, overview
from gptexp.report.figures import ReportFigure
from gptexp.report.html import THEME, render
from gptexp.report.law_section import LawSection
from gptexp.report.ngram_baselines import NgramBaselines
from gptexp.report.points import Point, factors
from gptexp.report.points import points as group_points
from gptexp.report.results import (
    Bundle,
    Record,
    Results,
    bundles,
    part_bundles,
    read_results,
)
from gptexp.runs.lines import Lines
from gptexp.runs.state import RunState
from gptexp.text import in_shell, listed

TEMPLATE = Path(__file__).with_name("page.html.j2")

PAGE = "index.html"

MOST_SHOWN = 12  # commands, samples or notes, before the rest is folded

VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+)')

MOST_CHARACTERS = 2000  # of a sample

NUMBERS = "report.json"

MOST_NUMBERS = 2**28  # bytes of it

MADE = re.compile(r"\w+\.png|playground\.html")  # as figures are named, and what is beside them


@dataclass(frozen=True)
class Playable:
    """A page beside the report in which models can be tried."""

    page: str | None  # its file's name; None where there is none
    runs: list[str]  # the names of those in it
    notes: list[Problem]  # which runs could not be in it, and why; what is damaged of others


def report_folder(folder: Path, to: Path | None) -> Path:
    """The folder of the report of the runs in `folder`."""
    return to or folder / "report"


def write_report(
    folder: Path, to: Path | None = None, playable: Playable | None = None
) -> tuple[Path, list[Problem]]:
    """Write the report of the runs in `folder` into `to`, a folder, with a link to a playable page.

    Returns the page, and what is damaged among the runs, which the page tells too.

    Beside the page lie the figures as PNG, runs.csv, groups.csv, and the numbers behind the figures
    as report.json. Raises ConfigError for a folder without a curve or a finished run, StorageError.
    """
    results = read_results(folder)
    _require_something(results, folder)
    target = output_folder(report_folder(folder, to), is_chosen=to is not None)
    drawn, with_curves = bundles(results)
    points = group_points(results)
    varied = factors(points, results.by)
    baselines = ngram_baselines.of(results)
    cliffs = figures.cliffs(drawn, with_curves, list(results.records.values()), baselines)
    drawn_parts, of_parts = part_bundles(results)
    parts = figures.parts(drawn_parts, of_parts, list(results.records.values()))
    others = loss_figures.drawn(points, varied)
    law = law_section.section(results.runs)
    by_run, by_group = per_run(results.runs), per_group(results.runs, results.by)
    facts = overview.facts(results, baselines)
    unplayable = map(str, playable.notes) if playable else ()
    text = render(
        TEMPLATE,
        theme=Markup(THEME),
        most=MOST_SHOWN,
        facts=facts,
        commands=overview.commands(results),
        cliffs=[_figure(figure) for figure in cliffs],
        hover=interactive.curves(drawn, "hover"),
        parts=[_figure(figure) for figure in parts],
        others=[_figure(figure) for figure in others],
        left_out=loss_figures.left_out(points, varied, len(others)),
        law=None if law is None else _law(law),
        samples=_samples(results),
        playable=playable,
        groups=_rows(by_group, [bool(row["runs"].marks) for row in by_group.rows]),
        runs=_rows(by_run, [row["state"] != RunState.done for row in by_run.rows]),
        notes=[*by_group.notes, *map(str, results.damaged), *results.notes, *unplayable],
    )
    drawn_all = (*cliffs, *parts, *others, *([] if law is None else law.every_figure))
    pictures = {f"{figure.name}.png": figure.png() for figure in drawn_all}
    beside = [*pictures, *([playable.page] if playable and playable.page else [])]
    _remove_stale(target, beside)
    for name, picture in pictures.items():
        write_bytes(target / name, picture)
    write_text(target / "runs.csv", render_table(by_run, "csv") + "\n")
    write_text(target / "groups.csv", render_table(by_group, "csv") + "\n")
    numbers = _numbers(facts, beside, drawn, drawn_parts, points, by_group, baselines)
    write_text(target / NUMBERS, numbers)
    write_text(target / PAGE, text)
    return target / PAGE, results.damaged


def _require_something(results: Results, folder: Path) -> None:
    """Raise ConfigError where no run is done and none has a curve."""
    records = results.records.values()
    if not any(record.run.done or record.curve for record in records):
        why = listed([f"{record.run.path.name} {record.run.state}" for record in records])
        fix = f"see why with gptexp table {in_shell(folder)}, and run their commands again"
        what = f"no run is done or has an evaluation, of {len(records)} ({why})"
        raise ConfigError(Problem(folder, what, fix))


def _samples(results: Results) -> list[dict[str, str]]:
    """The label of each group, and a text of its run with the lowest best loss, with its origin."""
    samples = []
    for group in results.groups:
        records = [record for record in results.of(group) if record.run.done]
        records.sort(key=lambda record: (record.run.best is None, record.run.best))
        if records and records[0].sample is not None and records[0].run.best is not None:
            run, text = records[0].run, records[0].sample
            origin = f"seed {run.seed}, best loss {run.best:.4f}"
            origin += f"{'' if results.unit == NATS else f' {BITS}'} at step {run.best_step:,}"
        else:
            text, origin = _last_sample(results.of(group))
        samples.append({"label": results.label(group), "origin": origin, "text": shortened(text)})
    return samples


def _last_sample(records: Sequence[Record]) -> tuple[str, str]:
    """A text of a group without a finished run, the last up to a run's best, and its origin."""
    for record in records:
        best = best_of(record.curve).step if record.curve else 0
        run, shown = record.run, None
        with contextlib.suppress(StorageError):
            for line in Lines(run.path / "samples.jsonl"):
                shown = line if shown is None or line["step"] <= best else shown
        if shown is not None:
            origin = f"seed {run.seed}, {run.state}; sample of step {shown['step']:,}"
            return f"{shown.get('prompt', '')}{shown.get('text', '')}", origin
    return "", f"{records[0].run.state}; no sample"


def shortened(text: str) -> str:
    """At most MOST_CHARACTERS of the text, and how many more there are."""
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]}\n... and {more:,} characters more"


def _figure(figure: ReportFigure) -> dict[str, Any]:
    """A figure for the template; the SVGs are markup of our own, as wide as `points`."""
    values = {key: getattr(figure, key) for key in ("name", "title", "alt", "caption", "legend")}
    svgs = figure.svgs()
    box = VIEW_BOX.search(svgs[0])
    assert box is not None, "style.svg writes one"
    return {**values, "svgs": [Markup(svg) for svg in svgs], "points": float(box[1])}


def _law(section: LawSection) -> dict[str, Any]:
    """The section on a law for the template."""
    return {
        **{key: getattr(section, key) for key in ("lead", "known", "errors", "formula")},
        "compared": section.compared and _cells(section.compared),
        "parameters": section.parameters and _cells(section.parameters),
        "figures": [_figure(figure) for figure in section.figures],
        "best": [
            {
                "formula": best.formula,
                "errors": best.errors,
                "parameters": _cells(best.parameters),
                "optima": _cells(best.optima),
                "figures": [_figure(figure) for figure in best.figures],
            }
            for best in section.best
        ],
    }


def _rows(shown: Table, marked: Sequence[bool]) -> dict[str, Any]:
    """A table for the template, with the rows to mark, since not all of their runs are done."""
    return _cells(cells(shown), marked)


def _cells(made: Cells, marked: Sequence[bool] = ()) -> dict[str, Any]:
    return {
        "columns": made.heads,
        "numeric": made.numeric,
        "rows": list(zip(made.rows, marked or [False] * len(made.rows), strict=True)),
    }


def _numbers(
    facts: dict[str, list[str]],
    pictures: Sequence[str],
    drawn: Sequence[Bundle],
    parts: Sequence[Bundle],
    points: Sequence[Point],
    groups: Table,
    baselines: NgramBaselines | None,
) -> str:
    """The numbers behind every figure, as JSON."""
    values = {
        "facts": facts,
        "pictures": pictures,
        "cliffs": [asdict(bundle) for bundle in drawn],
        "parts": [_of_part(bundle) for bundle in parts],
        "ngrams": None if baselines is None else asdict(baselines),
        "points": [asdict(point) for point in points],
        "groups": json.loads(render_table(groups, "json")),
    }
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _of_part(bundle: Bundle) -> dict[str, Any]:
    """The numbers of a part of a mix, which has no training loss of its own."""
    values = asdict(bundle)
    keys = ("step", "tokens", "epochs", "val_loss")
    curves = [[{key: point[key] for key in keys} for point in curve] for curve in values["curves"]]
    return {**values, "curves": curves}


def _remove_stale(folder: Path, written: Collection[str]) -> None:
    """Delete what an earlier report had, as its numbers name it, that this one lacks."""
    try:
        earlier = json.loads(read_regular(folder / NUMBERS, MOST_NUMBERS))["pictures"]
        names = {name for name in earlier if MADE.fullmatch(name)}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # there is none that could be told from files of somebody else
    with storage_errors(folder):
        for name in names.difference(written):
            (folder / name).unlink(missing_ok=True)
