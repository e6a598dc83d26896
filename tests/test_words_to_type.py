"""A path in what one is told to type is in quotes where a shell would cut it."""

import ast
import re
from itertools import pairwise

import pytest
from small_runs import ROOT

# What stands in an f-string behind these words is typed in a shell; a number needs no quotes.
COMMAND = re.compile(r"(gptexp [a-z]+|run\.py)( -*[a-z=]+)* $")
QUOTING = {"in_shell", "quoted", "shlex"}
PATHS = {"path", "folder", "file", "run", "source", "parent"}


def bare(tree: ast.AST) -> list[str]:
    """The paths in f-strings of a module that follow a command and are not quoted."""
    found = []
    for node in ast.walk(tree):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for before, value in pairwise(parts):
            if not (isinstance(before, ast.Constant) and isinstance(value, ast.FormattedValue)):
                continue
            words = re.split(r"\W+", ast.unparse(value.value))
            if (
                COMMAND.search(str(before.value))
                and PATHS & set(words)
                and not QUOTING & set(words)
            ):
                found.append(ast.unparse(node))
    return found


def test_no_command_that_is_told_has_a_bare_path():
    files = sorted((ROOT / "gptexp").rglob("*.py"))
    assert files and not {
        file.name: found
        for file in files
        if (found := bare(ast.parse(file.read_text(encoding="utf-8"))))
    }


@pytest.mark.parametrize("told", ['f"gptexp fit {path} --n"', 'f"see gptexp table {a.parent}"'])
def test_a_bare_path_would_be_found(told):
    assert bare(ast.parse(told)) and not bare(ast.parse(re.sub(r"{(.*)}", r"{in_shell(\1)}", told)))
