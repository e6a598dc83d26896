"""Who may import whom: one row a wing, as docs/architecture.md says; and what imports no torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import ROOT

PACKAGE = ROOT / "gptexp"
OPEN = {"errors", "text", "files", "console", "plugins", "config"}  # anybody may import these
# What else a wing may import; in the order of the floors, so that no import runs upwards.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "text": set(),
    "files": set(),
    "console": set(),
    "plugins": set(),
    "config": set(),
    "reference": set(),
    "dialogues": set(),
    "assets": {"dialogues"},
    "runtime": set(),
    "models": {"runtime"},
    "tokenizers": {"assets"},
    "optim": set(),
    "data": {"assets", "runtime", "tokenizers"},
    "runs": {"runtime"},
    "analysis": {"runs"},
    "inference": {"data", "models", "runs", "runtime", "tokenizers"},
    "tracking": {"inference", "runs"},
    "training": {
        "data",
        "inference",
        "models",
        "optim",
        "runs",
        "runtime",
        "tokenizers",
        "tracking",
    },
    "laws": {"analysis", "runs"},
    "report": {"analysis", "laws", "runs", "tracking"},
    "experiment": {
        *("analysis", "data", "inference", "models", "optim", "runs", "runtime", "tokenizers"),
        *("tracking", "training"),
    },
    "explain": {"data", "inference", "models", "optim", "runtime", "tokenizers", "training"},
    "sweep": {
        *("analysis", "data", "experiment", "laws", "models", "optim", "report", "runs"),
        *("runtime", "training"),
    },
    "interchange": {
        *("analysis", "data", "experiment", "inference", "models", "runs", "runtime", "tokenizers"),
        "tracking",
    },
    "playground": {
        *("analysis", "experiment", "inference", "interchange", "models", "report", "runs"),
        "tokenizers",
    },
    "cli": {
        *("analysis", "data", "experiment", "explain", "inference", "interchange", "laws"),
        *("models", "playground", "report", "runtime", "sweep"),
    },
}
CONFIG_MAY_IMPORT = {"errors", "plugins", "text"}
WINGS = list(MAY_IMPORT)


def imported(path: Path) -> set[str]:
    """Full names of all modules that the file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def wings(names: set[str]) -> set[str]:
    """The package's wings and root rooms among `names`."""
    return {name.split(".")[1] for name in names if name.startswith("gptexp.")} & {*WINGS}


def files_of(wing: str) -> list[Path]:
    room = PACKAGE / f"{wing}.py"
    return [room] if room.exists() else sorted((PACKAGE / wing).glob("*.py"))


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_what_lies_below_it(wing):
    allowed = CONFIG_MAY_IMPORT if wing == "config" else MAY_IMPORT[wing] | OPEN
    for path in files_of(wing):
        used = wings(imported(path)) - {wing}
        assert used <= allowed, f"{path.name} imports {', '.join(sorted(used - allowed))}"


def test_every_wing_has_its_row_below_those_that_import_it():
    here = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/*.py")}
    assert here - {"__init__"} == {*WINGS}
    for number, wing in enumerate(WINGS):
        assert MAY_IMPORT[wing] <= {*WINGS[:number]}, "a circle, or a row out of its order"


def rooms() -> dict[str, Path]:
    """Every module of the package by its full name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }


def test_no_rooms_import_each_other_in_a_circle():
    known = rooms()
    uses = {name: imported(path) & known.keys() for name, path in known.items()}
    while ground := [name for name, used in uses.items() if not used & uses.keys()]:
        for name in ground:
            del uses[name]
    assert not uses, "each of these imports another of them"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_hydra_and_omegaconf_are_known_to_the_config_alone(path):
    if path.parent.name != "config":
        assert not {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_the_face_of_a_wing_holds_words_alone(path):
    if path.parent.name not in ("config", "cli"):
        assert len(ast.parse(path.read_text()).body) == 1


# In this order: each stage may need what those before it do, and no more.
STAGES = {
    "the config and the command line": ("gptexp, gptexp.config, gptexp.cli", set()),
    "what is over before it begins": (
        "gptexp.experiment.run, gptexp.sweep.run, gptexp.runs.entries, gptexp.data.find, "
        "gptexp.data.token_manifest, "
        "gptexp.data.tokenize, "
        "gptexp.experiment.reproduce, gptexp.experiment.at_commit",
        set(),
    ),
    "tables and differences": ("gptexp.analysis.diff, gptexp.analysis.watch", set()),
    "links and the curve of a sweep, for TensorBoard": (
        "gptexp.interchange.board, gptexp.interchange.links, gptexp.report.scaling_curve",
        {"tensorboard"},
    ),
    "reports": ("gptexp.report.page", {"matplotlib", "tensorboard"}),
    "training and imports": (
        "gptexp.experiment.train, gptexp.interchange.convert",
        {"matplotlib", "tensorboard", "torch"},
    ),
    "laws": ("gptexp.laws.judge", {"matplotlib", "scipy", "tensorboard", "torch"}),
}


def loaded_by(*modules: str) -> list[set[str]]:
    """Which of the slow libraries a process has loaded after each import."""
    slow = "{'torch', 'scipy', 'tensorboard', 'wandb', 'matplotlib'}"
    shown = [f"import {names}\nprint(*({slow} & set(sys.modules)))" for names in modules]
    command = [sys.executable, "-c", "\n".join(["import sys", *shown])]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_a_law_is_fitted_without_torch():
    assert loaded_by("gptexp.laws.judge") == [{"scipy"}]


def test_slow_libraries_are_imported_only_where_they_are_used():
    loaded = loaded_by(*(names for names, _ in STAGES.values()))
    for (stage, (_, allowed)), found in zip(STAGES.items(), loaded, strict=True):
        assert found == allowed, stage


@pytest.mark.parametrize(("given", "found"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_openmp_learns_how_to_wait_before_torch_is_loaded(given, found):
    spoken = "import os, sys, gptexp; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", spoken]
    told = subprocess.check_output(command, cwd=ROOT, env=others | given, text=True)
    assert told.split() == [found, "False"]
