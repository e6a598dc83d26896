"""Tables through the front door, as text and for programs."""

import json
import sys

import pytest

from gptexp.cli.app import main


@pytest.fixture
def gptexp(capsys, monkeypatch):
    """`gptexp("table", folder)`: exit code, output, error, through the front door."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gptexp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


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
