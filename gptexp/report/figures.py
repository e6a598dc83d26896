"""The figures of a report: what each shows, in words and as a drawing."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from gptexp.report import charts, results
from gptexp.report.charts import AXES, MARKERS, NARROW, WIDE
from gptexp.report.ngram_baselines import NgramBaselines
from gptexp.report.results import Bundle, Size

LOSS_AXIS = (
    "The loss axis ends where the first steep fall does, after a twentieth of a run, and never "
    "above twice the loss at the start."
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
        return charts.png(self.draw(WIDE, True))

    def svgs(self) -> list[str]:
        """The drawing as an `<svg>` for each of its shapes, without its legend."""
        return [
            charts.svg(self.draw(shape, False), f"{self.name}-{number}")
            for number, shape in enumerate(self.shapes)
        ]


def cliffs(
    bundles: Sequence[Bundle], groups: int, runs: int, baselines: NgramBaselines | None = None
) -> list[ReportFigure]:
    """The overfit cliffs over each axis, of so many groups and runs; none without a curve."""
    if not bundles:
        return []
    best = min(p.val_loss for bundle in bundles for curve in bundle.curves for p in curve)
    caption = "Training dashed, validation solid, the best of each marked. "
    caption += _lines_note(bundles, groups, runs) + LOSS_AXIS + _ngrams_note(baselines)
    legend = _legend([bundle.label for bundle in bundles])
    ngrams = baselines.losses if baselines else []
    counting = f"; that of counting {baselines.orders} is {baselines.words}" if baselines else ""
    return [
        ReportFigure(
            name=f"cliffs_{axis}",
            title=f"by {axis}",
            alt=f"Training and validation loss over {label}, for {len(bundles)} of {groups} "
            f"groups; the lowest validation loss is {best:.4f} nats per token{counting}",
            caption=caption,
            legend=legend,
            draw=lambda size, legend, axis=axis: charts.overlay(  # type: ignore[misc]
                bundles, axis, size, legend, ngrams
            ),
        )
        for axis, label in AXES.items()
    ]


def cliff_map(sizes: Sequence[Size]) -> list[ReportFigure]:
    """The map of the cliff over model size and dataset size, where both vary."""
    cells = results.grid(sizes)
    if not _varies(sizes, "params") or not _varies(sizes, "tokens"):
        return []
    numbers = "; ".join(
        f"{cell.params:,} parameters, {cell.tokens:,} tokens: "
        f"{'no height' if cell.height is None else f'+{cell.height.mean:.3f}'}, "
        f"best {cell.best.mean:.3f}"
        for cell in cells
    )
    caption = (
        "How far the validation loss is above its best at the end, and below it that best; means "
        "over the seeds, in nats per token. Empty: no finished run."
    )
    if len(cells) < len(sizes):
        caption += " Where several groups have one size, the cell is that of the lowest best loss."
    return [
        ReportFigure(
            name="cliff_map",
            title="The cliff over model size and dataset size",
            alt=f"Heat map of the height of the overfit cliff. {numbers}",
            caption=caption,
            legend=[],
            draw=lambda size, legend: charts.cliff_map(cells),
            shapes=(WIDE,),
        )
    ]


def losses(sizes: Sequence[Size]) -> list[ReportFigure]:
    """The best loss over each size that varies: parameters, training tokens."""
    drawn = []
    for name, what, x, other in (
        ("loss_by_params", "parameters", "params", "other_than_params"),
        ("loss_by_tokens", "training tokens", "tokens", "other_than_tokens"),
    ):
        if not _varies(sizes, x):
            continue
        together = defaultdict(list)
        for size in sizes:
            together[getattr(size, other)].append((float(getattr(size, x)), size.best))
        chosen = results.spread(list(together), results.MOST_GROUPS)
        series = {label: together[label] for label in chosen}
        fewer = f" {len(series)} of {len(together)} series are drawn."
        lowest = min(sizes, key=lambda size: size.best.mean)
        drawn.append(
            ReportFigure(
                name=name,
                title=f"Best loss by {what}",
                alt=f"Best validation loss over {what}, {len(series)} series; the lowest is "
                f"{lowest.best.mean:.4f} nats per token at {getattr(lowest, x):,} {what}",
                caption="Means over the seeds with the 95% interval of Student's t; a line joins "
                "the lowest means. Intervals far longer than the means differ are cut off."
                + (fewer if len(series) < len(together) else ""),
                legend=_legend(chosen) if any(chosen) else [],
                draw=lambda size, legend, series=series, what=what: charts.losses(  # type: ignore[misc]
                    series, f"{what}, log scale", size, legend
                ),
            )
        )
    return drawn


def left_out(sizes: Sequence[Size]) -> str:
    """A sentence on why some of the figures over size are not there; empty when all are."""
    if not sizes:
        return "No group with a finite loss says how many parameters and training tokens it has."
    words = {"params": "parameters", "tokens": "training tokens"}
    fixed = [
        f"{getattr(sizes[0], x):,} {what}" for x, what in words.items() if not _varies(sizes, x)
    ]
    if not fixed:
        return ""
    missing = "figures over size are" if len(fixed) == 2 else "map of the cliff is"
    return f"All groups have {' and '.join(fixed)}, so the {missing} left out."


def _lines_note(bundles: Sequence[Bundle], groups: int, runs: int) -> str:
    """Sentences on what a line is, and on how many groups are drawn where not all are."""
    fewer = ""
    if len(bundles) < groups:
        fewer = (
            f"{len(bundles)} of {groups} groups are drawn, from the lowest best loss to the "
            "highest at equal distances in that order. "
        )
    if bundles[0].band is None:
        return f"Each line is a run; seeds share a colour. {fewer}"
    return (
        f"{runs} runs are too many to draw one by one: each line is a mean over the seeds, as far "
        f"as all of them went, and the band lies between the lowest and the highest. {fewer}"
    )


def _ngrams_note(baselines: NgramBaselines | None) -> str:
    if baselines is None:
        return ""
    return (
        f" Dotted and grey: what counting {baselines.orders} reaches (Witten-Bell n-grams of "
        f"{baselines.training_set}); those far from the curves are left out."
    )


def _legend(labels: Sequence[str]) -> list[tuple[str, str, str]]:
    styles = charts.styles(len(labels))
    return [
        (color, MARKERS[mark], label) for label, (color, mark) in zip(labels, styles, strict=True)
    ]


def _varies(sizes: Sequence[Size], name: str) -> bool:
    return len({getattr(size, name) for size in sizes}) > 1
