"""The example in each verb's help is a command line that the verb takes."""

import pytest
from typer.testing import CliRunner
from verbs import COMMANDS, taken

from gptexp.cli.app import VERBS, app

DASHED = ("plan", "tensorboard")  # take options of others among their words


def test_every_verb_has_one():
    assert {verb for verb, *_ in VERBS} == {*COMMANDS}


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_example_of_a_verb_is_shown_and_taken(verb, monkeypatch):
    example = COMMANDS[verb].epilog.removeprefix("Example: ")
    assert example.split()[1] == verb
    values = taken(example, monkeypatch)
    if verb in DASHED:
        assert not any(str(word).startswith("--") for word in values.get("words", []))
    shown = CliRunner().invoke(app, [verb, "--help"]).output
    assert " ".join(COMMANDS[verb].epilog.split()) in " ".join(shown.split())
