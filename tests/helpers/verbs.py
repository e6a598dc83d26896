"""Command lines of `gptexp VERB`, read by the verb and not carried out."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from gptexp.analysis import find
from gptexp.analysis.find import Found
from gptexp.cli.app import app

COMMANDS = typer.main.get_command(app).commands


def taken(line: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the verb of the line is given by it; whatever run it names is there."""
    name, verb, *words = shlex.split(line)
    assert name == "gptexp"
    values: dict[str, Any] = {}
    monkeypatch.setattr(find, "find_run", lambda words: Found(Path(words), ""))
    monkeypatch.setattr(COMMANDS[verb], "callback", lambda **given: values.update(given))
    COMMANDS[verb].main(words, prog_name=f"gptexp {verb}", standalone_mode=False)
    assert {*values} == {parameter.name for parameter in COMMANDS[verb].params} - {"help"}
    return values
