"""A report that is drawn once, and what it takes to draw none."""

import pytest
from report_pages import COMMAND, NASTY, add, draw_nothing, grid

from gptexp.report import interactive
from gptexp.report.page import write_report


@pytest.fixture(scope="session", autouse=True)
def without_script():
    """The page as it is without the extra, which has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactive, "curves", lambda bundles, target: None)
        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """The report of a grid in which one group is not whole and one text is nasty."""
    folder = grid(tmp_path_factory.mktemp("outputs") / "scaling")
    add(folder, 64, 0.5, 2, 1.0, state="failed", reason="disk <full>", command=COMMAND)
    add(folder, 32, 0.1, 2, 0.3, sample=NASTY, command=COMMAND)
    write_report(folder)
    return folder / "report"


@pytest.fixture
def undrawn(monkeypatch):
    """No drawing, where the words alone are looked at."""
    draw_nothing(monkeypatch)
