"""What counting reaches: in the summary of a run, on the screen, and as lines of a report."""

import html
import json
import math
import re

import pytest
from run_directories import put, valley, write_run

from gptexp.analysis import ngrams
from gptexp.data.load import load_corpus
from gptexp.experiment.run import run_experiment
from gptexp.experiment.screen import show_summary
from gptexp.report import charts, figures, ngram_baselines, results, style
from gptexp.report.page import write_report

COUNTED = [3.0, 2.0, 1.75, 1.5, 1.25]
FEW = [3.5, 3.25, 3.125, 3.0625, 3.03125]  # of a smaller training set


def add(folder, fraction=0.5, seed=0, counted=COUNTED, **more):
    """A run whose validation loss falls from 3 to 1, halfway, and rises to 1.5."""
    known = {"train_tokens": int(1000 * fraction), "data__fraction": fraction}
    known |= {"metrics": valley(1.0, 81), "ngrams": counted}
    return write_run(folder, seed, 1.0, **{**known, **more})


def of(folder):
    return ngram_baselines.of(results.read_results(folder))


def drawn(folder, counted, size=style.WIDE, axis="step"):
    """The axes of a figure of the cliffs with these lines, as the report has it."""
    bundles, _ = results.bundles(results.read_results(folder))
    figure = charts.overlay(bundles, axis, size, size == style.WIDE, counted)
    figure.draw_without_rendering()  # so that all has its place
    return figure.axes[0]


def names(axes):
    return [text.get_text() for text in axes.texts]


# A run


@pytest.mark.parametrize("overrides", [(), ("data.fraction=0.5", "data.test_fraction=0.1")])
def test_the_summary_holds_what_counting_reaches_on_the_splits_of_the_run(
    small, tmp_path, overrides
):
    config = small(*overrides)
    text = load_corpus(config.data, config.tokenizer, config.model.block_size)
    splits = text.splits
    run = run_experiment(config, tmp_path).path
    found = json.loads((run / "summary.json").read_text())["ngrams"]
    assert found == ngrams.losses(splits.train, splits.val, text.tokenizer.vocab_size)
    assert len(found) == 5


def test_the_last_lines_say_it_beside_the_best_loss(small, tmp_path, caplog):
    run = run_experiment(small("tokenizer=byte"), tmp_path).path
    result = json.loads((run / "summary.json").read_text())
    caplog.set_level("INFO", "gptexp")
    result["ngrams"] = [3.34729, 2.48571]
    show_summary(result, run)
    assert "n-grams 3.3473, 2.4857 by counting 1, 2 bytes" in caplog.messages
    caplog.clear()
    show_summary({**result, "ngrams": None}, run)
    del result["ngrams"]  # as in a summary of an earlier gptexp
    show_summary(result, run)
    assert not any("n-grams" in line for line in caplog.messages)


# Which losses are shown


def test_runs_of_one_training_set_show_their_losses(tmp_path):
    for seed in (0, 1):
        add(tmp_path / "a", seed=seed)
    assert of(tmp_path / "a") == ngram_baselines.NgramBaselines(
        COUNTED, "characters", 500, largest=False
    )


def test_of_several_training_sets_the_largest_counts(tmp_path):
    add(tmp_path / "a", 0.1, counted=FEW)
    add(tmp_path / "a", 0.5)
    assert of(tmp_path / "a") == ngram_baselines.NgramBaselines(
        COUNTED, "characters", 500, largest=True
    )


def test_a_run_that_is_not_done_or_does_not_say_changes_nothing(tmp_path):
    add(tmp_path / "a")
    add(tmp_path / "a", 1.0, state="failed")
    add(tmp_path / "a", seed=1, counted=None)
    assert of(tmp_path / "a") == ngram_baselines.NgramBaselines(
        COUNTED, "characters", 500, largest=False
    )


OTHER_VAL = {"data": {"tokens": {"train": 500}, "bounds": {"val": [900, 1000]}}}


@pytest.mark.parametrize(
    "other",
    [
        {"data_sha256": "d" * 64},
        {"tokenizer__name": "byte"},
        {"counted": FEW},
        {"fraction": 1.0, "counted": None},  # of the largest nothing is known
        {"manifest": OTHER_VAL},
    ],
    ids=lambda other: next(iter(other)),
)
def test_runs_that_no_one_line_fits_have_none(tmp_path, other):
    add(tmp_path / "a")
    manifest = other.get("manifest")
    run = add(tmp_path / "a", seed=1, **{k: v for k, v in other.items() if k != "manifest"})
    if manifest:
        put(run, "manifest.json", json.dumps(manifest))
    assert of(tmp_path / "a") is None


@pytest.mark.parametrize("counted", [None, []])
def test_a_run_that_counted_nothing_has_no_lines(tmp_path, counted):
    add(tmp_path / "a", counted=counted)
    assert of(tmp_path / "a") is None


@pytest.mark.parametrize("counted", ["3.0", [3.0, None], [3.0, math.inf], [True]])
def test_I1_what_is_no_list_of_losses_is_damage(tmp_path, counted):
    add(tmp_path / "a")
    hurt = add(tmp_path / "a", seed=1, counted=counted)
    [problem] = results.read_results(tmp_path / "a").damaged
    assert str(problem).startswith(f"{hurt}/summary.json: damaged: ")
    assert of(tmp_path / "a").losses == COUNTED


