"""The figures of a report, in words and as drawings; and the overfit cliffs among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from gptexp.analysis.labels import label_runs
from gptexp.analysis.units import BITS
from gptexp.report import charts, style
from gptexp.report.charts import AXES
from gptexp.report.ngram_baselines import NgramBaselines
from gptexp.report.results import Bundle, Record
from gptexp.report.style import MARKERS, NARROW, WIDE, Styled
from gptexp.text import listed

LOSS_AXIS = (
    "The loss axis ends where the first steep fall does, after a twentieth of a run, and never "
    "above twice the loss at the start."
)

CAPPED = (
    "The evaluations of those marked as capped judge a part of the targets (trainer.eval_tokens), "
    "and the losses beside their names are of these. "
)


SCALED = (
    "The runs have several tokenizers, so losses are in bits per byte; those of training by the "
    "bytes that validation tokens have. "
)


@dataclass(frozen=True)
class ReportFigure:
    """One figure of the page."""

    name: str  # of its file, without the ending
    title: str
    alt: str
    caption: str
    legend: list[tuple[str, str, str]]  # colour, marker and label
    draw: Callable[[tuple[float, float], bool], Figure]  # of a size, with its legend or without
    shapes: tuple[tuple[float, float], ...] = (WIDE, NARROW)  # drawn for; one alone scrolls

    def png(self) -> bytes:
        return style.png(self.draw(WIDE, True))

    def svgs(self) -> list[str]:
        """The drawing as an `<svg>` for each of its shapes, without its legend."""
        return [
            style.svg(self.draw(shape, False), f"{self.name}-{number}")
            for number, shape in enumerate(self.shapes)
        ]


def cliffs(
    bundles: Sequence[Bundle],
    groups: int,
    records: Sequence[Record],
    baselines: NgramBaselines | None = None,
) -> list[ReportFigure]:
    """The overfit cliffs over each axis, of so many groups; none without a curve."""
    if not bundles:
        return []
    best = min(p.val_loss for bundle in bundles for curve in bundle.curves for p in curve)
    caption = "Training dashed, validation solid, the best of each marked. "
    caption += _lines_note(bundles, groups, len(records)) + _unfinished_note(records)
    caption += CAPPED if any(bundle.capped for bundle in bundles) else ""
    caption += SCALED if bundles[0].unit == BITS else ""
    caption += LOSS_AXIS + _ngrams_note(baselines)
    styled = style.styles([bundle.values for bundle in bundles])
    legend = legend_rows([charts.legend_words(bundle) for bundle in bundles], styled)
    ngrams = baselines.losses if baselines else []
    counting = f"; that of counting {baselines.orders} is {baselines.words}" if baselines else ""
    return [
        ReportFigure(
            name=f"cliffs_{axis}",
            title=f"by {axis}",
            alt=f"Training and validation loss over {label}, for {len(bundles)} of {groups} "
            f"groups; the lowest validation loss is {best:.4f} {bundles[0].unit}{counting}",
            caption=caption,
            legend=legend,
            draw=lambda size, legend, axis=axis: charts.overlay(  # type: ignore[misc]
                bundles, axis, size, legend, ngrams
            ),
        )
        for axis, label in AXES.items()
    ]


def parts(bundles: Sequence[Bundle], groups: int, records: Sequence[Record]) -> list[ReportFigure]:
    """The losses of the parts of mixes over tokens, of so many groups; none where there are none.

    A part of a group counts as a group.
    """
    if not bundles:
        return []
    losses = [(bundle.best, bundle.label) for bundle in bundles]
    low, high = (f"{best:.4f} of {label}" for best, label in (min(losses), max(losses)))
    caption = "Validation loss of each part of a mix over tokens of all parts, the best of each "
    caption += "marked; the mean of the parts by their shares chooses the best weights. "
    caption += _lines_note(bundles, groups, sum(bool(record.parts) for record in records))
    caption += _unfinished_note([record for record in records if record.parts])
    caption += CAPPED if any(bundle.capped for bundle in bundles) else ""
    styled = style.styles([bundle.values for bundle in bundles])
    return [
        ReportFigure(
            name="parts",
            title="Parts of the mix",
            alt=f"Validation loss of parts of a mix over tokens, {len(bundles)} of {groups} "
            f"curves; at their best from {low} to {high} {bundles[0].unit}",
            caption=caption + LOSS_AXIS,
            legend=legend_rows([charts.legend_words(bundle) for bundle in bundles], styled),
            draw=lambda size, legend: charts.overlay(bundles, "tokens", size, legend),
        )
    ]


def _lines_note(bundles: Sequence[Bundle], groups: int, runs: int) -> str:
    """Sentences on what a line is, and on how many groups are drawn where not all are."""
    fewer = ""
    if len(bundles) < groups:
        fewer = (
            f"{len(bundles)} of {groups} groups are drawn, from the lowest best loss to the "
            "highest at equal distances in that order. "
        )
    if bundles[0].band is None:
        return (
            "Each line is a run; seeds share a colour, and beside its name is the mean of their "
            f"best validation losses. {fewer}"
        )
    return (
        f"{runs} runs are too many to draw one by one: each line is a mean over the seeds, as far "
        f"as all of them went, and the band lies between the lowest and the highest. {fewer}"
    )


def _unfinished_note(records: Sequence[Record]) -> str:
    """A sentence on the runs that are not done, as far as their curves go."""
    going = [record for record in records if record.curve and not record.run.done]
    if not going:
        return ""
    labels = label_runs([record.run for record in records])
    each = listed(sorted(f"{labels[record.run.path]} ({record.progress})" for record in going))
    are = "1 run is" if len(going) == 1 else f"{len(going)} runs are"
    return (
        f"{are} not done, and an open circle ends each of their curves that is drawn: {each}. "
        "The losses beside the names are of finished runs where a group has one. "
    )


def _ngrams_note(baselines: NgramBaselines | None) -> str:
    if baselines is None:
        return ""
    return (
        f" Dotted and grey: what counting {baselines.orders} reaches (Witten-Bell n-grams of "
        f"{baselines.training_set}); those far from the curves are left out."
    )


def legend_rows(labels: Sequence[str], styled: Sequence[Styled]) -> list[tuple[str, str, str]]:
    """A legend for the page: colour, marker and label."""
    return [
        (color, MARKERS[mark], label) for label, (color, mark) in zip(labels, styled, strict=True)
    ]
