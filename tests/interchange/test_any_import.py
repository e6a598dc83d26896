"""I1: of whatever a microGPT file holds, its own numbers come in, or lines that say why not."""

import json
import random
from typing import Any

import pytest
from fuzzing import assert_one_line_each, examples
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import VALUES

from gptexp import reference
from gptexp.errors import GptexpError
from gptexp.interchange import microgpt
from gptexp.interchange.convert import import_file

NAME = "model.json"
STORED = {
    "config": {"n_embd": 4, "n_head": 2, "n_layer": 1, "block_size": 3},
    "training": {"num_steps": 10, "final_loss": 2.5},
    "chars": list("abcdelnou"),
    "state_dict": reference.draw_weights(random.Random(0), 10, 1, 4, 3),
}
TEXT = json.dumps(STORED)


def paths(value: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2])
    deeper = [
        found
        for key, item in inner
        for found in (
            paths(item, (*keys, key)) if isinstance(item, dict | list) else [(*keys, key)]
        )
    ]
    return [keys, *deeper] if keys else deeper


WORDS = [
    *(*VALUES.values(), "0", "1", "2", "3", "5", "1e300", "-0.0", "1e-320", '"a"', '"\\n"', '"ab"'),
    *("9007199254740993", "3.5e38", "[[1, 2], [3]]", '{"step": 1}', "[" + "1, " * 99 + "1]", "4.0"),
]
EDITS = st.lists(
    st.tuples(st.sampled_from(paths(STORED)), st.sampled_from(WORDS)), min_size=1, max_size=2
)
CUTS = st.tuples(
    st.integers(0, len(TEXT)),
    st.integers(0, 40),
    st.one_of(st.text(max_size=4), st.sampled_from(WORDS)),
)


def edited(edits: list[tuple[tuple[Any, ...], str]]) -> str:
    text = json.loads(TEXT)
    words = []
    for keys, word in edits:
        inner = text
        try:
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = f"PLACE{len(words)}"
        except (TypeError, LookupError):  # an earlier edit took it away
            continue
        words.append(word)
    written = json.dumps(text)
    for number, word in enumerate(words):
        written = written.replace(f'"PLACE{number}"', word)
    return written


def spliced(cut: tuple[int, int, str]) -> str:
    at, length, new = cut
    return TEXT[:at] + new + TEXT[at + length :]


FILES = st.one_of(EDITS.map(edited), CUTS.map(spliced))


def assert_read_right(text: str) -> bool:
    """Whether it is read; then its numbers are those that JSON has."""
    try:
        found = microgpt.parse(text, NAME)
    except GptexpError as error:
        assert_one_line_each(error)
        return False
    stored = json.loads(text)
    for name, weight in found.weights.items():
        rows = stored["state_dict"][name]
        assert all(type(number) in (int, float) for row in rows for number in row)
        assert weight.tolist() == [[float(number) for number in row] for row in rows]
    assert found.weights.keys() == stored["state_dict"].keys()
    assert list(found.chars) == stored["chars"]
    sizes = {key: getattr(found, key) for key in microgpt.SIZES}
    assert sizes == {key: stored["config"][key] for key in microgpt.SIZES}
    assert found.num_steps == stored["training"]["num_steps"]
    assert found.final_loss == stored["training"].get("final_loss")
    return True


def test_the_file_that_is_changed_is_one():
    assert assert_read_right(TEXT)


@example(TEXT.replace("2.5", "9" * 400))
@example(TEXT.replace('"n_head": 2', '"n_head": true'))
@example(edited([(("state_dict", "wte", 0, 0), "true")]))
@examples(150)
@given(FILES)
def test_I1_any_microgpt_file_is_read_right_or_refused_in_lines(text):
    assert_read_right(text)


@examples(20)
@given(FILES)
def test_I1_an_import_of_it_makes_a_run_or_nothing(words, tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("imports")
    (folder / NAME).write_text(text, encoding="utf-8")
    try:
        run = import_file(folder / NAME, words, folder / "outputs")
    except GptexpError as error:
        assert_one_line_each(error)
        assert not (folder / "outputs").exists()
    else:
        assert (run / "summary.json").exists() and assert_read_right(text)


@examples(30)
@given(st.binary(max_size=60))
def test_I1_bytes_that_are_no_text_are_refused(words, tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("imports")
    (folder / NAME).write_bytes(raw)
    with pytest.raises(GptexpError) as refused:
        import_file(folder / NAME, words, folder / "outputs")
    assert_one_line_each(refused.value)
