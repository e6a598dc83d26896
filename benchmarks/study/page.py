"""docs/study.md: the tables between its markers, and its figures, from the lines alone."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import ROOT
from benchmarks.study import flagship, lines, modernise, records, regularise
from benchmarks.study.changes import of_taken_out
from benchmarks.study.lines import Line
from benchmarks.study.listing import codes
from benchmarks.study.points import STUDIES, Study, StudyPoint, results
from benchmarks.study.tables import Section
from gptexp.errors import DamagedError, Problem
from gptexp.files import write_bytes, write_text
from gptexp.report import style

PAGE, PICTURES = ROOT / "docs" / "study.md", ROOT / "results"
SECTIONS = {
    "modernise": modernise.section,
    "regularise": regularise.section,
    "flagship": flagship.section,
    "records": records.section,
}


def write(page: Path = PAGE, pictures: Path = PICTURES) -> int:
    """Put the sections of all studies into the page, and their figures beside it."""
    text = page.read_text(encoding="utf-8")
    for study in STUDIES:
        found = section(study)
        text = replaced(text, study, found.text)
        for name, figure in found.figures.items():
            write_bytes(pictures / name, style.png(figure))
    write_text(page, text)
    return 0


def section(study: str, file: Path | None = None) -> Section:
    """The section of a study; lines of points that it no longer has are told of and left out.

    But for those of switches that were taken out since, whose points no sweep can have.
    """
    known = lines.read(file or results(study))
    points = Study([f"sweeps={study}"]).resolved(known)
    gone = of_taken_out(known) if study == "modernise" else []
    asked, count = [*asked_for(points, known), *gone], len(points) + len(gone)
    if not asked:
        return Section([f"No point of {count} is trained yet."])
    found = SECTIONS[study](asked, count)
    notes = [f"Note: {note}." for note in codes(asked)]
    if others := len(known) - len({line.hash for line in asked}):
        notes.append(f"Note: {others} lines are of points that the study no longer has.")
    return Section([*found.text, *(["", *notes] if notes else [])], found.figures)


def asked_for(points: Sequence[StudyPoint], known: Sequence[Line]) -> list[Line]:
    """The line of each point that has one, as that point's: two sweeps may share a run."""
    by_hash = {line.hash: line for line in known}
    return [
        msgspec.structs.replace(by_hash[p.hash], stage=p.stage, label=p.label, marks=p.marks)
        for p in points
        if not p.waits and p.hash in by_hash
    ]


def replaced(text: str, name: str, rows: list[str]) -> str:
    """The page with these lines between the markers of a study; raises DamagedError without."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marked.search(text):
        fix = f"<!-- {name} --> and <!-- end --> around its tables"
        raise DamagedError(Problem(PAGE, f"has no place for {name}", fix))
    return marked.sub(lambda found: found[1] + "\n".join(rows) + "\n" + found[2], text)
