"""The figures of a report: the numbers behind them, the map, bands, thinned curves."""

import csv
import json
import math
import re

import pytest
from report_pages import PICTURES, add, grid, page_of, words
from run_directories import valley, write_run

from gptexp.analysis import cliff
from gptexp.report import charts, results
from gptexp.report.page import write_report


def test_the_numbers_behind_the_figures_lie_beside_the_page(written):
    numbers = json.loads((written / "report.json").read_text())
    first = numbers["sizes"][0]
    assert (first["params"], first["tokens"], first["best"]["n"]) == (32000, 100, 3)
    assert math.isclose(first["best"]["mean"], (0.42 + 0.52 + 0.3) / 3)
    assert first["height"] == {"n": 3, "mean": 0.5, "ci95": 0.0}
    curve = numbers["cliffs"][0]["curves"][0]
    losses = [row["val/loss"] for row in valley(0.42, 9)]
    assert [point["val_loss"] for point in curve] == pytest.approx(losses)
    for name, count in (("runs.csv", 10), ("groups.csv", 4)):
        assert len(list(csv.DictReader((written / name).open()))) == count


def test_every_figure_is_a_picture_beside_the_page(written):
    assert {path.name for path in written.glob("*.png")} == PICTURES
    assert not list(written.glob(".*"))
    for name in PICTURES:
        assert (written / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_map_has_a_cell_for_each_size_and_says_height_and_best(written):
    sizes = results.sizes(results.read_results(written.parent))
    figure = charts.cliff_map(results.grid(sizes))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown[:2] == ["+0.500", "best 0.413"]
    assert len(shown) == 8
    assert "64,000 parameters, 500 tokens: +0.500, best 1.190" in page_of(written)
    # In the drawing too, where coordinates are cut to two decimals.
    assert re.search(r"<text[^>]*>\+0\.500</text>", page_of(written))


def test_where_groups_share_a_size_the_map_shows_the_lowest(tmp_path):
    for lr, best in ((0.1, 2.0), (0.2, 1.0)):
        add(tmp_path / "a", 32, 0.1, 0, best, optim__lr=lr)
    [cell] = results.grid(results.sizes(results.read_results(tmp_path / "a")))
    assert (cell.label, cell.best.mean) == ("lr=0.2", 1.0)


def test_with_one_size_alone_the_map_is_left_out_with_a_word(tmp_path, undrawn):
    for n_embd in (32, 64):
        add(tmp_path / "a", n_embd, 0.1, 0, 1.0)
    written = write_report(tmp_path / "a")[0].parent
    assert {path.name for path in written.glob("*.png")} == PICTURES - {
        *("cliff_map.png", "loss_by_tokens.png"),
    }
    assert "All groups have 100 training tokens, so the map of the cliff is left out." in words(
        page_of(written)
    )


def test_many_runs_are_drawn_as_means_with_bands(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 5)
    monkeypatch.setattr(results, "MOST_GROUPS", 2)
    written = write_report(grid(tmp_path / "a"))[0].parent
    text = words(page_of(written))
    assert "8 runs are too many to draw one by one: each line is a mean" in text
    assert "2 of 4 groups are drawn, from the lowest best loss to the highest" in text
    lowest, highest = json.loads((written / "report.json").read_text())["cliffs"]
    assert (lowest["label"], highest["label"]) == (
        "n_embd=32 fraction=0.1",
        "n_embd=64 fraction=0.5",
    )
    low, high = (valley(0.42 + seed / 10, 9)[4]["val/loss"] for seed in (0, 1))
    assert math.isclose(lowest["curves"][0][4]["val_loss"], (low + high) / 2)
    assert [lowest["band"][0][4], lowest["band"][1][4]] == pytest.approx([low, high])


@pytest.mark.filterwarnings("error")
def test_a_group_that_ended_at_once_is_drawn_beside_long_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "MOST_RUNS", 1)
    for number, length in enumerate((1, 9, 9, 200)):
        rows = valley(1.0, 200)[:length]
        add(tmp_path / "a", 32 * (number + 1), 0.1, 0, 1.0, metrics=rows)
    bundles, _ = results.bundles(results.read_results(tmp_path / "a"))
    figure = charts.overlay(bundles, "step")
    charts.svg(figure, "a")
    assert figure.axes[0].get_xscale() == "log"
    assert len(figure.axes[0].collections) == 3  # bands of those that have more than a start


def test_a_long_curve_is_thinned_and_keeps_its_best_and_ends():
    rows = valley(1.0, 5001)
    curve = results.thinned(cliff.curve_points(rows))
    assert len(curve) <= results.MOST_POINTS + 1
    assert (curve[0].step, curve[-1].step) == (0, 500_000)
    assert min(point.val_loss for point in curve) == 1.0


def test_keys_that_follow_from_others_do_not_tell_groups_apart(tmp_path):
    for name, n_embd, fraction in (("tiny", 64, 0.1), ("small", 128, 0.5)):
        keys = {"model__name": name, "model__n_embd": n_embd, "data__fraction": fraction}
        write_run(tmp_path / "a", 0, 1.0, trainer__log_interval=n_embd, **keys)
    assert results.read_results(tmp_path / "a").by == ["model.name", "data.fraction"]


def test_sizes_of_different_kinds_of_models_are_not_joined(tmp_path):
    folder = tmp_path / "kinds"
    write_run(folder, 0, params=100, model__kind="gpt", model__name="one")
    write_run(folder, 0, params=200, model__kind="gpt", model__name="two")
    write_run(folder, 0, params=300, model__kind="mlp", model__name="three")
    labels = {
        size.params: size.other_than_params for size in results.sizes(results.read_results(folder))
    }
    assert labels == {100: "gpt", 200: "gpt", 300: "mlp"}
