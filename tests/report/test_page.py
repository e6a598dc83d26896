"""`gptexp report`: what the page says, that it stands alone, and that a browser shows it."""

import csv
import html
import json
import math
import re
import shutil
import sys

import pytest
from run_directories import put, valley, write_run
from small_runs import ONE_LINE

from gptexp.analysis import cliff
from gptexp.cli.app import main
from gptexp.report import charts, figures, overview, results
from gptexp.report.page import write_report

COMMAND = ["/somewhere/run.py", "-m", "model.n_embd=32,64", "data.fraction=0.1,0.5"]
PICTURES = {
    *("cliffs_step.png", "cliffs_tokens.png", "cliffs_epochs.png", "cliff_map.png"),
    *("loss_by_params.png", "loss_by_tokens.png"),
}
NASTY = '<script>alert(1)</script> & "quoted" \x00\x1b[31m \ud800 {{ 7 * 7 }}'


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


@pytest.fixture(scope="module")
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
    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr(figures.ReportFigure, "svgs", lambda self: [empty] * len(self.shapes))
    monkeypatch.setattr(figures.ReportFigure, "png", lambda self: b"")


@pytest.fixture
def refused(capsys, monkeypatch):
    """`refused(folder, ...)`: exit code and the one line that the command shows."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gptexp", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        [line] = capsys.readouterr().err.splitlines()
        assert ONE_LINE.fullmatch(line.removeprefix("gptexp: error: ")), line
        return ended.value.code, line

    return call


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


# What it says


def test_the_heading_says_what_the_sweep_is(written):
    text = words(page_of(written))
    assert "runs 10: 9 done, 1 failed; in 4 groups" in text
    assert "model.n_embd: 32, 64 data.fraction: 0.1, 0.5 seed: 0, 1, 2" in text
    assert "9e+09 FLOPs in the 9 finished runs" in text  # 1e9 of each
    assert "3:20 of training in 10 runs" in text  # 20 seconds of each
    assert "0.3000 nats per token at step 1,002 (n_embd=32 fraction=0.1, seed 2)" in text
    assert "text.txt (char tokens, 100 validation tokens, SHA-256 aaaaaaaaaaaa)" in text


def test_the_commands_are_there_to_be_repeated(written, tmp_path, undrawn):
    assert "python run.py -m model.n_embd=32,64 data.fraction=0.1,0.5" in words(page_of(written))
    for seed in (0, 1):
        write_run(tmp_path / "two", seed, 1.5, command=["run.py", f"seed={seed}", "data.path=a b"])
    text = words(page_of(write_report(tmp_path / "two").parent))
    assert "python run.py seed=0 'data.path=a b' 1 run python run.py seed=1 'data.path=a b'" in text


def test_groups_are_means_over_seeds_and_those_that_are_not_whole_are_marked(written):
    rows = table_of(page_of(written), 0)
    assert [(mark, cells[:3]) for mark, cells in rows] == [
        (False, ["32", "0.1", "3"]),
        (True, ["32", "0.5", "2 of 3, missing 1"]),
        (True, ["64", "0.1", "2 of 3, missing 1"]),
        (True, ["64", "0.5", "2 of 3, failed 1"]),
    ]
    # 0.82 and 0.92: t(0.975, 1) = 12.706 times a standard error of 0.05.
    assert rows[1][1][4] == "0.8700 ± 0.6353"


def test_each_run_is_a_row_of_the_folded_table(written):
    rows = table_of(page_of(written), 1)
    assert len(rows) == 10
    assert [cells[3] for mark, cells in rows if mark] == ["failed"]


def test_what_failed_and_what_is_missing_has_its_reason(written):
    text = words(page_of(written))
    assert "model.n_embd=64 data.fraction=0.5: seed 2 failed: disk <full>" in text
    assert "model.n_embd=32 data.fraction=0.5: seed 2 is missing" in text


def test_a_sample_is_text_whatever_it_holds(written):
    page = page_of(written)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)


def test_a_group_shows_the_sample_of_its_best_run(written):
    text = words(page_of(written))
    assert re.search(
        r"n_embd=32 fraction=0.1 seed 2, best loss 0.3000 at step 1,002 <script>", text
    )
    assert "n_embd=64 fraction=0.5 seed 0, best loss 1.1400 at step 1,000 to be or not" in text


def test_a_long_sample_is_cut_with_a_word(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0, sample="x" * 2500)
    text = words(page_of(write_report(tmp_path / "a").parent))
    assert f"{'x' * 2000} ... and 500 characters more" in text
    assert "x" * 2001 not in text


def test_a_group_without_a_finished_run_shows_its_last_sample_by_the_best(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    run = add(tmp_path / "a", 64, 0.1, 0, 1.0, state="interrupted")
    lines = [{"step": 100 * n, "prompt": "", "text": f"drawn at {100 * n}"} for n in range(9)]
    put(run, "samples.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    text = words(page_of(write_report(tmp_path / "a").parent))
    assert "n_embd=64 seed 0, interrupted; sample of step 400 drawn at 400" in text


# The numbers behind the figures


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
    written = write_report(tmp_path / "a").parent
    assert {path.name for path in written.glob("*.png")} == PICTURES - {
        *("cliff_map.png", "loss_by_tokens.png"),
    }
    assert "All groups have 100 training tokens, so the map of the cliff is left out." in words(
        page_of(written)
    )


def test_many_runs_are_drawn_as_means_with_bands(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(results, "MOST_RUNS", 5)
    monkeypatch.setattr(results, "MOST_GROUPS", 2)
    written = write_report(grid(tmp_path / "a")).parent
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


# Runs that say little


def test_one_run_alone_is_a_report(tmp_path):
    run = add(tmp_path / "a", 32, 0.1, 0, 1.5)
    page = page_of(write_report(run, tmp_path / "to").parent)
    assert "runs 1: 1 done" in words(page)
    assert "so the figures over size are left out" in words(page)
    assert page.count("<svg") == 6
    assert [cells[0] for _, cells in table_of(page, 0)] == ["1"]


def test_losses_that_are_not_finite_are_left_out_and_named(tmp_path):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    nothing = [{**row, "val/loss": None, "train/eval_loss": None} for row in valley(1.0, 9)]
    add(tmp_path / "a", 64, 0.1, 0, None, metrics=nothing)
    half = [*valley(1.0, 9)[:5], *nothing[5:]]
    add(tmp_path / "a", 64, 0.1, 1, 1.0, metrics=half)
    written = write_report(tmp_path / "a").parent
    assert "seed 0 has no finite validation loss" in words(page_of(written))
    curves = json.loads((written / "report.json").read_text())["cliffs"]
    assert [[len(c) for c in bundle["curves"]] for bundle in curves] == [[9], [5]]


def test_runs_without_any_curve_or_size_are_a_report(tmp_path):
    run = write_run(tmp_path / "a", 0, None, metrics=[{"step": 1, "train/loss": 2.0}])
    (run / "manifest.json").unlink()
    text = words(page_of(write_report(tmp_path / "a").parent))
    assert "No run holds an evaluation with a finite loss." in text
    assert "no finished run has a finite validation loss" in text
    assert "No group with a finite loss says how many parameters" in text


def test_a_damaged_curve_is_left_out_and_named(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    add(tmp_path / "a", 32, 0.1, 1, 1.0, metrics=[{"step": 0, "val/loss": 1, "train/eval_loss": 1}])
    text = words(page_of(write_report(tmp_path / "a").parent))
    assert "metrics.jsonl is damaged, so its curve is left out" in text


# Alone, and the same each time


def test_the_page_needs_nothing_but_itself(written):
    page = page_of(written)
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(named) == len(re.findall(r"(?:src|href)\s*=", page)) > 0
    assert all(address.startswith(("#", "data:")) for address in named)
    assert not re.search(
        r"@import|url\(\s*['\"]?(?!#)|<(script|link rel=.?stylesheet)|@font-face", page
    )


def test_an_identifier_stands_for_one_thing(written):
    found = re.findall(r'\bid="([^"]*)"', page_of(written))
    assert len(found) == len(set(found))
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', page_of(written))) <= set(found)


def test_the_same_runs_are_the_same_bytes(written, tmp_path):
    write_report(written.parent, tmp_path / "again")
    names = sorted(path.name for path in written.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (written / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_pictures_that_a_new_report_lacks_go_away(tmp_path, undrawn):
    (tmp_path / "to").mkdir()
    for name in ("cliff_map.png", "mine.png", "cliffs_mine.png"):
        (tmp_path / "to" / name).touch()
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    write_report(tmp_path / "a", tmp_path / "to")
    kept = {path.name for path in (tmp_path / "to").glob("*.png")} - PICTURES
    assert kept == {"mine.png", "cliffs_mine.png"}
    assert not (tmp_path / "to" / "cliff_map.png").exists()


# Refusals


def test_a_mistake_is_one_line(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "nowhere")[0] == 2
    assert "holds no runs" in refused(tmp_path / "empty")[1]


def test_failed_runs_alone_are_no_report(refused, tmp_path):
    run = write_run(tmp_path / "a", 0, state="failed", reason="disk full")
    code, line = refused(tmp_path / "a")
    assert code == 2
    assert f"none of its runs is done, of 1 ({run.name} failed)" in line
    assert not (tmp_path / "a" / "report").exists()


def test_a_target_that_cannot_be_written_is_one_line(refused, tmp_path):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    (tmp_path / "file").touch()
    code, line = refused(tmp_path / "a", "--to", tmp_path / "file")
    assert code == 4
    assert str(tmp_path / "file") in line


# In a browser


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_all_of_it(written, width):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
    requests, messages = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        address = (written / "index.html").as_uri()
        page.goto(address)
        for axis in ("step", "tokens", "epochs"):
            page.get_by_text(f"by {axis}", exact=True).click()
            panel = page.locator(f"#cliffs_{axis} svg:visible")
            assert panel.count() == 1
            assert panel.locator("path").count() > 18  # two lines for each of nine runs
            box = panel.bounding_box()
            assert box["width"] > 0.8 * width or box["width"] > 1000
            assert box["height"] > 200
            assert page.locator(".axes > figure:visible").count() == 1
        for name in ("cliff_map", "loss_by_params", "loss_by_tokens"):
            assert page.locator(f"#{name} svg:visible path").count() > 4
        page.get_by_text("All runs, one by one").click()
        assert page.locator("table:visible").count() == 2
        overflow = "document.documentElement.scrollWidth - window.innerWidth"
        assert page.evaluate(overflow) <= 0
        browser.close()
    assert requests == [address]
    assert messages == []


def test_an_import_is_repeated_by_its_own_command(tmp_path):
    command = ["/somewhere/bin/gptexp", "import", "model.json", "--from", "microgpt"]
    write_run(tmp_path / "a", command=command)
    found = overview.commands(results.read_results(tmp_path / "a"))
    assert found == [("gptexp import model.json --from microgpt", 1)]


def test_sizes_of_different_kinds_of_models_are_not_joined(tmp_path):
    folder = tmp_path / "kinds"
    write_run(folder, 0, params=100, model__kind="gpt", model__name="one")
    write_run(folder, 0, params=200, model__kind="gpt", model__name="two")
    write_run(folder, 0, params=300, model__kind="mlp", model__name="three")
    labels = {
        size.params: size.other_than_params for size in results.sizes(results.read_results(folder))
    }
    assert labels == {100: "gpt", 200: "gpt", 300: "mlp"}
