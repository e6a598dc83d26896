"""The figures of the best loss over what varies: lines, stars, maps, and their words."""

import re

import pytest
from report_pages import CURVES, add, grid, page_of, words

from gptexp.report import loss_charts, loss_figures, results, style
from gptexp.report.page import write_report
from gptexp.report.points import factors, points

LRS = (0.001, 0.01, 0.1)


def of(folder):
    read = results.read_results(folder)
    some = points(read)
    return some, factors(some, read.by)


def figures(folder):
    return {figure.name: figure for figure in loss_figures.drawn(*of(folder))}


def axes_of(figure):
    drawn = figure.draw(style.WIDE, True)
    drawn.draw_without_rendering()
    return drawn.axes[0]


def sweep(folder, losses, seeds=(0, 1), **more):
    for lr, best in zip(LRS, losses, strict=True):
        for seed in seeds:
            add(folder, 32, 0.1, seed, best + seed / 10, optim__lr=lr, **more)
    return folder


def test_a_learning_rate_has_its_figure_with_the_optimum(tmp_path):
    drawn = figures(sweep(tmp_path / "a", (2.0, 1.0, 3.0)))
    figure = drawn["loss_by_lr"]
    assert set(drawn) == {"loss_by_lr"}
    axes = axes_of(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    assert axes.get_xlabel() == "optim.lr, log scale"
    assert len(axes.containers) == 1  # intervals
    assert [line.get_marker() for line in axes.lines].count("*") == 1
    assert "the vertex of the parabola" in figure.caption
    assert "in the logarithm of lr" in figure.caption
    assert "The lowest mean is 1.0500 nats per token at lr=0.01." in figure.caption
    assert "lowest by a parabola: lr=0.00681" in figure.alt
    assert figure.legend == [(style.PALETTE[0], "●", "lr=0.00681")]


@pytest.mark.parametrize(
    ("losses", "legend"),
    [
        ((3.0, 2.0, 1.0), "at the edge, lr=0.1: try larger values"),
        ((1.0, 2.0, 3.0), "at the edge, lr=0.001: try smaller values"),
    ],
)
def test_an_optimum_at_the_edge_is_said(tmp_path, losses, legend):
    figure = figures(sweep(tmp_path / "a", losses))["loss_by_lr"]
    assert figure.legend[0][2] == legend
    assert "A star" not in figure.caption
    assert not [line for line in axes_of(figure).lines if line.get_marker() == "*"]


def test_nobody_is_sent_below_zero(tmp_path):
    for dropout in (0.0, 0.1, 0.2):
        add(tmp_path / "a", 32, 0.1, 0, 1.0 + dropout, model__dropout=dropout)
    figure = figures(tmp_path / "a")["loss_by_dropout"]
    assert figure.legend[0][2] == "dropout=0"
    assert "One finished run each, so there are no intervals" in figure.caption


def test_intervals_of_several_lines_do_not_hide_each_other(tmp_path):
    for dropout in (0.0, 0.1, 0.2):
        sweep(tmp_path / "a", (2.0, 1.0, 3.0), model__dropout=dropout)
    _, varied = of(tmp_path / "a")
    figure = figures(tmp_path / "a")["loss_by_lr"]
    bars = [container.lines[0] for container in axes_of(figure).containers]
    x = [round(value, 6) for bar in bars for value in bar.get_xdata()]
    assert len(set(x)) == 9
    near = varied[1].scale.places[1]
    assert sum(abs(value - near) < 0.5 for value in x) == 3
    ordered = [style.to_hex(style.ORDERED(share)) for share in (0.0, 0.5, 1.0)]
    assert [bar.get_color() for bar in bars] == ordered


def test_words_alone_are_places_without_a_line(tmp_path):
    for name, best in (("adamw", 1.0), ("sgd", 2.0)):
        for seed in (0, 1):
            add(tmp_path / "a", 32, 0.1, seed, best, optim__name=name)
    axes = axes_of(figures(tmp_path / "a")["loss_by_optim"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["adamw", "sgd"]
    assert "-" not in {line.get_linestyle() for line in axes.lines if len(line.get_xdata()) > 1}


def test_two_keys_are_a_map_with_values_intervals_and_gaps(tmp_path):
    for name, best in (("adamw", 1.0), ("sgd", 2.0)):
        for lr in (0.1, 0.2):
            if (name, lr) != ("sgd", 0.2):
                for seed in (0, 1)[: 2 if lr == 0.1 else 1]:
                    add(tmp_path / "a", 32, 0.1, seed, best + lr, optim__name=name, optim__lr=lr)
    drawn = figures(tmp_path / "a")
    assert set(drawn) == {"loss_map"}
    axes = axes_of(drawn["loss_map"])
    shown = [text.get_text() for text in axes.texts]
    assert sorted(filter(None, shown)) == sorted(
        ["1.1000", "± 0.0000", "1.2000", "n = 1", "2.1000", "± 0.0000", "no run"]
    )
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optim.lr", "optim.name")
    [frame] = axes.patches
    assert frame.get_xy() == (0, 0)  # the lowest
    assert "optim=adamw, lr=0.1: best 1.100" in drawn["loss_map"].alt


def test_the_map_of_the_cliff_says_height_and_best(written):
    page = page_of(written)
    figure = figures(written.parent)["cliff_map"]
    shown = [text.get_text() for text in axes_of(figure).texts]
    assert shown[:2] == ["+0.500", "best 0.413"]
    assert len(shown) == 8
    assert "64,000 parameters, 500 training tokens: best 1.190, +0.500" in page
    # In the drawing too, where coordinates are cut to two decimals.
    assert re.search(r"<text[^>]*>\+0\.500</text>", page)


def test_one_bad_corner_does_not_take_all_colours():
    assert loss_charts._color_range([1.0, 1.1, 1.2, 9.0], True) == pytest.approx((1.0, 1.6))
    assert loss_charts._color_range([1.0, 1.1, 1.2], True) == (1.0, 1.2)
    assert loss_charts._color_range([], True) == (0.0, 1.0)
    assert loss_charts._color_range([0.0, 0.0], False) == (0.0, 1.0)


def test_with_one_size_alone_there_is_no_map(tmp_path, undrawn):
    for n_embd in (32, 64):
        add(tmp_path / "a", n_embd, 0.1, 0, 1.0)
    written = write_report(tmp_path / "a")[0].parent
    assert {path.name for path in written.glob("*.png")} == CURVES | {"loss_by_parameters.png"}


def test_a_map_that_has_no_room_is_left_out_with_a_word(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(loss_figures, "MOST_SIDE", 1)
    page = page_of(write_report(grid(tmp_path / "a"))[0].parent)
    assert "A map of more than 1 values on a side is left out." in words(page)
    assert 'id="loss_map"' not in page


def test_more_than_two_keys_of_few_values_have_a_word(tmp_path, undrawn):
    for number in range(8):
        keys = {"optim__lr": number % 2 + 1.0, "model__dropout": number // 2 % 2 / 2}
        add(tmp_path / "a", 32, 0.1, 0, 1.0, **keys, trainer__batch_size=number // 4 + 1)
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
    assert "vary, none of them over 3 numbers or more: gptexp plot with --by" in text


@pytest.mark.slow
def test_foreign_keys_and_values_stay_words(tmp_path):
    for number in range(3):
        keys = {"model__../a/<b>$x$": f"</svg>$y$ {number}" + "z" * 99}
        add(tmp_path / "a", 32, 0.1, 0, 1.0 + number, **keys)
    page = page_of(write_report(tmp_path / "a")[0].parent)
    assert "&lt;/svg&gt;$y$ 0" in page
    assert "</svg>$y$" not in page
    assert all(re.fullmatch(r"\w+\.png", path.name) for path in tmp_path.glob("a/report/*.png"))
