"""The section of a report on the scaling law of its runs."""

import json

import pytest
from judged_laws import observed, repeated
from law_runs import write_budgets, write_grid, write_point
from report_pages import NASTY, grid, page_of, words

from gptexp.analysis.records import collect
from gptexp.laws import admit, bootstrap, forms, screen
from gptexp.report import law_figures, law_section, page
from gptexp.report.page import write_report

HEAD = "<h2>Scaling law</h2>"


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 20)
    monkeypatch.setattr(forms, "suited", lambda _: [forms.LAWS["chinchilla"]])


@pytest.fixture
def unplotted(monkeypatch):
    monkeypatch.setattr(law_figures, "drawn", lambda *_: [])


def section(folder):
    return law_section.section(collect([folder])[0])


def test_runs_of_two_sizes_have_no_section_and_wait_for_nothing(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(admit, "admit", lambda _: pytest.fail("was asked"))
    assert HEAD not in page_of(write_report(grid(tmp_path / "a", seeds=(0,)))[0].parent)


@pytest.mark.slow
def test_a_law_stands_on_the_page_with_what_is_not_known_before_its_parameters(
    tmp_path, undrawn, unplotted
):
    folder = write_grid(tmp_path / "scaling")
    write_point(folder, seed=7, state="failed", reason=NASTY.replace("\x00", ""))
    shown = page_of(write_report(folder)[0].parent)
    assert HEAD in shown
    text = words(shown[shown.index(HEAD) : shown.index("<h2>Samples</h2>")])
    order = [
        *("16 points and 1 left out; 4 sizes of 20k to 160k parameters", "nats per token"),
        *("uncertified:", "left out, failed: <script>", "Median errors"),
        *("chinchilla: E + A/N^alpha + B/T^beta", "90% interval"),
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_figures_of_a_law_lie_beside_the_page_and_in_its_numbers(tmp_path, undrawn):
    folder = write_grid(tmp_path / "scaling")
    write_report(folder)
    pictures = json.loads((folder / "report/report.json").read_text())["pictures"]
    assert {"law_curves.png", "law_map.png", "law_held_out.png"} <= {*pictures}
    assert all((folder / "report" / name).exists() for name in pictures)
    shown = page_of(folder / "report")
    assert shown.index('id="law_curves"') > shown.index("90% interval")


def test_the_best_size_of_each_budget_stands_after_what_is_not_known_of_it(
    tmp_path, undrawn, unplotted, monkeypatch
):
    monkeypatch.setattr(
        screen, "errors_of_best", lambda _: "median of the best N; R2 <b>{{ 7 * 7 }}"
    )
    folder = write_budgets(tmp_path / "budgets")
    write_point(folder, seed=7, state="failed", reason=NASTY.replace("\x00", ""))
    shown = page_of(write_report(folder)[0].parent)
    part = shown[shown.index(HEAD) : shown.index("<h2>Samples</h2>")]
    assert "<script>" not in part and "<b>" not in part
    text = words(part)
    order = [
        *("left out, failed: <script>", "isoflop does not hold: untested"),
        *("isoflop: N = k C^a and T = l C^b", "Median of the best N; R2 <b>{{ 7 * 7 }}."),
        *("This law does not hold: untested", "flops n tokens loss 1e+12", "1e+13", "1e+14"),
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert (folder / "report" / "law_isoflop.png").exists()


@pytest.mark.slow
def test_the_band_is_by_all_draws_and_other_laws_are_compared_by_few(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 30)
    laws = [forms.LAWS["chinchilla"], forms.LAWS["overfitting"]]
    monkeypatch.setattr(forms, "suited", lambda _: laws)
    points, _ = repeated()
    best, *others = law_section._judged(points)
    assert best.fit.law.name == "overfitting"
    assert len(best.draws) == 30
    assert {len(one.draws) for one in others} == {law_section.FEW_DRAWS}


def test_too_few_points_are_said_in_a_line(tmp_path):
    for n in (20_000, 40_000, 80_000):
        write_point(tmp_path / "a", n, model__n_embd=n // 1000)
    made = section(tmp_path / "a")
    assert made.lead == ["There is no scaling law: 3 points of 3 sizes are too few."]
    assert (made.compared, made.figures) == (None, [])


def test_runs_of_which_none_are_most_have_a_line_in_place_of_a_law(tmp_path):
    for n in (20_000, 40_000, 80_000):
        for kind in ("gelu", "relu2"):
            write_point(tmp_path / "a", n, model__n_embd=n // 1000, model__activation=kind)
    [line] = section(tmp_path / "a").lead
    assert line.startswith("There is no scaling law: ")
    assert "kinds of it among the runs" in line


def test_without_a_law_that_could_be_fitted_the_reasons_stand_there():
    points, _ = repeated()
    some = points.take(points.n == points.n[0])
    made = law_section.told(observed(some, "uncertified: lr"), [])
    assert made.lead == ["There is no scaling law: no formula could be fitted."]
    assert made.known[0] == "uncertified: lr"
    assert made.known[1].startswith("not fitted: chinchilla: needs ")
    assert page._law(made)["compared"] is None
