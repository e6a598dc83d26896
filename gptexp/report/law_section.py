"""The scaling law of a folder's runs, as a page tells it: what is not known comes first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gptexp.analysis.records import Run
from gptexp.analysis.render import Cells
from gptexp.errors import ConfigError
from gptexp.report.figures import ReportFigure
from gptexp.text import plural

if TYPE_CHECKING:
    from gptexp.laws.judge import JudgedLaw
    from gptexp.laws.observed import Observations
    from gptexp.laws.points import Points
    from gptexp.laws.power_law import LawOfOptima

SIZES = 3  # that make a sweep over the size of models

POINTS = 6  # that a law has at least: one more than Chinchilla's has parameters

FEW_DRAWS = 20  # of laws that are only compared

NO_POINTS = "There is no scaling law: "


@dataclass(frozen=True)
class BestSection:
    """What a page says of a law of what is best."""

    formula: str
    errors: str
    parameters: Cells
    optima: Cells
    figures: list[ReportFigure]


@dataclass(frozen=True)
class LawSection:
    """What a page says of a law, in its order."""

    lead: list[str]  # why there is none; or what it was fitted to
    known: list[str] = field(default_factory=list)  # what does not hold, and is not known
    errors: str = ""  # what the numbers of `compared` are
    compared: Cells | None = None
    formula: str = ""
    parameters: Cells | None = None  # of the best
    figures: list[ReportFigure] = field(default_factory=list)
    best: list[BestSection] = field(default_factory=list)

    @property
    def every_figure(self) -> list[ReportFigure]:
        """Its figures, and those of the laws of what is best."""
        return [*self.figures, *(figure for one in self.best for figure in one.figures)]


def section(runs: Sequence[Run]) -> LawSection | None:
    """The section on the law of the runs; None where these are no sweep over the size of models."""
    if len({run.params for run in runs if run.done and run.params is not None}) < SIZES:
        return None
    from gptexp.laws.admit import admit  # scipy, which other folders need not wait for
    from gptexp.laws.screen import left_out

    try:
        seen = admit(runs)
    except ConfigError as error:
        return LawSection([f"{NO_POINTS}{error}"])
    count, sizes = len(seen.points), len({*seen.points.n.tolist()})
    if count < POINTS or sizes < SIZES:
        few = f"{plural(count, 'point')} of {plural(sizes, 'size')} are too few."
        return LawSection([f"{NO_POINTS}{few}", *left_out(seen.rejected)])
    return told(seen, _judged(seen.points))


def _judged(points: "Points") -> list["JudgedLaw"]:
    """The laws that suit the points; all but the best, of which no band is drawn, by FEW_DRAWS."""
    from gptexp.laws.bootstrap import DRAWS
    from gptexp.laws.fit import one_thread
    from gptexp.laws.forms import suited
    from gptexp.laws.judge import judge, judge_laws

    compared = judge_laws(suited(points), points, FEW_DRAWS)
    with one_thread():
        best = [judge(one.fit.law, points, DRAWS, seed=0) for one in compared[:1]]
    return best + compared[1:]


def told(seen: "Observations", judged: Sequence["JudgedLaw"]) -> LawSection:
    """The section on laws, the best first, that were fitted to these points."""
    from gptexp.laws import forms, screen
    from gptexp.laws.judge import lacking
    from gptexp.laws.optima import laws_of_optima
    from gptexp.laws.power_law import LawOfOptima
    from gptexp.report import law_figures

    best = laws_of_optima(seen)
    sections = [_best(one, seen.unit) for one in best if isinstance(one, LawOfOptima)]
    missing = lacking(forms.suited(seen.points), seen.points)
    # Of the laws but the best no parameters are shown, so what is not known of them is left out.
    known = screen.known(seen, judged[:1], best, missing)
    if not judged:
        return LawSection([f"{NO_POINTS}no formula could be fitted."], known, best=sections)
    law = judged[0].fit.law
    conventions = f"{seen.convention}, in {seen.unit}; {screen.held(judged[0])}."
    return LawSection(
        lead=[f"{screen.counted(seen)}.", conventions],
        known=known,
        errors=screen.ERRORS,
        compared=screen.compared(seen, judged),
        formula=f"{law.name}: {law.formula} ({law.source})",
        parameters=screen.parameters(judged[0]),
        figures=law_figures.drawn(seen, judged),
        best=sections,
    )


def _best(law: "LawOfOptima", unit: str) -> BestSection:
    from gptexp.laws import screen
    from gptexp.report import optima_figures

    return BestSection(
        formula=f"{law.name}: {law.formula} ({law.source})",
        errors=screen.errors_of_best(law),
        parameters=screen.parameters_of_best(law),
        optima=screen.optima(law),
        figures=optima_figures.drawn(law, unit),
    )
