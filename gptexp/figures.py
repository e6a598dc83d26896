"""Curves by matplotlib: figures without a window, made, saved and dropped in any thread."""

import io
import warnings
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gptexp.cliff import Point, best_of

AXES = {"step": "step", "tokens": "tokens", "epochs": "epochs of the training set"}


def cliffs(curves: Mapping[str, Sequence[Point]], axis: str) -> Figure:
    """Evaluation curves by label, over one of AXES: training dashed, best marked."""
    figure = Figure(figsize=(8.0, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for number, (label, curve) in enumerate(curves.items()):
        x, color = [getattr(point, axis) for point in curve], f"C{number % 10}"
        best = best_of(curve)
        axes.plot(x, [point.val_loss for point in curve], color=color, label=label)
        axes.plot(x, [point.train_loss for point in curve], color=color, linestyle="--", alpha=0.7)
        axes.plot(getattr(best, axis), best.val_loss, "o", color=color)
        axes.annotate(
            f"{best.val_loss:.3f}",
            (getattr(best, axis), best.val_loss),
            textcoords="offset points",
            xytext=(0, -12),
            ha="center",
            fontsize=8,
            color=color,
        )
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel("loss, nats per token (training dashed)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    # A sign that the font lacks becomes a box, and nobody needs to be told.
    warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
