"""Colours that are ordered and that are seen, and labels that are foreign."""

import itertools

import pytest
from matplotlib.colors import to_rgb

from gptexp.report import style

PAPERS = {"white": "#ffffff", "black": "#14181d"}  # of the page


def luminance(color):
    """As in WCAG 2."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colors(groups):
    return [color for color, _ in style.styles(groups)]


def test_numbers_have_colours_from_dark_to_light_in_their_order():
    drawn = colors([(0.1,), (0.001,), (1.0,), (0.01,)])
    ordered = [drawn[1], drawn[3], drawn[0], drawn[2]]
    lights = [luminance(color) for color in ordered]
    assert lights == sorted(lights)
    assert len(set(drawn)) == 4


def test_a_number_orders_the_shades_of_what_else_varies():
    groups = list(itertools.product(("adamw", "sgd"), (1, 2, 4)))
    styled = style.styles(groups)
    for start, marker in ((0, "o"), (3, "s")):
        family = styled[start : start + 3]
        lights = [luminance(color) for color, _ in family]
        assert lights == sorted(lights)
        assert {mark for _, mark in family} == {marker}
    assert len({color for color, _ in styled}) == 6


def test_words_keep_the_palette():
    assert colors([("adamw",), ("sgd",)]) == list(style.PALETTE[:2])
    assert colors([()]) == [style.PALETTE[0]]
    many = style.styles([(str(number),) for number in range(30)])
    assert len(set(many)) == 30


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize(
    "groups", [[(n,) for n in range(9)], list(itertools.product("abcdefghij", range(4)))]
)
def test_every_colour_is_seen_on_white_and_on_black(groups, paper):
    assert min(contrast(color, PAPERS[paper]) for color in colors(groups)) > 2.4


def test_a_label_is_one_line_without_formulas():
    assert style.written("a$x$\nb") == r"a\$x\$ b"
    assert len(style.shown("x" * 1000)) == style.MOST_LETTERS
    assert style.shown("\x1b[31m") == r"\x1b[31m"
