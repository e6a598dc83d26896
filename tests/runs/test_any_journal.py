"""I6, D10: whatever bytes stand between the lines of a journal, they are no lines of it."""

import json
import math
from pathlib import Path

import pytest
from fuzzing import examples
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gptexp.runs.journal import Samples, curves, evaluations, read_journal, rewind
from gptexp.runs.lines import Lines

GOOD = [
    {
        "step": step,
        "tokens": 8 * step,
        "epoch": step / 7,
        "seconds": 0.5,
        "val/loss": 3.0,
        "val/bpb": 4.0,
        "train/eval_loss": 2.5,
    }
    for step in (0, 10, 20, 30)
]

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([10**30, -1, 1e300, "nan", "inf"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
NAMES = st.sampled_from(
    [
        "step",
        "tokens",
        "epoch",
        "seconds",
        "val/loss",
        "train/loss",
        "nonfinite",
        "prompt",
        "text",
        "x/",
    ]
)
STEPS = st.sampled_from([0, 3, 10, 12, 30, 31, 10**30, -1, 2.0, True, "3", [3], None])
OBJECTS = st.builds(
    lambda line, step: json.dumps({**line, "step": step}).encode(),
    st.dictionaries(NAMES, JSON, max_size=3),
    STEPS,
)
TORN = st.builds(
    lambda line, at: json.dumps(line).encode()[: 1 + at % (len(json.dumps(line)) - 1)],
    st.sampled_from(GOOD),
    st.integers(0, 200),
)
NOISE = st.one_of(
    st.binary(max_size=30), TORN, OBJECTS, st.text(max_size=10).map(lambda t: t.encode())
)
PLACES = st.lists(NOISE, min_size=len(GOOD) + 1, max_size=len(GOOD) + 1)


def journal(path: Path, noise: list[bytes]) -> Path:
    """The good lines, each behind some noise of its own, and noise without a break at the end."""
    lines = [json.dumps(line).encode() + b"\n" for line in GOOD]
    pieces = [odd + b"\n" + line for odd, line in zip(noise, lines, strict=False)]
    path.write_bytes(b"".join([*pieces, noise[-1]]))
    return path


def could_be_a_line(noise: bytes) -> bool:
    """Whether some of it is an object with a step, so that a journal might hold it."""
    for line in noise.split(b"\n"):
        try:
            value = json.loads(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "step" in value:
            return True
    return False


@pytest.mark.slow
@example([b"", b"\n\n", b"\xff\0", b'{"step": 3', b'{"step": 31, "val/'])
@examples(100)
@given(PLACES)
def test_I6_D10_noise_between_lines_is_none_of_them(tmp_path, noise):
    assume(not any(map(could_be_a_line, noise)))
    run = tmp_path
    path = journal(run / "metrics.jsonl", noise)
    lines = Lines(path)
    assert list(lines) == list(evaluations(run)) == GOOD
    assert (lines.last_step(), lines.last()) == (30, GOOD[-1])
    for step in (30, 15, 0):
        assert list(rewind(path, step)) == [line for line in GOOD if line["step"] <= step]
        assert read_journal(path) == [line for line in GOOD if line["step"] <= step]
        assert path.read_bytes().endswith(b"\n")


@pytest.mark.slow
@examples(100)
@given(PLACES)
def test_I6_lines_that_somebody_else_wrote_hold_numbers_or_are_left_out(tmp_path, noise):
    path = journal(tmp_path / "metrics.jsonl", noise)
    for line in [*Lines(path), *evaluations(tmp_path)]:
        assert type(line["step"]) is int and line["step"] >= 0
        for name, value in curves(line).items():
            assert type(value) in (int, float), (name, value)
            assert abs(value) <= 1e100 or name in line["nonfinite"]
    samples = journal(tmp_path / "samples.jsonl", noise)
    for sample in Samples(Lines(samples)):
        assert sample.text.encode() and math.isfinite(sample.temperature)
    rewind(path, 15)
    assert all(line["step"] <= 15 for line in Lines(path))
