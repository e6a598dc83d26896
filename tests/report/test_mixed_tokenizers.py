"""A report of runs of several tokenizers: every figure and number of it in bits per byte."""

import json

import pytest
from report_pages import page_of, words
from run_directories import valley, write_run

from gptexp.report import charts, results
from gptexp.report.page import write_report
from gptexp.report.plot import _losses as plot_figure
from gptexp.report.points import points
from gptexp.report.style import WIDE


@pytest.fixture
def mixed(tmp_path):
    """Two runs whose losses per token are told the wrong way round by their tokens."""
    folder = tmp_path / "a"
    write_run(folder, best=2.0, bpb=2.8, metrics=valley(2.0))
    tokens = {"tokenizer__name": "bpe", "tokenizer__vocab_size": 512}
    rows = [{**row, "val/bpb": 0.5 * row["val/loss"]} for row in valley(4.0)]
    write_run(folder, best=4.0, bpb=2.0, metrics=rows, **tokens)
    return folder


def test_the_page_has_bits_per_byte_where_tokenizers_are_compared(mixed, undrawn):
    write_report(mixed)
    said = words(page_of(mixed / "report"))
    assert "2.0000 bits per byte at step" in said
    assert "several tokenizers (bpe 512, char): " in said
    assert "so losses are in bits per byte; those of training by the bytes" in said
    assert "best loss 2.0000 bits per byte at step" in said
    table = (mixed / "report" / "runs.csv").read_text()
    assert "bpb" in table.splitlines()[0], "and tables keep both"
    numbers = json.loads((mixed / "report" / "report.json").read_text())
    assert {bundle["unit"] for bundle in numbers["cliffs"]} == {"bits per byte"}
    assert sorted(bundle["best"] for bundle in numbers["cliffs"]) == pytest.approx([2.0, 2.8])
    assert sorted(point["best"]["mean"] for point in numbers["points"]) == [2.0, 2.8]
    assert numbers["ngrams"] is None


def test_the_axes_say_bits_per_byte(mixed):
    read = results.read_results(mixed)
    drawn, _ = results.bundles(read)
    assert charts.overlay(drawn, "step").axes[0].get_ylabel() == "loss, bits per byte"
    assert {point.unit for point in points(read)} == {"bits per byte"}
    figure = plot_figure(read, "tokenizer")
    assert "bits per byte" in figure.alt and "nats" not in figure.caption
    axis = figure.draw(WIDE, True).axes[0]
    assert axis.get_ylabel() == "best validation loss, bits per byte"


def test_a_report_of_one_tokenizer_alone_has_nats(mixed):
    [run, *_] = sorted(path for path in mixed.iterdir() if path.is_dir())
    read = results.read_results(run)
    assert read.unit == "nats per token"
    assert charts.overlay(results.bundles(read)[0], "step").axes[0].get_ylabel() == (
        "loss, nats per token"
    )
