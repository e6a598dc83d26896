"""Who may import whom, as the README's architecture section says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "gptexp"
TOP = {"cli"}
FOLDERS = ["mirrors", "walkthrough"]  # that are one module to the others
TRAINER = {
    "checkpoint",
    "clock",
    "config",
    "console",
    "corpus",
    "early_stopping",
    "errors",
    "evaluation",
    "forecast",
    "gradients",
    "insight",
    "interrupt",
    "journal",
    "optim",
    "runtime",
    "sample",
    "schedule",
    "tokenizers",
    "tracking",
}
GROUND = {"errors", "files", "config"}  # anybody may

MAY_IMPORT: dict[str, set[str]] = {
    "assets": set(),
    "baselines": set(),
    "budget": {"corpus"},
    "checkpoint": set(),
    "cliff": set(),
    "clock": set(),
    "console": set(),
    "conclusion": {
        "corpus",
        "evaluation",
        "insight",
        "journal",
        "mirrors",
        "ngrams",
        "preflight",
        "summary",
        "tracking",
    },
    "corpus": {"runtime"},
    "data": {"assets", "corpus", "documents", "tokenizers"},
    "diff": {"journal", "paired", "runs", "table"},
    "documents": {"corpus", "runtime", "tokenizers"},
    "early_stopping": set(),
    "explain": {
        "data",
        "documents",
        "networks",
        "runtime",
        "sample",
        "schedule",
        "tokenizers",
        "walk",
        "walkthrough",
    },
    "export": {"journal", "mirrors", "rundir", "summary"},
    "exhibits": {"figures", "findings", "levels"},
    "figures": {"cliff", "findings", "groups", "rules"},
    "findings": {"cliff", "groups", "journal", "runs"},
    "plan": {
        "console",
        "corpus",
        "data",
        "forecast",
        "networks",
        "preflight",
        "rundir",
        "runtime",
        "standing",
        "sweep",
        "table",
        "tokenizers",
    },
    "plot": {"cliff", "figures", "journal", "runs"},
    "pictures": {"insight"},
    "insight": {"model", "tokenizers"},
    "journal": set(),
    "levels": {"findings", "ngrams"},
    "judge": {"corpus", "data", "evaluation", "rundir", "runtime", "sample"},
    "manifest": {"checkpoint", "preflight", "provenance"},
    "mirrors": {"groups", "insight", "journal", "pictures", "runs"},
    "errors": set(),
    "evaluation": {"corpus", "runtime", "tokenizers"},
    "files": set(),
    "forecast": {"corpus", "evaluation", "runtime"},
    "gradients": set(),
    "groups": {"runs"},
    "heading": {"console", "findings", "groups", "levels", "runs"},
    "microgpt": set(),
    "interchange": {
        "checkpoint",
        "conclusion",
        "console",
        "data",
        "documents",
        "evaluation",
        "insight",
        "journal",
        "manifest",
        "microgpt",
        "networks",
        "preflight",
        "rundir",
        "runtime",
        "sample",
        "standing",
        "status",
        "summary",
        "tokenizers",
        "tracking",
    },
    "interrupt": set(),
    "model": set(),
    "networks": {"baselines", "model"},
    "ngrams": set(),
    "optim": set(),
    "paired": {"groups", "runs", "table"},
    "provenance": {"runtime"},
    "reference": set(),
    "report": {"cliff", "exhibits", "findings", "heading", "journal", "levels", "table"},
    "rundir": set(),
    "runs": {"rundir"},
    "rules": set(),
    "runtime": set(),
    "sample": {"checkpoint", "corpus", "documents", "journal", "networks", "tokenizers"},
    "schedule": set(),
    "summary": {"cliff", "console", "evaluation", "journal", "networks", "ngrams", "rundir"},
    "table": {"groups", "runs"},
    "sweep": {"mirrors", "outcome", "rundir", "runs", "standing"},
    "tokenizers": set(),
    "walk": {
        "baselines",
        "evaluation",
        "gradients",
        "insight",
        "model",
        "networks",
        "optim",
        "tokenizers",
    },
    "walkthrough": {"networks", "walk"},
    "tracking": {"insight", "journal", "mirrors"},
    "trainer": TRAINER,
    "outcome": set(),
    "status": {"outcome", "rundir"},
    "standing": {"checkpoint", "outcome", "preflight", "provenance", "rundir", "summary"},
    "preflight": {
        "budget",
        "checkpoint",
        "corpus",
        "data",
        "networks",
        "rundir",
        "runtime",
        "sample",
        "tokenizers",
    },
}


def imported(path: Path) -> set[str]:
    """Top names of all modules that the file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "gptexp":
            names |= {f"gptexp.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def rooms(names: set[str]) -> set[str]:
    """Modules of the package among `names`, by their first name below it."""
    return {name.split(".")[1] for name in names if name.startswith("gptexp.")}


def rooms_of(module: str) -> set[str]:
    """What a module, or all files of a folder, import of the package's rooms."""
    folder = PACKAGE / module
    paths = folder.glob("*.py") if module in FOLDERS else [folder.with_suffix(".py")]
    return set().union(*(rooms(imported(path)) for path in paths)) - {module}


MODULES = [*sorted(p.stem for p in PACKAGE.glob("*.py") if p.stem != "__init__"), *FOLDERS]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_lies_below_it(module):
    used = rooms_of(module)
    if module in TOP:
        return
    if module == "experiment":
        assert not used & TOP
        return
    assert module in MAY_IMPORT, f"say in tests/test_imports.py what {module} may import"
    assert used <= MAY_IMPORT[module] | GROUND


def test_nobody_but_the_top_imports_the_trainer_or_the_experiment():
    for module in MODULES:
        used = rooms_of(module)
        assert "trainer" not in used or module == "experiment"
        assert "experiment" not in used or module in TOP


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_hydra_and_omegaconf_are_known_to_the_config_alone(path):
    if path.parent.name != "config":
        assert not {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}


def test_the_config_package_imports_nothing_but_errors():
    for path in (PACKAGE / "config").glob("*.py"):
        assert rooms(imported(path)) <= {"config", "errors"}


def test_the_config_and_the_package_itself_do_not_import_torch():
    program = "import sys, gptexp, gptexp.config, gptexp.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_dashboards_and_matplotlib_are_imported_only_when_they_are_used():
    program = (
        "import sys, gptexp.experiment, gptexp.export; "
        "sys.exit(bool({'tensorboard', 'wandb', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_tables_and_differences_import_neither_torch_nor_scipy():
    program = (
        "import sys, gptexp.diff, gptexp.table; sys.exit(bool({'torch', 'scipy'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_report_does_not_import_torch():
    program = "import sys, gptexp.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
