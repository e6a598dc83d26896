"""Of runs that a law cannot tell apart, the best: and whether their learning rate was tuned."""

from collections.abc import Sequence
from typing import Any

from gptexp.analysis.groups import gathered
from gptexp.analysis.labels import words_of
from gptexp.analysis.records import Run
from gptexp.analysis.scale import is_number
from gptexp.laws.candidates import BATCH, SHAPE, TUNED, Candidate, identity
from gptexp.laws.observed import AT_EDGE, Rejected
from gptexp.runs.state import RunState
from gptexp.text import listed

SETTINGS = (*SHAPE, *BATCH, *TUNED)  # that may differ between runs of one cell

FRONTIER = "a law of small models holds on the tuned frontier only (arXiv 2608.11859)"


def tuned(
    candidates: Sequence[Candidate], runs: Sequence[Run], keep_edges: bool = False
) -> tuple[list[Candidate], list[Rejected], list[str]]:
    """The best of each cell, what is left out, and what a reader must know of the tuning.

    The best are the runs of the settings with the lowest mean loss over their seeds. Where a value
    of TUNED among these is the lowest or the highest that was tried in the cell, the best may lie
    beyond, and the cell has no point. What of `runs` diverged was tried too. A weight decay of 0 is
    no such edge, and what was tried at one value is not tuned at all.
    """
    kept: list[Candidate] = []
    rejected: list[Rejected] = []
    untried: list[str] = []
    diverged = [run for run in runs if run.state is RunState.diverged]
    failed = gathered(diverged, lambda run: identity(run, TUNED))
    cells = gathered(candidates, lambda one: one.cell)
    for members in cells.values():
        best, worse = _best_of(members)
        alike = {identity(one.run, TUNED) for one in members} if failed else set()
        tried = [one.run for one in members] + [run for key in alike for run in failed.get(key, [])]
        edges = [words for key in TUNED if (words := _edge(key, best[0].run, tried))]
        rejected += worse
        if edges and not keep_edges:
            reason = f"{AT_EDGE}: {', '.join(edges)}"
            rejected += [Rejected(one.label, reason) for one in best]
            continue
        kept += best
        if edges or len({run.config.get("optim.lr") for run in tried}) < 2:
            untried += words_of(["optim.lr"], [best[0].run.config.get("optim.lr")])
    return kept, rejected, uncertified(untried, len(gathered(kept, lambda one: one.cell)))


def _best_of(members: Sequence[Candidate]) -> tuple[list[Candidate], list[Rejected]]:
    """The runs of the settings with the lowest mean loss, and the others."""
    together = gathered(members, lambda one: _settings(one.run))
    losses = {
        values: sum(one.loss for one in alike) / len(alike) for values, alike in together.items()
    }
    best = min(losses, key=lambda values: losses[values])
    rejected = []
    for values, alike in together.items():
        differs = [i for i, value in enumerate(values) if value != best[i]]
        words = " ".join(words_of([SETTINGS[i] for i in differs], [best[i] for i in differs]))
        reason = f"not the best of its point: {words} reaches {losses[best]:.4f}"
        rejected += [Rejected(one.label, reason) for one in alike if values != best]
    return together[best], rejected


def _settings(run: Run) -> tuple[Any, ...]:
    return tuple(run.config.get(key) for key in SETTINGS)


def _edge(key: str, best: Run, tried: Sequence[Run]) -> str:
    """How the best value of a key lies at an edge of those tried; empty where it does not."""
    values = sorted({run.config[key] for run in tried if is_number(run.config.get(key))})
    value = best.config.get(key)
    if len(values) < 2 or value not in (values[0], values[-1]):
        return ""
    if value == values[0] == 0 and key == "optim.weight_decay":
        return ""
    end = "lowest" if value == values[0] else "highest"
    return f"{words_of([key], [value])[0]} is the {end}"


def uncertified(rates: Sequence[str], of: int) -> list[str]:
    """A note of cells, of `of`, without an optimum of the learning rate between others.

    `rates` are the learning rates that they have, in words.
    """
    if not rates:
        return []
    tuned = of - len(rates)
    which = f"{tuned} of {of} points {'has' if tuned == 1 else 'have'}" if tuned else "no point has"
    return [
        f"uncertified: {which} a learning rate that is best among others tried on both sides "
        f"({listed(sorted(set(rates)), most=3)} as it is): {FRONTIER}"
    ]
