"""Curves to hover over: where Bokeh is, escaped, the same each time, without a network."""

import json

import pytest
from browsers import chromium
from report_pages import add, page_of
from run_directories import valley

from gptexp.report import interactive, results
from gptexp.report.interactive import curves  # before conftest.py takes it away
from gptexp.report.page import write_report

NASTY = "</script><img src=x onerror=alert(1)> $$x$$ \\(y\\)"


@pytest.fixture
def with_bokeh(monkeypatch):
    pytest.importorskip("bokeh")
    monkeypatch.setattr(interactive, "curves", curves)


@pytest.fixture
def folder(tmp_path):
    """Two groups of two seeds, one of them with a nasty name."""
    for seed in (0, 1):
        for name in ("plain", NASTY):
            add(tmp_path / "a", 32, 0.1, seed, 1.0, metrics=valley(1.0, 9), model__name=name)
    return tmp_path / "a"


def test_without_the_extra_there_is_no_script(folder, undrawn, monkeypatch):
    monkeypatch.setattr(interactive, "curves", curves)
    monkeypatch.setattr(interactive.importlib.util, "find_spec", lambda name: None)
    assert "<script" not in page_of(write_report(folder)[0].parent)


def test_the_curves_are_those_of_the_figure_and_cannot_end_their_script(folder, with_bokeh):
    bundles, _ = results.bundles(results.read_results(folder))
    made = curves(bundles, "hover")
    assert "<" not in made.item
    text = json.dumps(json.loads(made.item))
    losses = [point.val_loss for point in bundles[0].curves[0]]
    assert json.dumps(losses) in text
    assert "</script><img src=x" in text
    assert "$$" not in text
    assert "\\(" not in text.replace("\\\\", "\\")


def test_the_same_runs_give_the_same_script(folder, with_bokeh):
    bundles, _ = results.bundles(results.read_results(folder))
    assert curves(bundles, "hover") == curves(bundles, "hover")
    assert curves([], "hover") is None


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_them_without_a_network(folder, with_bokeh, width):
    page_path, _ = write_report(folder)
    requests, errors = [], []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_path.as_uri())
        page.wait_for_function("window.Bokeh && Bokeh.documents.length === 1")
        figure = page.locator("#hover .bk-Figure")
        figure.wait_for()
        assert figure.bounding_box()["width"] > 0.8 * min(width, 1100)
        lines = """() => {
          const model = Bokeh.documents[0].get_model_by_name("legend");
          return model.items.map((item) => item.renderers.length);
        }"""
        assert page.evaluate(lines) == [4, 4]  # training and validation of two seeds
        figure.scroll_into_view_if_needed()
        box, tooltip = figure.bounding_box(), page.locator(".bk-tooltip-row-value")
        for share in range(5, 90):  # somewhere there is a curve
            page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * share / 100)
            page.wait_for_timeout(20)  # it is drawn in the next frame
            if tooltip.count():
                break
        assert tooltip.first.inner_text().startswith(("model=plain", "model=</script>"))
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert page.locator("img").count() == 0
    assert requests == [page_path.as_uri()]
    assert errors == []
