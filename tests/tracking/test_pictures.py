"""The pictures of a probe: a panel for each head, bars of what follows."""

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from event_files import PNG
from small_runs import ROOT

from gptexp.inference.probe import TEMPERATURES, Probe
from gptexp.tracking import pictures


def probe(heads: int, tokens: list[str], layers: int = 1) -> Probe:
    time = len(tokens)
    maps = [np.full((heads, time, time), 0.5, dtype=np.float32)] * layers
    even = np.full(time, 1 / time, dtype=np.float32)
    return Probe(0, tokens, maps, tokens, dict.fromkeys(TEMPERATURES, even))


@pytest.mark.parametrize("heads", [1, 4, 6])
def test_pictures_are_png_files_with_a_panel_for_each_head(heads):
    drawn = pictures.attention(probe(heads, list("abc")), 0)
    columns, rows = min(heads, pictures.COLUMNS), -(-heads // pictures.COLUMNS)
    side = 3 * pictures.CELL
    assert drawn.width == pictures.LABEL + columns * (side + pictures.GAP)
    assert drawn.height == rows * (side + 2 * pictures.TITLE)
    assert pictures.png(drawn).startswith(PNG)


def test_a_map_is_darker_where_a_head_attends_more():
    seen = probe(2, list("abc"))
    maps = np.zeros((2, 3, 3), np.float32)
    maps[1, 2, 0] = 1.0  # in the second head, the third token attends to the first
    drawn = pictures.attention(replace(seen, attention=[maps]), 0)
    side, half = 3 * pictures.CELL, pictures.CELL // 2
    left, top = pictures.LABEL + side + pictures.GAP + half, pictures.TITLE + half

    def cell(row, column):
        return drawn.getpixel((left + column * pictures.CELL, top + row * pictures.CELL))

    assert cell(2, 0) == pictures.DARK
    assert cell(0, 2) == cell(2, 1) == (255, 255, 255)


def test_bars_are_as_high_as_the_probabilities():
    seen = probe(1, ["a", "b"])
    drawn = pictures.following(replace(seen, following={1.0: np.array([0.25, 0.75], np.float32)}))
    blue = (31, 119, 180)
    heights = [
        max(sum(drawn.getpixel((x, y)) == blue for y in range(drawn.height)) for x in span)
        for span in (range(60, 350), range(400, 600))
    ]
    whole = pictures.HEIGHT - pictures.BOTTOM - pictures.TOP
    assert heights == [pytest.approx(whole, abs=2), pytest.approx(whole / 3, abs=2)]


def test_there_is_a_picture_for_each_layer():
    drawn = pictures.draw(probe(1, ["a", "b"], layers=3))
    layers = [f"attention/layer_{n}" for n in (1, 2, 3)]
    assert list(drawn) == ["next_token", *layers]
    assert all(data.startswith(PNG) for data in drawn.values())


def test_without_attention_the_next_token_alone_is_drawn():
    assert set(pictures.draw(probe(0, ["a", "b"], layers=0))) == {"next_token"}


def test_one_token_is_enough_for_pictures():
    assert len(pictures.draw(probe(2, ["a"]))) == 2


@pytest.mark.slow
def test_odd_tokens_are_drawn_without_a_word_on_the_screen():
    """In a process of its own, since warnings that pytest collects would not show."""
    program = (
        "import numpy as np; from gptexp.tracking import pictures\n"
        "from gptexp.inference.probe import Probe\n"
        "odd = ['$x_1$', '$', '$\\\\frac{', '漢', '🙂', '↵', '␣', '<7>', '\\u0301', '{', '_']\n"
        "n = len(odd); maps = [np.ones((2, n, n), np.float32)]\n"
        "drawn = pictures.draw(Probe(0, odd, maps, odd, {1.0: np.ones(n, np.float32)}))\n"
        "assert all(data.startswith(b'\\x89PNG') for data in drawn.values()) and len(drawn) == 2"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_drawing_leaves_other_warnings_alone():
    pictures.draw(probe(1, ["漢"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("another one", UserWarning, stacklevel=1)
    assert len(caught) == 1
