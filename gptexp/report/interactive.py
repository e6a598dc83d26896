"""Curves of a page to hover over, zoom and toggle, by Bokeh; where the `interactive` extra is.

Bokeh's own script stands in the page, so that no network is needed.
"""

import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.report import charts, style
from gptexp.report.results import Bundle

SCRIPT = "server/static/js/bokeh.min.js"  # in Bokeh's folder

GRAY = "#808080"  # seen on white and on black

FORMULA = re.compile(r"(\$|\\)(?=[$(\[])")

HEIGHT, ROW, GAP, LETTER = 420, 18, 8, 7  # pixels; of the axes, and in the legend

FIELDS = {  # of a CurvePoint, as a person reads them
    "step": ("step", "0,0"),
    "tokens": ("tokens", "0,0"),
    "epochs": ("epochs", "0.00"),
    "val_loss": ("validation", "0.0000"),
    "train_loss": ("training", "0.0000"),
}


@dataclass(frozen=True)
class Interactive:
    """Curves for an element of the page; neither text holds what ends a script."""

    script: str  # Bokeh's own
    item: str  # JSON for Bokeh.embed.embed_item
    column: int  # width of a column of the legend, in pixels


def curves(bundles: Sequence[Bundle], target: str) -> Interactive | None:
    """The curves over steps for the element `target`; the same ones give the same text.

    None where there is no Bokeh.
    """
    spec = importlib.util.find_spec("bokeh")
    if spec is None or spec.origin is None or not bundles:
        return None
    from bokeh.embed import json_item

    item: Any = json_item(_figure(bundles), target)
    longest = max(len(_label(bundle)) for bundle in bundles)
    return Interactive(
        script=(Path(spec.origin).parent / SCRIPT).read_text(encoding="utf-8"),
        item=json.dumps(_renumbered(item, {}), allow_nan=False).replace("<", "\\u003c"),
        column=40 + LETTER * longest,
    )


def _figure(bundles: Sequence[Bundle]) -> Any:
    from bokeh.models import ColumnDataSource, HoverTool, Legend, LegendItem, WheelZoomTool
    from bokeh.plotting import figure

    plot = figure(
        x_axis_label="step",
        y_axis_label=f"loss, {bundles[0].unit}",
        tools="pan,box_zoom,reset",
        y_range=charts.loss_range(bundles),
        height=HEIGHT + (ROW + GAP) * len(bundles),
        sizing_mode="stretch_width",
    )
    items, hovered = [], []
    for bundle, (color, _) in zip(bundles, style.styles([b.values for b in bundles]), strict=True):
        lines = []
        for curve in bundle.curves:
            columns = {field: [getattr(point, field) for point in curve] for field in FIELDS}
            line = {"x": "step", "source": ColumnDataSource(columns), "color": color}
            line |= {"name": _label(bundle)}
            hovered.append(plot.line(y="val_loss", line_width=1.5, **line))
            lines += [hovered[-1], plot.line(y="train_loss", line_dash="dashed", **line)]
        items.append(LegendItem(label={"value": _label(bundle)}, renderers=lines))
    rows = [(words, f"@{field}{{{form}}}") for field, (words, form) in FIELDS.items()]
    plot.add_tools(HoverTool(renderers=hovered, tooltips=[("", "$name"), *rows]), WheelZoomTool())
    legend = Legend(items=items, name="legend", click_policy="hide", location="top_left")
    plot.add_layout(legend, "below")
    _for_any_paper(plot, legend)
    return plot


def _label(bundle: Bundle) -> str:
    """A label without what Bokeh takes for the begin of a formula, and loads MathJax for."""
    label = f"{bundle.label} (capped)" if bundle.capped else bundle.label
    return FORMULA.sub(r"\1 ", style.shown(label))


def _for_any_paper(plot: Any, legend: Any) -> None:
    """Let the page show through, and write on it in a grey that is read on white and on black."""
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    plot.toolbar.logo = None
    for axis in plot.axis:
        axis.axis_label_text_color = axis.major_label_text_color = axis.axis_line_color = GRAY
        axis.major_tick_line_color, axis.minor_tick_line_color = GRAY, None
    plot.grid.grid_line_color, plot.grid.grid_line_alpha = GRAY, 0.25
    legend.background_fill_color = legend.border_line_color = None
    legend.label_text_color, legend.inactive_fill_alpha = GRAY, 0.0
    legend.label_text_font_size, legend.spacing, legend.padding = "11px", GAP, 0
    legend.label_height = legend.glyph_height = ROW


def _renumbered(item: Any, seen: dict[str, str]) -> Any:
    """The item with identifiers counted from its own begin, where Bokeh counts all it ever made."""
    match item:
        case list():
            return [_renumbered(part, seen) for part in item]
        case dict():
            return {
                key: seen.setdefault(part, f"p{len(seen)}")
                if key in ("id", "root_id")
                else _renumbered(part, seen)
                for key, part in item.items()
            }
    return item
