"""`gptexp playground`: a page that holds its models, asks for nothing, and says what they cost."""

import base64
import hashlib
import json
import re
import shutil

import pytest
from playgrounds import runs_of

from gptexp.errors import DataError, Problem
from gptexp.playground import contents

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def nasty(finished):
    """A run whose name and last sample are markup."""
    folder = finished.rename(finished.with_name("<b>x<b>-s0"))
    with (folder / "samples.jsonl").open("a") as file:
        sample = {"step": 12, "prompt": "", "temperature": 1, "top_k": None, "seed": 0}
        file.write(json.dumps({**sample, "text": NASTY}) + "\n")
    return folder


def test_the_page_allows_its_own_script_and_style_and_nothing_else(gptexp, nasty, tmp_path):
    result = gptexp("playground", nasty, "--to", tmp_path / "p.html")
    assert result.code == 0, result.err
    page = (tmp_path / "p.html").read_text()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    [policy] = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    for kind, [text] in {"script": scripts, "style": styles}.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src &#39;sha256-{digest}&#39;" in policy
    assert policy.startswith("default-src &#39;none&#39;;")
    assert "<b>" not in page and "<img" not in page
    assert runs_of(page)[0]["samples"][-1]["text"] == NASTY


def test_what_rounding_costs_is_said_on_the_screen_and_on_the_page(gptexp, finished, tmp_path):
    for kind in ("float16", "int8"):
        result = gptexp("playground", finished, "--to", tmp_path / "p.html", "--weights", kind)
        line = result.out.splitlines()[0]
        cost = r"validation loss ([\d.]+), rounded [\d.]+ \(.*\)"
        found = re.search(rf"as (\w+), weights of step \d+, its best; ({cost})", line)
        assert found is not None and found[1] == kind
        page = (tmp_path / "p.html").read_text()
        assert found[2] == runs_of(page)[0]["cost"]
        summary = json.loads((finished / "summary.json").read_text())
        assert float(found[3]) == pytest.approx(summary["best"]["val_loss"], abs=1e-4)


def test_a_lone_checkpoint_has_neither_curve_nor_text(gptexp, finished, tmp_path, monkeypatch):
    [checkpoint, *_] = sorted((finished / "checkpoints").glob("*.pt"))
    shutil.copy(checkpoint, tmp_path / "lone.pt")

    def gone(*_):
        raise DataError(Problem("text.txt", "not there", "put it there"))

    monkeypatch.setattr(contents, "own_text", gone)
    result = gptexp("playground", tmp_path / "lone.pt", "--to", tmp_path / "new" / "p.html")
    assert result.code == 0, result.err
    [run] = runs_of((tmp_path / "new" / "p.html").read_text())
    assert run["curve"] == {} and run["samples"] == []
    assert run["cost"] == "what rounding costs is not known without its text"


def test_damaged_journals_are_told_and_the_rest_is_on_the_page(gptexp, finished, tmp_path):
    for name in ("metrics.jsonl", "samples.jsonl"):
        path = finished / name
        path.write_text('{"val/loss"\n' + path.read_text())
    result = gptexp("playground", finished, "--to", tmp_path / "p.html")
    assert result.code == 2
    assert [re.search(r"(\w+).jsonl: 1 damaged line", line)[1] for line in result.errors] == [
        "metrics",
        "samples",
    ]
    [run] = runs_of((tmp_path / "p.html").read_text())
    assert run["curve"]["steps"] and run["samples"]


def test_a_checkpoint_of_a_run_has_its_curve_and_says_where_it_is_from(gptexp, finished, tmp_path):
    [best, *_] = sorted((finished / "checkpoints").glob("*.pt"))
    result = gptexp("playground", best, finished, "--to", tmp_path / "p.html")
    assert result.code == 0, result.err
    one, whole = runs_of((tmp_path / "p.html").read_text())
    assert one["curve"] == whole["curve"] and one["samples"] == whole["samples"]
    assert one["name"].endswith(f"/{best.stem}")
    assert one["weights"] == f"weights of step {one['step']}"
    assert whole["weights"] == f"weights of step {whole['step']}, its best"
    steps, rates = zip(*one["curve"]["rates"], strict=True)
    assert steps == (3, 6, 9, 12) and rates[0] == max(rates) > rates[-1] > 0


def test_a_page_may_hold_an_average_of_the_weights(gptexp, small, once, tmp_path):
    run = once(small("optim.ema=0.5"), tmp_path / "outputs")
    shown = {}
    for words in ([], ["--average", "ema"]):
        result = gptexp("playground", run, "--to", tmp_path / "p.html", *words)
        assert result.code == 0, result.err
        [shown[tuple(words)]] = runs_of((tmp_path / "p.html").read_text())
    average = shown["--average", "ema"]
    assert re.fullmatch(r"running average of the weights of step \d+, its best", average["weights"])
    assert average["cost"] != shown[()]["cost"]
    losses = json.loads((run / "summary.json").read_text())["averages"]
    told = re.search(r"loss ([\d.]+)", average["cost"])[1]
    assert float(told) == pytest.approx(losses["ema"]["val_loss"], abs=1e-4)


def test_weights_that_a_run_has_not_kept_are_refused_in_a_line(gptexp, finished):
    result = gptexp("playground", finished, "--average", "ema")
    assert result.code == 2 and len(result.errors) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--average", "raw"], "--average: 'raw' is not known. Fix: ema or mean"),
        (["--weights", "int4"], "--weights: 'int4' is not known. Fix: float16 or int8"),
        (["--to", "."], "--to: . is a folder. Fix: --to playground.html"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_line(gptexp, finished, words, told):
    result = gptexp("playground", finished, *words)
    assert (result.code, result.errors) == (2, [told])


def test_a_run_that_is_named_twice_is_refused(gptexp, finished):
    result = gptexp("playground", finished, finished)
    assert (result.code, result.errors) == (2, [f"{finished}: there twice. Fix: name it once"])


@pytest.mark.slow
def test_a_person_writes_with_it(browser, gptexp, nasty, tmp_path):
    assert gptexp("playground", nasty, "--to", tmp_path / "p.html").code == 0
    heard = []
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for event in ("console", "pageerror", "request"):
        page.on(event, lambda what: heard.append(getattr(what, "url", what)))
    address = (tmp_path / "p.html").as_uri()

    def written():
        page.click("#write")
        page.get_by_text("Done: 60 tokens").wait_for()
        return page.inner_text(".text")

    page.goto(f"{address}#p=to+be&n=60&s=3&t=1.2")
    first = written()
    assert first.startswith("to be") and len(first) > 40
    assert written() == first, "the same seed writes the same text"
    page.fill("#seed", "4")
    assert written() != first
    page.fill("#temperature", "0")
    greedy = written()
    page.fill("#seed", "5")
    assert written() == greedy
    assert page.locator("#next .bar .number", has_text="→ 100%").count() == 1
    page.fill("#temperature", "1")
    page.fill("#top-k", "3")
    left = page.locator("#next .bar .number").all_inner_texts()
    assert sum(not text.endswith("→ 0.0%") for text in left) == 3
    assert "s=5" in page.url and "k=3" in page.url

    page.click("#edit")
    page.locator(".run textarea").fill("<i>that</i> is")
    page.click("#one")
    assert page.inner_text(".text").startswith("ithati is")  # what the vocabulary has of it
    assert NASTY in page.inner_text("#sample")
    page.locator("#strip button").last.press("ArrowLeft")
    assert page.locator("#strip button[aria-pressed=true]").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert heard == [address]
