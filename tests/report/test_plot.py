"""`gptexp plot`: the picture, its labels and its refusals."""

import shutil
from pathlib import Path

import pytest
from small_runs import ONE_LINE, metrics, problem_lines
from typer.testing import CliRunner

from gptexp.analysis import cliff
from gptexp.cli.app import app
from gptexp.errors import ConfigError, GptexpError
from gptexp.experiment.run import run_experiment
from gptexp.report import charts
from gptexp.report.plot import plot_cliffs

PNG = b"\x89PNG\r\n\x1a\n"


TRAINED: dict[int, Path] = {}  # by seed; each test has copies of its own


@pytest.fixture
def copied(small, tmp_path, tmp_path_factory, quick):
    """`copied(4)`: the run of a seed, beside those of others."""

    def copy(seed):
        if seed not in TRAINED:
            outputs = tmp_path_factory.mktemp("outputs")
            TRAINED[seed] = run_experiment(small(f"seed={seed}"), outputs).directory
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
    figure = charts.cliffs({"a": cliff.curve_points(metrics(run))}, axis)
    rows = [row for row in metrics(run) if "val/loss" in row]
    assert line_of(figure, "-") == [(row[field], row["val/loss"]) for row in rows]
    assert line_of(figure, "--") == [(row[field], row["train/eval_loss"]) for row in rows]


def test_the_best_evaluation_is_marked(run):
    rows = [row for row in metrics(run) if "val/loss" in row]
    best = min(rows, key=lambda row: row["val/loss"])
    figure = charts.cliffs({"a": cliff.curve_points(rows)}, "step")
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [tuple(mark.get_xydata()[0]) for mark in marks] == [(best["step"], best["val/loss"])]
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{best['val/loss']:.3f}"]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_folder_of_runs_is_drawn_into_one_file(run, copied, tmp_path, kind):
    copied(4)
    to = tmp_path / f"cliffs.{kind}"
    result = CliRunner().invoke(app, ["plot", str(run.parents[1]), "--to", str(to)])
    assert result.output == f"wrote {to}\n"
    start = {"png": PNG, "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert to.read_bytes().startswith(start)


def test_every_run_has_its_line_and_its_name(run, copied, tmp_path, monkeypatch):
    other = copied(4)
    drawn = {}
    original = charts.cliffs
    monkeypatch.setattr(
        charts, "cliffs", lambda curves, by: drawn.update(curves) or original(curves, by)
    )
    plot_cliffs([run.parent], tmp_path / "a.png", "step")
    assert set(drawn) == {f"default/{run.name}", f"default/{other.name}"}


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
        plot_cliffs([path], tmp_path / to, by)
    [line] = problem_lines(caught.value)
    assert names in line
    assert ONE_LINE.fullmatch(line)


def test_a_run_without_an_evaluation_is_named_and_left_out(run, copied, tmp_path, caplog):
    other = copied(4)
    caplog.clear()
    (other / "metrics.jsonl").write_text('{"step": 3, "train/loss": 2.0}\n')
    plot_cliffs([run.parent], tmp_path / "a.png", "step")
    [warning] = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert str(other) in warning
    with pytest.raises(ConfigError, match="none holds an evaluation"):
        plot_cliffs([other], tmp_path / "a.png", "step")


def test_runs_of_the_same_name_in_two_places_are_two_lines(run, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere" / run.parent.name / run.name
    shutil.copytree(run, other)
    drawn = {}
    original = charts.cliffs
    monkeypatch.setattr(
        charts, "cliffs", lambda curves, by: drawn.update(curves) or original(curves, by)
    )
    plot_cliffs([run, other], tmp_path / "new" / "a.png", "step")
    assert set(drawn) == {str(run), str(other)}
    assert (tmp_path / "new" / "a.png").exists()
