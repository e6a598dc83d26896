"""Runs of a sweep as points of a law, by rule: what is left out is listed with its reason."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gptexp.analysis.groups import gathered
from gptexp.analysis.records import Run
from gptexp.analysis.units import BITS, unit, vocabulary
from gptexp.laws.candidates import Candidate, Convention, comparable
from gptexp.laws.observed import Observations, Rejections
from gptexp.laws.points import Points
from gptexp.laws.trials import numbered, trials_of
from gptexp.laws.tuning import tuned


def admit(runs: Sequence[Run], convention: Convention | None = None) -> Observations:
    """The points of a law over model size and data, in the order of size, tokens and losses.

    See candidates.comparable and tuning.tuned for the rules. Raises ConfigError where the runs are
    of several kinds and none of them is the largest.
    """
    convention = convention or Convention()
    compared, rejected = comparable(runs, convention)
    kept, out, notes = tuned(compared, runs, keep_edges=convention.keep_edges)
    kept.sort(key=lambda one: (one.n, one.tokens, one.unique, one.loss))
    points = Points.of(
        n=[one.n for one in kept],
        tokens=[one.tokens for one in kept],
        unique=[one.unique for one in kept],
        loss=[one.loss for one in kept],
        run=numbered([one.beginning for one in kept]),
    )
    cells = {cell: number for number, cell in enumerate(gathered(kept, lambda one: one.cell))}
    return Observations(
        points=replace(points, cell=np.array([cells[one.cell] for one in kept], dtype=np.intp)),
        labels=[one.label for one in kept],
        rejected=Rejections([*rejected, *out]),
        notes=notes + _of_beginnings(kept) + _of_tokenizers(kept),
        convention=convention.in_words(),
        unit=convention.unit or unit(runs),
        flops=np.array([one.flops for one in kept], dtype=np.float64),
        trials=trials_of(compared),
    )


def _of_beginnings(kept: Sequence[Candidate]) -> list[str]:
    if any(one.run.config.get("init_from") for one in kept):
        return ["init_from: tokens that the first weights had seen do not count"]
    return []


def _of_tokenizers(kept: Sequence[Candidate]) -> list[str]:
    kinds = {" ".join(str(p) for p in vocabulary(one.run) if p is not None) for one in kept}
    if len(kinds) < 2:
        return []
    return [
        f"several tokenizers ({', '.join(sorted(kinds))}): losses are {BITS}, but T and U count "
        "each one's own tokens, so what the law says of data is rough"
    ]
