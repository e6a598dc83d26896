"""`gptexp report`: what the page says, that it stands alone, and that a browser shows it."""

import json
import re
import sys

import pytest
from browsers import chromium
from report_pages import CURVES, add, page_of, table_of, words
from run_directories import put, valley, write_run
from small_runs import ONE_LINE

from gptexp.cli.app import main
from gptexp.report import overview, results
from gptexp.report.page import write_report


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
    text = words(page_of(write_report(tmp_path / "two")[0].parent))
    assert "python run.py seed=0 'data.path=a b' 1 run python run.py seed=1 'data.path=a b'" in text


def test_an_import_is_repeated_by_its_own_command(tmp_path):
    command = ["/somewhere/bin/gptexp", "import", "model.json", "--from", "microgpt"]
    write_run(tmp_path / "a", command=command)
    found = overview.commands(results.read_results(tmp_path / "a"))
    assert found == [("gptexp import model.json --from microgpt", 1)]


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


def test_I7_a_sample_is_text_whatever_it_holds(written):
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
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
    assert f"{'x' * 2000} ... and 500 characters more" in text
    assert "x" * 2001 not in text


def test_a_group_without_a_finished_run_shows_its_last_sample_by_the_best(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    run = add(tmp_path / "a", 64, 0.1, 0, 1.0, state="interrupted")
    lines = [{"step": 100 * n, "prompt": "", "text": f"drawn at {100 * n}"} for n in range(9)]
    put(run, "samples.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
    assert "n_embd=64 seed 0, interrupted; sample of step 400 drawn at 400" in text


# Runs that say little


@pytest.mark.slow
def test_one_run_alone_is_a_report(tmp_path):
    run = add(tmp_path / "a", 32, 0.1, 0, 1.5)
    page = page_of(write_report(run, tmp_path / "to")[0].parent)
    assert "runs 1: 1 done" in words(page)
    assert "No config key but the seed varies between the groups that have a loss." in words(page)
    assert page.count("<svg") == 6
    assert [cells[0] for _, cells in table_of(page, 0)] == ["1"]


@pytest.mark.slow
def test_losses_that_are_not_finite_are_left_out_and_named(tmp_path):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    nothing = [{**row, "val/loss": None, "train/eval_loss": None} for row in valley(1.0, 9)]
    add(tmp_path / "a", 64, 0.1, 0, None, metrics=nothing)
    half = [*valley(1.0, 9)[:5], *nothing[5:]]
    add(tmp_path / "a", 64, 0.1, 1, 1.0, metrics=half)
    written = write_report(tmp_path / "a")[0].parent
    assert "seed 0 has no finite validation loss" in words(page_of(written))
    curves = json.loads((written / "report.json").read_text())["cliffs"]
    assert [[len(c) for c in bundle["curves"]] for bundle in curves] == [[9], [5]]


def test_runs_without_any_curve_or_size_are_a_report(tmp_path):
    run = write_run(tmp_path / "a", 0, None, metrics=[{"step": 1, "train/loss": 2.0}])
    (run / "manifest.json").unlink()
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
    assert "No run holds an evaluation with a finite loss." in text
    assert "no finished run has a finite validation loss" in text
    assert "No group has a finished run with a finite loss yet." in text


def test_a_damaged_curve_is_left_out_and_named(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    add(tmp_path / "a", 32, 0.1, 1, 1.0, metrics=[{"step": 0, "val/loss": 1, "train/eval_loss": 1}])
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
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


@pytest.mark.slow
def test_the_same_runs_are_the_same_bytes(written, tmp_path):
    write_report(written.parent, tmp_path / "again")
    names = sorted(path.name for path in written.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (written / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_pictures_that_a_new_report_lacks_go_away(tmp_path, undrawn):
    for lr in (0.1, 0.2):
        add(tmp_path / "lr", 32, 0.1, 0, 1.0, optim__lr=lr)
    add(tmp_path / "one", 32, 0.1, 0, 1.0)
    write_report(tmp_path / "lr", tmp_path / "to")
    assert (tmp_path / "to" / "loss_by_lr.png").exists()
    for name in ("mine.png", "loss_by_mine.png", "cliff_map.png"):
        (tmp_path / "to" / name).touch()
    write_report(tmp_path / "one", tmp_path / "to")
    kept = {path.name for path in (tmp_path / "to").glob("*.png")}
    assert kept == CURVES | {"mine.png", "loss_by_mine.png", "cliff_map.png"}


@pytest.mark.parametrize("names", ["", "3", '["../a.png"]', "[[1]]"])
def test_foreign_numbers_of_an_earlier_report_delete_nothing(tmp_path, undrawn, names):
    add(tmp_path / "a", 32, 0.1, 0, 1.0)
    (tmp_path / "to").mkdir()
    (tmp_path / "a.png").touch()
    put(tmp_path / "to", "report.json", f'{{"pictures": {names}}}')
    write_report(tmp_path / "a", tmp_path / "to")
    assert (tmp_path / "a.png").exists()


def test_a_sweep_that_has_just_begun_is_a_page(tmp_path, undrawn):
    add(tmp_path / "a", 32, 0.1, 0, 1.0, state="running", metrics=valley(1.0, 9)[:3])
    text = words(page_of(write_report(tmp_path / "a")[0].parent))
    assert "runs 1: 1 killed" in text or "runs 1: 1 running" in text
    assert "step 200 of 2,000" in text
    assert "FLOPs" not in text
    assert "No group has a finished run with a finite loss yet." in text


# Refusals


def test_a_mistake_is_one_line(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "nowhere")[0] == 2
    assert "holds no runs" in refused(tmp_path / "empty")[1]


def test_failed_runs_alone_are_no_report(refused, tmp_path):
    run = write_run(tmp_path / "a", 0, state="failed", reason="disk full", metrics=[])
    code, line = refused(tmp_path / "a")
    assert code == 2
    assert f"no run is done or has an evaluation, of 1 ({run.name} failed)" in line
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
    requests, messages = [], []
    with chromium() as browser:
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
        for name in ("cliff_map", "loss_map", "loss_by_parameters", "loss_by_training_tokens"):
            assert page.locator(f"#{name} svg:visible path").count() > 4
        page.get_by_text("All runs, one by one").click()
        assert page.locator("table:visible").count() == 2
        overflow = "document.documentElement.scrollWidth - window.innerWidth"
        assert page.evaluate(overflow) <= 0
    assert requests == [address]
    assert messages == []
