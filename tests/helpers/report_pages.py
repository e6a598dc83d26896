"""Sweeps written by hand for a report, and the page read back."""

import html
import re

from run_directories import valley, write_run

from gptexp.report import figures

COMMAND = ["/somewhere/run.py", "-m", "model.n_embd=32,64", "data.fraction=0.1,0.5"]
CURVES = {"cliffs_step.png", "cliffs_tokens.png", "cliffs_epochs.png"}
PICTURES = CURVES | {
    *("cliff_map.png", "loss_map.png"),
    *("loss_by_parameters.png", "loss_by_training_tokens.png"),
}
NASTY = '<script>alert(1)</script> & "quoted" \x00\x1b[31m {{ 7 * 7 }}'


def add(folder, n_embd, fraction, seed, best, **more):
    """A run whose size and training tokens follow from its keys."""
    return write_run(
        folder,
        seed,
        best,
        metrics=more.pop("metrics", None) or valley(best, 9),
        params=1000 * n_embd,
        train_tokens=int(1000 * fraction),
        model__n_embd=n_embd,
        data__fraction=fraction,
        **more,
    )


def grid(folder, seeds=(0, 1)):
    """Best losses n_embd / 100 + fraction + seed / 10."""
    for n_embd in (32, 64):
        for fraction in (0.1, 0.5):
            for seed in seeds:
                best = n_embd / 100 + fraction + seed / 10
                add(folder, n_embd, fraction, seed, best, command=COMMAND)
    return folder


def draw_nothing(monkeypatch):
    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr(figures.ReportFigure, "svgs", lambda self: [empty] * len(self.shapes))
    monkeypatch.setattr(figures.ReportFigure, "png", lambda self: b"")


def page_of(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


def words(page):
    """The text of a page, without its tags and its figures."""
    page = re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def table_of(page, number):
    """Cells of a table of the page, with the class of each row."""
    body = re.findall(r"<tbody>(.*?)</tbody>", page, flags=re.DOTALL)[number]
    rows = re.findall(r"<tr(.*?)>(.*?)</tr>", body, flags=re.DOTALL)
    return [(bool(mark), re.findall(r"<td[^>]*>(.*?)</td>", cells)) for mark, cells in rows]
