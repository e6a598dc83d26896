"""The lowest losses: of single runs, of these together, and with counts of characters."""

from collections.abc import Sequence

from benchmarks.study.lines import Line
from benchmarks.study.tables import Section, best_of, counted, table, told
from benchmarks.study.together import RECORDS, Together, read_together
from gptexp.text import duration


def section(lines: Sequence[Line], points: int) -> Section:
    """The section of the page."""
    runs = [line for line in lines if line.done and line.stage == RECORDS]
    trials = [line for line in lines if line.done and line.stage != RECORDS]
    text = [counted(lines, points)]
    if runs:
        head = ("run", "best step", "training loss there", "time", "validation loss")
        rows = [*map(row, runs), ("all", "", "", "", told(best_of(runs)))]
        text += ["", *table(head, rows)]
    together = read_together()
    if together is not None and together.members == [line.hash for line in runs]:
        text += ["", *of_together(together)]
    if trials:
        rows = [(f"`{line.label}`", f"{line.params:,}", told(best_of([line]))) for line in trials]
        text += ["", *table(("trial", "parameters", "validation loss"), rows)]
    return Section(text)


def row(line: Line) -> tuple[str, ...]:
    """A run as the page has it."""
    assert line.best is not None and line.final is not None
    time = "" if line.seconds is None else duration(line.seconds)
    step = f"{line.best.step:,} of {line.final.step:,}"
    return (line.label, step, f"{line.best.train:.4f}", time, told(best_of([line])))


def of_together(found: Together) -> list[str]:
    """The runs as one model, a row for each that is added, and for counts."""
    rows = [(part.name, f"{part.alone:.4f}", f"{part.together:.4f}") for part in found.parts]
    head = ("together", "alone", "with those above")
    notes = " ".join(f"{note[:1].upper()}{note[1:]}." for note in found.notes)
    return [*table(head, rows), "", notes]
