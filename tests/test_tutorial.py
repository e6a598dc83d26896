"""docs/tutorial.md: every line of it run as typed, in its order, with a fifth of the steps."""

import ast
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from pages import Block, blocks, commands, copied
from small_runs import CONF, ROOT
from terminals import Terminal

from gptexp.config import Config, compose, from_overrides
from gptexp.config.grid import of_command

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
FILE = "conf/experiment/manual.yaml"
FILES = {block.file: block.text for block in BLOCKS if block.file}
STEPS = re.compile(r"\b((?:max|warmup)_steps|eval_interval)(=|: )(\d+)")


def form(line: str) -> str:
    """A line without what may be another one elsewhere: numbers, digests, unknown characters."""
    line = re.sub(r"(?:'.' \(U\+\w{4}\)(?:, )?)+", "CHARACTERS ", line)
    line = re.sub(r"-[0-9a-f]{8}\b", "-HASH", line)
    line = re.sub(r"[-+]?\d[\d.,:e+-]*[kM]?", "N", line)
    return " ".join(line.split())


def fifth(text: str) -> str:
    """With a fifth of each number of steps: what a run says has the same form, and comes sooner."""
    return STEPS.sub(lambda found: f"{found[1]}{found[2]}{int(found[3]) // 5}", text)


def check(block: Block, codes: list[int], said: str, folder: Path) -> None:
    """The exit codes are right, and what the page shows is there, in this order."""
    for name in re.findall(r"^wrote (.+)$", said, re.MULTILINE):
        assert (folder / name).stat().st_size > 1000
    refused = any(line.startswith("gptexp: error: ") for line in block.shown)
    assert codes == [2 if refused else 0] * len(codes), said
    if any(command.startswith("gptexp sample") for command in block.commands):
        return  # drawn from every bit of the weights
    rest = iter([form(line) for line in said.splitlines()])
    for line in block.shown:
        assert line == "..." or form(line) in rest, f"not there: {line}\n{said}"
    if "..." not in block.shown:
        assert len(said.split("\n")) - 1 == len(block.shown), said


@pytest.mark.slow(minutes=1)
def test_every_line_is_run_as_typed(tmp_path):
    folder = copied(tmp_path / "checkout")
    for recipe in (folder / "conf" / "recipe").iterdir():  # which have the warm-up
        recipe.write_text(fifth(recipe.read_text()))
    environment = {k: v for k, v in os.environ.items() if k not in ("GPTEXP_DATA_DIR", "COLUMNS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment |= {"PYTHONPATH": str(folder), "TERM": "xterm"}
    first, second = Terminal(folder, environment), Terminal(folder, environment, (24, 80))
    typed = None  # in the first terminal, and not yet over
    try:
        for block in BLOCKS:
            if any("--watch" in command for command in block.commands):
                second.type([*map(fifth, block.commands)])
                check(block, *second.answers(), folder)
                continue
            if typed is not None:
                check(typed, *first.answers(), folder)
            typed = None if block.file else block
            if block.file:
                (folder / block.file).write_text(fifth(block.text))
            else:
                first.type([*map(fifth, block.commands)])
        check(typed, *first.answers(), folder)
    finally:
        first.close()
        second.close()
    assert not list((folder / "outputs").iterdir())
    assert not any((folder / name).exists() for name in FILES)


def overrides() -> list[list[str]]:
    """What the page gives to `python run.py`, and to the functions that train."""
    typed = [shlex.split(line)[2:] for line in commands(PAGE) if line.startswith("python")]
    calls = [node for node in ast.walk(ast.parse(FILES["study.py"])) if isinstance(node, ast.Call)]
    return typed + [
        ast.literal_eval(call.args[0])
        for call in calls
        if getattr(call.func, "attr", "") in ("train", "train_grid")
    ]


@pytest.mark.slow
def test_the_first_command_and_the_file_are_one_config(tmp_path, monkeypatch):
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / FILE).write_text(FILES[FILE])
    monkeypatch.setattr(compose, "CONF_DIR", str(tmp_path / "conf"))
    typed, filed, *_ = overrides()
    assert filed == ["experiment=manual"]
    assert from_overrides(typed) == from_overrides(filed)


@pytest.mark.slow
def test_every_config_composes():
    first, *others = overrides()
    for words in others:
        given = [word for word in words if word not in ("-m", "experiment=manual")]
        points = [config for _, config in of_command([*first, *given])]
        assert all(isinstance(config, Config) for config in points), words
