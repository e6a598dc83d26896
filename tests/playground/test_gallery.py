"""`gptexp report --playground`: the best runs of a sweep beside its report."""

import re

import pytest
from playgrounds import runs_of
from report_pages import draw_nothing, page_of, words

from gptexp.playground import page, spec
from gptexp.report import interactive


@pytest.fixture
def sweep(small, once, tmp_path, monkeypatch):
    """Four runs of two widths and two seeds."""
    draw_nothing(monkeypatch)
    monkeypatch.setattr(interactive, "curves", lambda bundles, target: None)
    for width in (8, 16):
        for seed in (0, 1):
            config = small(f"model.n_embd={width}", f"seed={seed}", "trainer.max_steps=4")
            run = once(config, tmp_path / "outputs")
    return run.parent


def losses(gptexp, sweep):
    """The best loss of each run, by its label in the table."""
    rows = gptexp("table", sweep, "--columns", "n_embd,seed,best", "--format", "csv").out
    return [line.split(",") for line in rows.splitlines()[1:]]


@pytest.mark.slow
def test_the_best_run_of_each_group_is_played_the_best_first(gptexp, sweep):
    result = gptexp("report", sweep, "--playground")
    assert result.code == 0, result.err
    report = sweep / "report"
    runs = runs_of((report / "playground.html").read_text())
    table = sorted(losses(gptexp, sweep), key=lambda row: float(row[-1]))
    best = {}
    for width, seed, _ in table:
        best.setdefault(width, f"n_embd={width} s{seed}")
    assert [run["name"] for run in runs] == [*best.values()]
    assert '<a href="playground.html">Try the best runs, side by side</a>' in page_of(report)
    assert " ".join(best.values()) in words(page_of(report))


def test_a_report_without_it_takes_an_earlier_one_away(gptexp, sweep):
    assert gptexp("report", sweep, "--playground").code == 0
    assert gptexp("report", sweep).code == 0
    assert not (sweep / "report" / "playground.html").exists()
    assert "playground.html" not in page_of(sweep / "report")


def room_for(parameters, monkeypatch):
    monkeypatch.setattr(page, "MOST_PARAMETERS", parameters)
    monkeypatch.setattr(spec, "MOST_PARAMETERS", parameters)


def test_what_a_page_cannot_hold_is_left_out_and_told(gptexp, sweep, monkeypatch):
    room_for(2000, monkeypatch)  # between the two
    result = gptexp("report", sweep, "--playground")
    assert result.code == 0
    [line] = result.err.splitlines()
    assert re.search(r"[\d,]+ parameters, and a page has room for 2,000\. Fix: ", line)
    [run] = runs_of((sweep / "report" / "playground.html").read_text())
    assert run["name"].startswith("n_embd=8")
    assert "a page has room for 2,000" in words(page_of(sweep / "report"))


def test_where_nothing_can_be_played_there_is_a_report_and_a_line_for_each(
    gptexp, sweep, monkeypatch
):
    room_for(100, monkeypatch)
    result = gptexp("report", sweep, "--playground")
    assert result.code == 2 and "wrote" in result.out
    *each, last = result.errors
    assert len(each) == 2 and last.startswith(f"{sweep}: none of its runs can be played")
    assert not (sweep / "report" / "playground.html").exists()


def test_runs_that_are_not_done_are_not_played(gptexp, sweep):
    for run in sweep.iterdir():
        (run / "summary.json").unlink()
    result = gptexp("report", sweep, "--playground")
    assert result.code == 2
    assert result.errors[-1].startswith(f"{sweep}: none of its runs is done. Fix: ")
