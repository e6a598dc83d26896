"""`gptexp report --playground`: the best runs of a folder in a page beside its report."""

from collections.abc import Sequence
from pathlib import Path

from gptexp.analysis.groups import group
from gptexp.analysis.labels import telling
from gptexp.analysis.records import Run, collect
from gptexp.analysis.units import BITS, in_bits, unit
from gptexp.errors import Problem
from gptexp.files import output_folder
from gptexp.playground.contents import Contents
from gptexp.playground.page import each_contents, written
from gptexp.playground.room import MOST_RUNS
from gptexp.report.page import Playable
from gptexp.text import in_shell

PAGE = "playground.html"

KIND = "float16"  # of the weights


def write_gallery(folder: Path, to: Path, is_chosen: bool) -> Playable:
    """Write the page of the best runs of `folder` into the folder `to`, and say what is in it.

    Of each group the run with the lowest loss, and of these the best that the page can hold and has
    room for. Raises ConfigError for a folder without runs, StorageError.
    """
    best = _best_of_groups(collect([folder])[0])
    made: list[Contents] = []
    notes: list[Problem] = []
    for outcome in each_contents([run.path for run in best], KIND):
        if isinstance(outcome, Contents):
            made.append(outcome)
        else:
            notes += outcome.problems
        if len(made) == MOST_RUNS:
            break
    if not made:
        what = "none of its runs can be played" if best else "none of its runs is done"
        fix = (
            "see the lines about each" if best else f"see why with gptexp table {in_shell(folder)}"
        )
        return Playable(None, [], [*notes, Problem(folder, what, fix)])
    page = written(made, output_folder(to, is_chosen) / PAGE, KIND)
    return Playable(PAGE, [run.name for run in made], [*notes, *page.damage])


def _best_of_groups(runs: Sequence[Run]) -> list[Run]:
    """The run with the lowest best loss of each group, the lowest first."""
    compared = [in_bits(run) for run in runs] if unit(runs) == BITS else runs
    groups = group(compared, telling(compared))
    done = [[run for run in members.done if run.best is not None] for members in groups]
    best = [min(members, key=_loss) for members in done if members]
    return sorted(best, key=_loss)


def _loss(run: Run) -> float:
    assert run.best is not None
    return run.best
