"""The figures of a law: what they say first, and that each can be drawn."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from judged_laws import budgets, observed, once, repeated

from gptexp.errors import StorageError
from gptexp.laws.points import Points
from gptexp.report import law_charts, law_figures, law_views, style

ALL = [f"law_{name}" for name in law_figures.NAMES]


def drawn(points, judged, *notes):
    return {one.name: one for one in law_figures.drawn(observed(points, *notes), judged)}


@cache
def cliff():
    """The figures of a law that has one."""
    return drawn(*repeated())


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """Frontiers of few places, which take most of the time."""
    monkeypatch.setattr(law_figures, "FRONTIER", 8)
    monkeypatch.setattr(law_figures, "FEW_DRAWS", 5)


def axes_of(figure, size=style.WIDE):
    picture = figure.draw(size, True)
    picture.draw_without_rendering()
    return picture.axes[0]


def test_a_law_with_a_cliff_has_all_figures_and_another_no_best_size_for_a_text():
    assert list(cliff()) == ALL
    assert list(drawn(*once())) == [name for name in ALL if name != "law_frontier_data"]
    assert drawn(repeated()[0], []) == {}


@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_drawn_on_axes_that_say_what_they_are(name):
    axes = axes_of(cliff()[name], style.NARROW)
    assert axes.get_xlabel().endswith(", log scale")
    assert axes.get_ylabel()
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert len(ticks) == len(set(ticks)) >= 2


def test_a_law_that_does_not_hold_says_so_first():
    points, [_, other] = repeated()
    figures = drawn(points, [other], "uncertified: lr=0.1 alone")
    for name in set(figures) - {"law_held_out"}:
        begin = "This law does not hold: "
        assert figures[name].caption.startswith(begin)
        assert "Uncertified." in figures[name].caption
    assert not cliff()["law_curves"].caption.startswith("This law")


def test_the_frontier_is_dashed_beyond_what_was_trained():
    figure = cliff()["law_frontier_data"]
    dashed, solid = axes_of(figure).lines
    known = np.isfinite(solid.get_ydata())
    assert np.isfinite(dashed.get_ydata()).all()
    assert known.sum() < len(known)
    assert "dashed" in figure.caption
    assert "parameters at" in figure.alt


def test_a_line_of_the_law_is_dotted_where_no_such_size_was_trained():
    points, _ = repeated()
    lines = axes_of(cliff()["law_curves"]).lines
    dotted, solid = lines[:2]
    assert (dotted.get_linestyle(), solid.get_linestyle()) == (":", "-")
    assert min(dotted.get_xdata()) < points.n.min() <= min(solid.get_xdata())


def test_a_hue_is_a_text_and_a_marker_too():
    legend = cliff()["law_curves"].legend
    marks = {}
    for _, mark, label in legend:
        marks.setdefault(label.partition(",")[0], set()).add(mark)
    assert all(len(found) == 1 for found in marks.values())
    assert len({color for color, *_ in legend}) == len(legend)


def test_errors_of_the_worst_law_do_not_flatten_those_of_the_best():
    figure = cliff()["law_held_out"]
    assert axes_of(figure).get_yscale() == "symlog"
    assert "Beyond 1% the axis of errors is logarithmic." in figure.caption
    assert axes_of(cliff()["law_residuals"]).get_yscale() == "linear"


@pytest.mark.slow
def test_a_law_of_what_hardly_varies_is_drawn_too():
    """A single size, losses that are all but equal, two points: axes without a range."""
    points, [law] = once()
    flat = Points.of(points.n, points.tokens, 2 + 1e-9 * points.n / points.n.max())
    for few in (points.take(points.n == points.n[0]), flat, points.take(np.arange(2))):
        for figure in drawn(few, [replace(law, held_out={})]).values():
            if "frontier" not in figure.name:
                axes_of(figure)


@pytest.mark.slow
def test_figures_are_saved_beside_the_fit_and_those_of_an_earlier_one_go(tmp_path, monkeypatch):
    points, judged = once()
    for name in ("law_frontier_data.svg", "mine.png"):
        (tmp_path / name).touch()
    made = drawn(points, judged)["law_residuals"]
    monkeypatch.setattr(law_figures, "drawn", lambda *_: [made])
    written = law_figures.draw_law(observed(points, "uncertified: lr"), judged, tmp_path)
    assert [path.name for path in written] == ["law_residuals.png", "law_residuals.svg"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.png", *(p.name for p in written)}
    assert written[0].read_bytes().startswith(b"\x89PNG")


def test_figures_of_optima_lie_beside_the_fit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(law_figures, "FORMS", ("svg",))
    (tmp_path / "law_step_law.svg").touch()
    written = law_figures.draw_law(observed(once()[0]), [], tmp_path, [budgets()])
    assert [path.stem for path in written] == [f"law_{name}" for name in law_figures.OF_OPTIMA[:2]]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_what_is_in_the_place_of_a_figure_is_named(tmp_path):
    (tmp_path / "law_curves.png").mkdir()
    with pytest.raises(StorageError, match="law_curves.png: "):
        law_figures.draw_law(observed(once()[0]), [], tmp_path)


def test_a_picture_alone_says_first_what_its_caption_does():
    points, [_, other] = repeated()
    seen = observed(points, "uncertified: lr")
    picture = law_figures.pictures(seen, [other])["law_residuals"]
    *first, last = picture.axes[0].get_title(loc="left").splitlines()
    assert " ".join(first).startswith("This law does not hold: ")
    assert " ".join(first).endswith("Uncertified.")
    assert last == "What the law leaves over"


def test_a_cliff_has_steps_of_one_two_five():
    points, [best, _] = repeated()
    shown = law_views.loss_map(best, points)
    levels = law_charts.cliff_levels(shown)
    assert {f"{level:.0e}"[0] for level in levels} == {"1", "2", "5"}
    assert levels == sorted(levels)
    assert levels[-1] < max(shown.value.max(), shown.measured.max())


def test_the_laws_that_are_compared_stand_side_by_side():
    legend = cliff()["law_held_out"].legend
    laws = [label.partition(",")[0] for *_, label in legend]
    assert laws == ["overfitting", "overfitting", "chinchilla", "chinchilla"]
    assert [mark for _, mark, _ in legend] == ["●", "■", "●", "■"]
