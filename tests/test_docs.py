"""README and docs/: what they name is there, and what is there is named."""

import importlib.util
import json
import re
import shlex

import pytest
from own_modules import modules_of, written
from pages import commands
from small_runs import ROOT, SMALL
from verbs import taken

from gptexp.config import Config
from gptexp.config.grid import of_command

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_table_of_keys_is_that_of_the_dataclasses():
    spec = importlib.util.spec_from_file_location("keys", ROOT / "docs" / "keys.py")
    keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(keys)
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == keys.page(), "run python docs/keys.py"


def test_every_key_has_a_meaning():
    """A field without a comment would be missing in the table."""
    import dataclasses

    from gptexp.config.schema import SINGLE, VARIANTS, Config

    nodes = [Config, *SINGLE.values(), *(n for group in VARIANTS.values() for n in group.values())]
    table = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for node in nodes:
        for field in dataclasses.fields(node):
            if field.name not in {*SINGLE, *VARIANTS}:
                row = re.search(rf"^\| `(\w+\.)?{field.name}` .*", table, re.MULTILINE)
                assert row and "no comment" not in row[0], field.name


@pytest.mark.parametrize("group", ["model", "data", "optim", "schedule", "experiment", "sweeps"])
def test_every_choice_of_a_group_is_named(group):
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{group}` |"))
    named = set(re.findall(r"\w+", row))
    shipped = {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}
    assert shipped and not sorted(shipped - named)


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, quick):
    """With a smaller model and text than it has, and no window."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    text = tmp_path / "text.txt"
    text.write_text("ROMEO:\nTo be, or not to be: that is the question.\n" * 40)
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    space = {}
    exec(code[0], space)
    given = {word.partition("=")[0] for word in SMALL}
    space["BASE"] = [word for word in space["BASE"] if word.partition("=")[0] not in given]
    space["BASE"] += [word for word in SMALL if "block_size" not in word]
    space["BASE"] += ["model.block_size=20", f"data.path={text}"]
    for cell in code[1:]:
        exec(cell, space)
    assert len(space["runs"]) == 6
    assert space["outcomes"][0].state == "already done"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_taken(page, tmp_path, monkeypatch):
    """Without being carried out. What is Hydra's alone (options, launchers) is left out.

    So are the intervals of a search.
    """
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    with written(modules_of(text), monkeypatch):
        for command in commands(text):
            if command.startswith("gptexp "):
                taken(command, monkeypatch)
            elif page.name != "tutorial.md":  # which has an experiment of its own
                words = [word for word in shlex.split(command)[2:] if not word.startswith("hydra")]
                words = [word for word in words if not re.match(r"-m$|\$|.*interval", word)]
                if not any(word.startswith("-") for word in words):
                    assert all(isinstance(config, Config) for _, config in of_command(words)), words


def test_the_readme_is_read_in_a_sitting():
    assert (ROOT / "README.md").stat().st_size <= 9000


def test_every_file_of_every_wing_is_named():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = table.partition("## The files of each wing")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", table, re.MULTILINE))
    assert set(rows) == {path.parent.name for path in (ROOT / "gptexp").glob("*/__init__.py")}
    for wing, words in rows.items():
        files = {path.stem for path in (ROOT / "gptexp" / wing).glob("*.py")}
        named = set(re.findall(r"`(\w+)`", words))
        assert files - {"__init__", "__main__"} == named, wing
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = "\n".join(re.findall(r"^\| (`\w+/`.*?) \|", readme, re.MULTILINE))
    assert set(re.findall(r"`(\w+)/`", tree)) == set(rows)
