"""`gptexp report`: the runs of a folder as one page, with its figures and numbers beside it."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from gptexp.analysis import table
from gptexp.analysis.cliff import best_of
from gptexp.analysis.table import Table
from gptexp.files import storage_errors, write_bytes, write_text
from gptexp.report import figures, ngram_baselines, overview, results
from gptexp.report.figures import ReportFigure
from gptexp.report.ngram_baselines import NgramBaselines
from gptexp.report.results import Bundle, Record, Results, Size
from gptexp.runs.journal import read_journal
from gptexp.runs.state import RunState

TEMPLATE = Path(__file__).with_name("page.html.j2")

PAGE = "index.html"

MOST_SHOWN = 12  # commands, samples or notes, before the rest is folded

VIEW_BOX = re.compile(r'viewBox="0 0 ([\d.]+)')

MOST_CHARACTERS = 2000  # of a sample

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # which no page may hold

# As exhibits.py names them; by name, since the folder may hold pictures of somebody else.
PICTURES = frozenset(
    f"{name}.png"
    for name in (
        *("cliffs_step", "cliffs_tokens", "cliffs_epochs"),
        *("cliff_map", "loss_by_params", "loss_by_tokens"),
    )
)


def write_report(folder: Path, to: Path | None = None) -> Path:
    """Write the report of the runs in `folder` into `to`, a folder; returns the page.

    Beside the page lie the figures as PNG, runs.csv, groups.csv, and the numbers behind the figures
    as report.json. Raises ConfigError for a folder without a finished run, StorageError.
    """
    found = results.read_results(folder)
    target = to or folder / "report"
    with storage_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    bundles, with_curves = results.bundles(found)
    sizes = results.sizes(found)
    counting = ngram_baselines.of(found)
    cliffs = figures.cliffs(bundles, with_curves, len(found.records), counting)
    others = [*figures.cliff_map(sizes), *figures.losses(sizes)]
    all_runs = [record.run for record in found.records.values()]
    per_run, per_group = table.per_run(all_runs), table.per_group(all_runs, found.by)
    facts = overview.facts(found, counting)
    text = _page(
        facts=facts,
        commands=overview.commands(found),
        cliffs=[_figure(exhibit) for exhibit in cliffs],
        others=[_figure(exhibit) for exhibit in others],
        left_out=figures.left_out(sizes),
        samples=_samples(found),
        groups=_rows(per_group, [bool(row["runs"].marks) for row in per_group.rows]),
        runs=_rows(per_run, [row["state"] != RunState.done for row in per_run.rows]),
        notes=[*per_group.notes, *found.notes],
    )
    pictures = {f"{exhibit.name}.png": exhibit.png() for exhibit in (*cliffs, *others)}
    _remove_stale(target, pictures)
    for name, picture in pictures.items():
        write_bytes(target / name, picture)
    write_text(target / "runs.csv", table.render_table(per_run, "csv") + "\n")
    write_text(target / "groups.csv", table.render_table(per_group, "csv") + "\n")
    write_text(target / "report.json", _numbers(facts, bundles, sizes, per_group, counting))
    write_text(target / PAGE, text)
    return target / PAGE


def _samples(found: Results) -> list[dict[str, str]]:
    """Of each group, the text of the run with the lowest best loss."""
    samples = []
    for group in found.groups:
        records = [record for record in found.of(group) if record.run.done]
        records.sort(key=lambda record: (record.run.best is None, record.run.best))
        if records and records[0].sample is not None and records[0].run.best is not None:
            run, text = records[0].run, records[0].sample
            origin = f"seed {run.seed}, best loss {run.best:.4f} at step {run.best_step:,}"
        else:
            text, origin = _last_sample(found.of(group))
        samples.append({"label": found.label(group), "origin": origin, "text": shortened(text)})
    return samples


def _last_sample(records: Sequence[Record]) -> tuple[str, str]:
    """Of a group without a finished run: what a run had written last by its best evaluation."""
    for record in records:
        best = best_of(record.curve).step if record.curve else 0
        lines = read_journal(record.run.path / "samples.jsonl")
        some = [line for line in lines if line["step"] <= best] or lines[:1]
        if some:
            run, line = record.run, some[-1]
            origin = f"seed {run.seed}, {run.state}; sample of step {line['step']:,}"
            return f"{line.get('prompt', '')}{line.get('text', '')}", origin
    return "", f"{records[0].run.state}; no sample"


def shortened(text: str) -> str:
    """At most MOST_CHARACTERS, and a word where there were more."""
    more = len(text) - MOST_CHARACTERS
    return text if more <= 0 else f"{text[:MOST_CHARACTERS]}\n... and {more:,} characters more"


def printable(text: str) -> str:
    """Without control characters, which become what Unicode draws for them, or lone surrogates."""
    return CONTROL.sub("\ufffd", text).encode(errors="replace").decode()


def _figure(exhibit: ReportFigure) -> dict[str, Any]:
    """What the template shows of it; the SVGs are markup of our own, as wide as `points`."""
    values = {key: getattr(exhibit, key) for key in ("name", "title", "alt", "caption", "legend")}
    svgs = exhibit.svgs()
    points = VIEW_BOX.search(svgs[0])
    assert points is not None, "figures.svg writes one"
    return {**values, "svgs": [Markup(svg) for svg in svgs], "points": float(points[1])}


def _rows(made: Table, marked: Sequence[bool]) -> dict[str, Any]:
    """A table with the rows to mark, since not all of their runs are done."""
    cells = table.cells(made)
    return {
        "columns": cells.columns,
        "numeric": cells.numeric,
        "rows": list(zip(cells.rows, marked, strict=True)),
    }


def _page(**values: Any) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return printable(template.render(most=MOST_SHOWN, **values)) + "\n"


def _numbers(
    facts: dict[str, list[str]],
    bundles: Sequence[Bundle],
    sizes: Sequence[Size],
    groups: Table,
    counting: NgramBaselines | None,
) -> str:
    """The numbers behind every figure, as JSON."""
    values = {
        "facts": facts,
        "cliffs": [asdict(bundle) for bundle in bundles],
        "ngrams": None if counting is None else asdict(counting),
        "sizes": [asdict(size) for size in sizes],
        "groups": json.loads(table.render_table(groups, "json")),
    }
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _remove_stale(folder: Path, written: Collection[str]) -> None:
    """Pictures of an earlier report that this one does not have."""
    with storage_errors(folder):
        for name in PICTURES.difference(written):
            (folder / name).unlink(missing_ok=True)
