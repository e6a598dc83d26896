"""The example in each verb's help is a command line that the verb takes."""

import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gptexp.analysis import find
from gptexp.analysis.find import Found
from gptexp.cli.app import VERBS, app

COMMANDS = typer.main.get_command(app).commands
DASHED = ("plan", "tensorboard")  # take options of others among their words


def test_every_verb_has_one():
    assert {verb for verb, *_ in VERBS} == {*COMMANDS}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_example_of_a_verb_is_shown_and_taken(verb, monkeypatch):
    command, taken = COMMANDS[verb], {}
    name, typed, *words = shlex.split(command.epilog.removeprefix("Example: "))
    assert (name, typed) == ("gptexp", verb)
    monkeypatch.setattr(find, "find_run", lambda words: Found(Path(words), ""))
    monkeypatch.setattr(command, "callback", lambda **values: taken.update(values))
    command.main(words, prog_name=f"gptexp {verb}", standalone_mode=False)
    assert {*taken} == {parameter.name for parameter in command.params} - {"help"}
    if verb in DASHED:
        assert not any(str(word).startswith("--") for word in taken.get("words", []))
    shown = CliRunner().invoke(app, [verb, "--help"]).output
    assert " ".join(command.epilog.split()) in " ".join(shown.split())
