"""`gptexp plot`: the picture, its labels and its refusals."""

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from report_pages import add
from small_runs import ONE_LINE, metrics, problem_lines
from typer.testing import CliRunner

from gptexp.cli.app import app
from gptexp.errors import ConfigError, GptexpError, StorageError
from gptexp.experiment.run import run_experiment
from gptexp.report import charts, results
from gptexp.report.plot import plot
from gptexp.report.results import bundles, read_results

PNG = b"\x89PNG\r\n\x1a\n"


TRAINED: dict[int, Path] = {}  # by seed; each test has copies of its own


@pytest.fixture
def copied(small, tmp_path, tmp_path_factory, quick):
    """`copied(4)`: the run of a seed, beside those of others."""

    def copy(seed):
        if seed not in TRAINED:
            outputs = tmp_path_factory.mktemp("outputs")
            TRAINED[seed] = run_experiment(small(f"seed={seed}"), outputs).path
        trained = TRAINED[seed]
        return Path(shutil.copytree(trained, tmp_path / "outputs/default" / trained.name))

    return copy


@pytest.fixture
def run(copied):
    return copied(3)


def line_of(figure, style, number=0):
    """Points of a run's solid or dashed line."""
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() == style]
    return list(zip(*lines[number].get_data(), strict=True))


@pytest.mark.parametrize(
    ("axis", "field"), [("step", "step"), ("tokens", "tokens"), ("epochs", "epoch")]
)
def test_the_curves_are_those_of_metrics_jsonl(run, axis, field):
    figure = charts.overlay(bundles(read_results(run))[0], axis)
    rows = [row for row in metrics(run) if "val/loss" in row]
    assert line_of(figure, "-") == [(row[field], row["val/loss"]) for row in rows]
    assert line_of(figure, "--") == [(row[field], row["train/eval_loss"]) for row in rows]


def test_a_picture_is_replaced_whole_or_not_at_all(run, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    plot([run], "step", path)
    whole = path.read_bytes()

    def fill(figure: Any, file: Any, **_: object) -> None:
        file.write(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fill)
    with pytest.raises(StorageError, match=r"a\.png: No space left on device"):
        plot([run], "step", path)
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.glob("*.tmp")] == []


def test_the_best_evaluation_is_marked(run):
    rows = [row for row in metrics(run) if "val/loss" in row]
    best = min(rows, key=lambda row: row["val/loss"])
    figure = charts.overlay(bundles(read_results(run))[0], "step")
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [tuple(mark.get_xydata()[0]) for mark in marks] == [(best["step"], best["val/loss"])]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{run.name}: {best['val/loss']:.3f}"
    ]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_folder_of_runs_is_drawn_into_one_file(run, copied, tmp_path, kind):
    copied(4)
    to = tmp_path / f"cliffs.{kind}"
    result = CliRunner().invoke(app, ["plot", str(run.parents[1]), "--to", str(to)])
    assert result.output == f"wrote {to}\n"
    start = {"png": PNG, "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert to.read_bytes().startswith(start)


@pytest.fixture
def drawn(monkeypatch):
    """The bundles that were last drawn, by label."""
    kept = {}
    original = charts.overlay

    def overlay(bundles, *more):
        kept.clear()
        kept.update({bundle.label: bundle for bundle in bundles})
        return original(bundles, *more)

    monkeypatch.setattr(charts, "overlay", overlay)
    return kept


def test_seeds_of_a_group_share_a_name_and_a_colour(run, copied, tmp_path, drawn):
    copied(4)
    plot([run.parent], "step", tmp_path / "a.png")
    assert {label: len(bundle.curves) for label, bundle in drawn.items()} == {"all runs": 2}


def sweep(folder, runs=6):
    for number in range(runs):
        add(folder, 32, 0.1, number % 2, 1.0 + number // 2, optim__lr=10.0 ** -(number // 2))
    return folder


def test_many_runs_are_means_as_in_the_report(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 5)
    plot([sweep(tmp_path / "a")], "step", tmp_path / "a.png")
    assert list(drawn) == ["lr=0.01", "lr=0.1", "lr=1"]
    assert all(bundle.band is not None for bundle in drawn.values())


def test_the_legend_stands_beside_the_curves(tmp_path):
    figure = charts.overlay(bundles(read_results(sweep(tmp_path / "a")))[0], "step")
    figure.draw_without_rendering()
    assert figure.legends[0].get_window_extent().x0 > figure.axes[0].get_window_extent().x1


@pytest.mark.parametrize(
    ("by", "name"),
    [
        ("step", "cliffs.png"),
        ("optim.lr", "loss_by_lr.png"),
        ("lr", "loss_by_lr.png"),
        ("lr,model.dropout", "loss_map.png"),
        ("dropout, lr", "loss_map.png"),
    ],
)
def test_a_key_draws_the_best_loss_over_it_and_two_a_map(tmp_path, monkeypatch, by, name):
    monkeypatch.chdir(tmp_path)
    add(sweep(tmp_path / "a"), 32, 0.1, 0, 1.0, optim__lr=1.0, model__dropout=0.5)
    assert plot([tmp_path / "a"], by) == (Path(name), [])
    assert Path(name).read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("by", "line"),
    [
        ("lrr", "did you mean optim.lr?"),
        ("model.n_layer", "model.n_layer does not tell these runs apart"),
        ("n_layer", "use one of step, tokens, epochs, optim.lr"),
        ("lr,lr", "lr,lr is not one key, or two"),
        ("lr,step", "step is not known. Fix: use one of optim.lr"),
    ],
)
def test_what_does_not_vary_is_refused_with_what_does(tmp_path, by, line):
    with pytest.raises(ConfigError) as caught:
        plot([sweep(tmp_path / "a")], by, tmp_path / "a.png")
    [shown] = problem_lines(caught.value)
    assert line in shown


def test_a_loss_over_a_key_needs_a_finished_run(tmp_path):
    add(tmp_path / "a", 32, 0.1, 0, 1.0, state="interrupted")
    with pytest.raises(ConfigError, match="no run is done with a finite loss"):
        plot([tmp_path / "a"], "optim.lr", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("runs", "to", "by", "names"),
    [
        ("run", "a.png", "time", "--by"),
        ("run", "a.jpg", "step", "--to"),
        ("nowhere", "a.png", "step", "nowhere"),
        ("run", "taken/a.png", "step", "taken"),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, runs, to, by, names):
    path = run if runs == "run" else tmp_path / runs
    (tmp_path / "taken").touch()
    with pytest.raises(GptexpError) as caught:
        plot([path], by, tmp_path / to)
    [line] = problem_lines(caught.value)
    assert names in line
    assert ONE_LINE.fullmatch(line)


def test_a_run_without_an_evaluation_is_named_and_left_out(run, copied, tmp_path, caplog):
    other = copied(4)
    caplog.clear()
    (other / "metrics.jsonl").write_text('{"step": 3, "train/loss": 2.0}\n')
    plot([run.parent], "step", tmp_path / "a.png")
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert str(other) in warning
    with pytest.raises(ConfigError, match="none holds an evaluation"):
        plot([other], "step", tmp_path / "a.png")


def test_runs_of_the_same_name_in_two_places_are_two_groups(run, tmp_path, drawn):
    other = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, other)
    plot([run, other], "step", tmp_path / "new" / "a.png")
    assert set(drawn) == {"default", "elsewhere"}
    assert (tmp_path / "new" / "a.png").exists()
