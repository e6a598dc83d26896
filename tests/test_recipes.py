"""The recipes of docs/architecture.md for new variants, followed to the letter and trained with."""

import ast
import json
import os
import re
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from interruptions import forked
from pages import blocks, copied
from small_runs import ROOT, SMALL

SAMPLE, EXPLAIN = ["sample", "--tokens", "8"], ["explain"]

# By heading: what is chosen with it, the verbs that must take it, and a word of what they show.
RECIPES = {
    "An optimizer: Lion": (["optim=lion"], [SAMPLE, EXPLAIN], " Lion then moves "),
    "An activation: Mish": (["model.activation=mish"], [SAMPLE, EXPLAIN], " Mish, "),
    "A tokenizer: words": (["tokenizer=word"], [SAMPLE], " words and characters"),
    "An evaluation metric: top-1 accuracy": ([], [SAMPLE], "done at step 2"),
}
SECTIONS = re.findall(
    r"^### (An? .+?: .+)\n((?:.|\n)*?)(?=^### )",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def named(tree: ast.Module, name: str) -> ast.stmt:
    """The class, function or table that `name` means, or a method `Class.name`."""
    body, found = tree.body, None
    for part in name.split("."):
        [found] = [node for node in body if part in names_of(node)]
        body = getattr(found, "body", [])
    assert found is not None
    return found


def names_of(node: ast.stmt) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [getattr(node, "name", ""), *(t.id for t in targets if isinstance(t, ast.Name))]


def place(source: str, words: str) -> tuple[int, int]:
    """The lines, from and to, that a block takes the place of; equal where it is put between."""
    tree = ast.parse(source)
    name = (re.findall(r"`([\w.]+)`", words) or [""])[0]
    if words == "among the imports":
        last = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)][-1]
        return last.end_lineno, last.end_lineno
    node = named(tree, name)
    if words == f"above `{name}`":
        return node.lineno - 1, node.lineno - 1
    if words == f"among the fields of `{name}`":
        last = [n for n in node.body if isinstance(n, ast.AnnAssign)][-1]
        return last.end_lineno, last.end_lineno
    if words == f"in place of the last line of `{name}`":
        return node.body[-1].lineno - 1, node.body[-1].end_lineno
    [loop] = [n for n in getattr(node, "body", []) if isinstance(n, ast.For)] or [None]
    if words == f"above the loop of `{name}`":
        return loop.lineno - 1, loop.lineno - 1
    if words == f"in the loop of `{name}`":
        last = loop.body[-1]  # what lets go of the pass's tensors stays the last
        end = last.lineno - 1 if isinstance(last, ast.Delete) else last.end_lineno
        return end, end
    assert words == f"in `{name}`", words
    if isinstance(node, ast.FunctionDef):
        assert isinstance(node.body[-1], ast.Raise)
        return node.body[-1].lineno - 1, node.body[-1].lineno - 1
    end = node.end_lineno - 1 if isinstance(node, ast.Assign | ast.AnnAssign) else node.end_lineno
    return end, end


def follow(recipe: str, checkout: Path) -> None:
    """Do with the files of `checkout` what the recipe says."""
    for name, words, _, text in blocks(recipe):
        assert name and words, f"a block without a line that says where it goes: {text}"
        path = checkout / name
        if words == "a new file":
            assert not path.exists()
            path.write_text(text)
            continue
        lines = path.read_text().splitlines(keepends=True)
        start, end = place("".join(lines), words)
        lines[start:end] = [text, *["\n\n"] * words.startswith("above `")]
        path.write_text("".join(lines))


def use(checkout: Path, overrides: list[str], verbs: list[list[str]]) -> int:
    """Train with the package in `checkout`, in a child process, and look at what it made."""
    for name in [n for n in sys.modules if n.partition(".")[0] in ("gptexp", "hydra_plugins")]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    os.chdir(checkout.parent)
    with Path("said.txt").open("w") as said, redirect_stdout(said), redirect_stderr(said):
        try:
            from gptexp import console
            from gptexp.cli.app import app
            from gptexp.config import from_overrides
            from gptexp.experiment.run import run_experiment

            assert Path(console.__file__).parents[1] == checkout
            console.setup()
            outcome = run_experiment(from_overrides(overrides))
            assert outcome.state == "done", outcome
            for verb in verbs:
                app([*verb, str(outcome.path)], standalone_mode=False)
        except BaseException:
            traceback.print_exc()
            return 1
    return 0


def test_every_recipe_is_tried():
    assert [heading for heading, _ in SECTIONS] == list(RECIPES)


@pytest.mark.slow
@pytest.mark.parametrize("heading", RECIPES)
def test_a_recipe_followed_to_the_letter_trains_and_is_shown(heading, tmp_path, text_file):
    checkout = copied(tmp_path / "checkout")
    follow(dict(SECTIONS)[heading], checkout)
    overrides, verbs, word = RECIPES[heading]
    settings = {"trainer.max_steps": "2", "trainer.eval_interval": "1", "trainer.log_interval": "1"}
    given = dict(word.split("=") for word in [*SMALL, f"data.path={text_file}", *overrides])
    words = [f"{key}={value}" for key, value in (given | settings).items()]
    code = forked(lambda: use(checkout, words, verbs))
    said = (tmp_path / "said.txt").read_text()
    assert code == 0, said
    assert word in " ".join(said.split())
    [run] = (tmp_path / "outputs" / "default").iterdir()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/loss" in line] == [0, 1, 2]
    shares = [line["val/top1"] for line in lines if "val/top1" in line]
    assert len(shares) == (3 if "metric" in heading else 0)
    assert all(0 <= share <= 1 for share in shares)
    assert all(word.split("=")[1] in (run / "config.yaml").read_text() for word in overrides)
