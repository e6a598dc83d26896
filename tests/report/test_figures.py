"""The curves of a report: the numbers behind them, bands, thinned curves, runs not done."""

import csv
import json
import math

import pytest
from report_pages import PICTURES, add, grid, page_of, words
from run_directories import valley, write_run

from gptexp.analysis import cliff
from gptexp.report import charts, figures, interactive, results, style
from gptexp.report.page import write_report


@pytest.mark.slow
def test_the_numbers_behind_the_figures_lie_beside_the_page(written):
    numbers = json.loads((written / "report.json").read_text())
    first = numbers["points"][0]
    sizes = {"parameters": 32000, "training tokens": 100}
    assert first["at"] == {"model.n_embd": 32, "data.fraction": 0.1, **sizes}
    assert first["best"]["n"] == 3
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
    style.svg(figure, "a")
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


def test_runs_that_are_not_done_are_drawn_and_marked(tmp_path):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    add(tmp_path / "a", 32, 0.1, 1, 1.5, state="interrupted", metrics=valley(1.5, 9)[:4])
    read = results.read_results(tmp_path / "a")
    [bundle], _ = results.bundles(read)
    assert (bundle.unfinished, bundle.best) == ([False, True], 1.0)
    axes = charts.overlay([bundle], "step").axes[0]
    [ring] = [line for line in axes.lines if line.get_fillstyle() == "none"]
    assert ring.get_xydata().tolist() == [[300, bundle.curves[1][-1].val_loss]]
    [figure, *_] = figures.cliffs([bundle], 1, list(read.records.values()))
    assert "1 run is not done, and an open circle" in figure.caption
    assert "s1 (interrupted, step 300 of 2,000)" in figure.caption
    assert figure.legend[0][2] == "all runs: 1.000 (1 unfinished)"


def test_runs_with_capped_evaluations_are_marked(tmp_path):
    for fraction in (0.1, 0.2):
        run = add(tmp_path / "a", 32, fraction, 0, 1.0)
    summary = json.loads((run / "summary.json").read_text())
    summary["final"]["capped"] = {"targets": 40, "val_loss": 1, "val_bpb": 1, "train_loss": 1}
    (run / "summary.json").write_text(json.dumps(summary))
    read = results.read_results(tmp_path / "a")
    drawn, count = results.bundles(read)
    [figure, *_] = figures.cliffs(drawn, count, list(read.records.values()))
    labels = [label for *_, label in figure.legend]
    assert labels == ["fraction=0.1: 1.000", "fraction=0.2: 1.000 (capped)"]
    assert figures.CAPPED in figure.caption
    assert [interactive._label(bundle) for bundle in drawn][1].endswith("fraction=0.2 (capped)")
    [mean] = [results._mean("all", (), list(read.records.values()))]
    assert mean.capped


def test_a_budget_leaves_the_steps_open(tmp_path):
    keys = {"trainer__max_tokens": 5, "trainer__max_steps": None}
    add(tmp_path / "a", 32, 0.1, 1, 1.5, state="failed", **keys)
    [record] = results.read_results(tmp_path / "a").records.values()
    assert record.progress == "failed, step 800"


def test_groups_by_a_number_are_drawn_in_the_order_of_its_colours(tmp_path):
    for lr in (0.1, 0.001, 0.01):
        add(tmp_path / "a", 32, 0.1, 0, 1.0, optim__lr=lr)
    bundles, _ = results.bundles(results.read_results(tmp_path / "a"))
    drawn = [line.get_color() for line in charts.overlay(bundles, "step").axes[0].lines[::3]]
    assert drawn == [style.to_hex(style.ORDERED(share)) for share in (0.0, 0.5, 1.0)]


def test_a_seed_that_two_folders_have_is_told_by_them(tmp_path):
    for name in ("old", "new"):
        for seed in (0, 1):
            add(tmp_path / name, 32, 0.1, seed, 1.0)
    read = results.read_results(tmp_path / "old", tmp_path / "new")
    bundles, _ = results.bundles(read)
    assert [(bundle.label, len(bundle.curves)) for bundle in bundles] == [("old", 2), ("new", 2)]


def test_the_band_of_a_mean_lies_within_the_loss_axis(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 1)
    for seed, best in enumerate((1.0, 9.0)):
        add(tmp_path / "a", 32, 0.1, seed, best, metrics=valley(best, 9))
    bundles, _ = results.bundles(results.read_results(tmp_path / "a"))
    assert charts.loss_range(bundles)[0] < 1.0 == min(bundles[0].band[0])


def test_curves_with_no_step_in_common_have_no_mean(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 1)
    add(tmp_path / "a", 32, 0.1, 0, 1.0, metrics=valley(1.0, 9)[:4])
    add(tmp_path / "a", 32, 0.1, 1, 1.0, metrics=valley(1.0, 9)[4:])
    [bundle], _ = results.bundles(results.read_results(tmp_path / "a"))
    assert [point.step for point in bundle.curves[0]] == [0, 100, 200, 300]


def mixed(rows, share):
    """The same lines, of a run on a mix of two whose losses lie 1 apart."""
    return [
        {**row, "val/loss/prose": row["val/loss"] - share, "val/loss/verse": 1 + row["val/loss"]}
        for row in rows
    ]


def test_the_parts_of_a_mix_are_drawn_each_with_its_best(tmp_path, undrawn):
    for share in (0.25, 0.5):
        rows = mixed(valley(1.0, 9), share)
        parts = {"prose": 1.0, "verse": share}
        write_run(tmp_path / "a", best=1.0, metrics=rows, data__name="mix", data__parts=parts)
    drawn, count = results.part_bundles(results.read_results(tmp_path / "a"))
    assert count == 4
    assert [(bundle.label, round(bundle.best, 6)) for bundle in drawn] == [
        ("verse=0.25, prose", 0.75),
        ("verse=0.25, verse", 2.0),
        ("verse=0.5, prose", 0.5),
        ("verse=0.5, verse", 2.0),
    ]
    colors = style.styles([bundle.values for bundle in drawn])
    assert len(set(colors)) == 4 and colors[0][1] == colors[2][1] != colors[1][1]
    figure = charts.overlay(drawn, "tokens")
    [axes] = figure.axes
    low, high = axes.get_ylim()
    assert low < 0.5 and 2.0 < high < math.inf, "no training loss is among them"
    marks = [line.get_xydata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert [tuple(mark) for mark in marks][:2] == [(3600, 0.75), (3600, 2.0)]
    written = write_report(tmp_path / "a")[0].parent
    page, numbers = page_of(written), json.loads((written / "report.json").read_text())
    assert "Parts of the mix" in words(page) and "verse=0.5, verse: 2.000" in words(page)
    assert "from 0.5000 of verse=0.5, prose to 2.0000 of verse=0.5, verse nats per token" in page
    assert "parts.png" in numbers["pictures"] and len(numbers["parts"]) == 4
    assert "train_loss" not in numbers["parts"][0]["curves"][0][0]


def test_one_run_on_a_mix_has_its_parts_alone_as_names_and_others_have_none(tmp_path):
    rows = mixed(valley(1.0, 9), 0.5)
    parts = {"prose": 1.0, "verse": 1.0}
    write_run(tmp_path / "a", best=1.0, metrics=rows, data__name="mix", data__parts=parts)
    write_run(tmp_path / "b", best=1.0)
    drawn, _ = results.part_bundles(results.read_results(tmp_path / "a"))
    assert [bundle.label for bundle in drawn] == ["prose", "verse"]
    assert results.part_bundles(results.read_results(tmp_path / "b")) == ([], 0)
    assert figures.parts([], 0, []) == []