def test_byte_pairs_are_counted_as_tokens(tmp_path):
    add(tmp_path / "a", tokenizer__name="bpe", tokenizer__vocab_size=512)
    assert of(tmp_path / "a") == ngram_baselines.NgramBaselines(
        COUNTED, "tokens", 500, largest=False
    )
    add(tmp_path / "a", seed=1, tokenizer__name="bpe", tokenizer__vocab_size=1024)
    assert of(tmp_path / "a") is None, "of two vocabularies"


def test_tokens_of_own_code_have_none(tmp_path):
    add(tmp_path / "a", tokenizer__name="syllables")
    assert of(tmp_path / "a") is None


# The report


def test_the_page_its_alt_text_and_the_numbers_say_it(tmp_path, undrawn):
    add(tmp_path / "a", 0.1, counted=FEW)
    add(tmp_path / "a", 0.5)
    page, _ = write_report(tmp_path / "a")
    text = html.unescape(page.read_text())
    row = "1: 3.0000, 2: 2.0000, 3: 1.7500, 4: 1.5000, 5: 1.2500 nats per token by counting that "
    assert f"{row}many characters of the largest training set, 500 tokens" in text
    caption = "Dotted and grey: what counting 1 to 5 characters reaches (Witten-Bell n-grams of "
    assert f"{caption}the largest training set, 500 tokens)" in text
    alt = "; that of counting 1 to 5 characters is 3.0000, 2.0000, 1.7500, 1.5000, 1.2500"
    assert re.search(f'aria-label="[^"]*{re.escape(alt)}"', text)
    numbers = json.loads((page.parent / "report.json").read_text())["ngrams"]
    assert numbers == {"losses": COUNTED, "unit": "characters", "tokens": 500, "largest": True}


@pytest.mark.slow
def test_a_report_without_them_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(figures.ReportFigure, "png", lambda self: b"")
    add(tmp_path / "a", old=True)
    page, _ = write_report(tmp_path / "a")
    assert not re.search(r"n-grams|\d-gram|counting|Dotted", page.read_text())
    assert json.loads((page.parent / "report.json").read_text())["ngrams"] is None


@pytest.mark.slow
def test_each_order_is_a_line_with_its_name_in_every_shape(tmp_path):
    add(tmp_path / "a")
    page, _ = write_report(tmp_path / "a")
    for order in range(1, 6):  # three axes, each wide and narrow
        shown = re.findall(f"<text[^>]*>{order}-gram counts</text>", page.read_text())
        assert len(shown) == 6
    axes = drawn(tmp_path / "a", COUNTED)
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert sorted((line.get_ydata()[0] for line in dotted), reverse=True) == COUNTED


@pytest.mark.parametrize("size", [style.WIDE, style.NARROW])
@pytest.mark.parametrize("counted", [COUNTED, [2.0, 1.99, 1.98, 1.97, 1.96], [2.5, 2.47, 1.2, 1.0]])
@pytest.mark.parametrize("longest", [81, 900], ids=["linear", "log"])
def test_names_lie_in_the_axes_and_over_nothing_else(tmp_path, size, counted, longest):
    for seed, length in enumerate((81, 81, 81, longest)):
        add(tmp_path / "a", seed=seed, metrics=valley(1.0, length))
    axes = drawn(tmp_path / "a", counted, size)
    assert axes.get_xscale() == ("log" if longest == 900 else "linear")
    inside = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts]
    for number, box in enumerate(boxes):
        assert inside.x0 < box.x0
        assert box.x1 <= inside.x1
        assert inside.y0 < box.y0
        assert box.y1 < inside.y1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
    ends = [line.get_window_extent().x1 for line in axes.lines]
    assert max(ends) < min(box.x0 for box in boxes)
    orders = [int(order) for name in names(axes) for order in re.findall(r"\d", name)]
    assert sorted(orders) == list(range(1, len(counted) + 1))


def test_close_lines_share_a_name(tmp_path):
    add(tmp_path / "a")
    assert names(drawn(tmp_path / "a", [3.0, 2.0, 1.51, 1.5, 1.25])) == [
        *("5-gram counts", "3-, 4-gram counts", "2-gram counts", "1-gram counts"),
    ]


def test_lines_far_from_the_curves_do_not_stretch_the_loss_axis(tmp_path):
    add(tmp_path / "a")
    low, high = drawn(tmp_path / "a", []).get_ylim()
    span = high - low
    near = drawn(tmp_path / "a", [9.0, high + 0.1 * span, low - 0.1 * span, 0.01 * low])
    assert names(near) == ["3-gram counts", "2-gram counts"]
    assert near.get_ylim() == pytest.approx((low - 0.14 * span, high + 0.14 * span))
    far = drawn(tmp_path / "a", [9.0, low - 0.3 * span])
    assert (names(far), far.get_ylim()) == ([], (low, high))
    assert far.get_xlim() == drawn(tmp_path / "a", []).get_xlim()


@pytest.mark.filterwarnings("error")
def test_a_run_that_ended_at_once_has_its_lines(tmp_path):
    add(tmp_path / "a", metrics=valley(1.0, 81)[:1])
    level = valley(1.0, 81)[0]["val/loss"]
    for axis in charts.AXES:
        assert names(drawn(tmp_path / "a", [level], axis=axis)) == ["1-gram counts"]
