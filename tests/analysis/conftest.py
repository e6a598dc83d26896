"""Tables through the front door, as text and for programs."""

import json

import pytest


@pytest.fixture
def table(gptexp):
    """`table(folder, ...)`: the lines of the rows, without the head, and those of the notes."""

    def call(*arguments):
        code, out, err = gptexp("table", *arguments)
        assert (code, err) == (0, "")
        rows, _, notes = out.rstrip("\n").partition("\n\n")
        return rows.splitlines()[1:], notes.splitlines()

    return call


@pytest.fixture
def rows(gptexp):
    """`rows(folder, ...)`: what `--format json` says."""

    def call(*arguments):
        code, out, err = gptexp("table", *arguments, "--format", "json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return call
