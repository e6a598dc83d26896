"""Own code that is told of a run: metrics and callbacks, registered by modules that a run names.

A module is imported for the command that trains, and never for what a run directory says.
"""

import hashlib
import importlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gptexp.errors import ConfigError, Problem
from gptexp.text import shortened

MOMENTS = ("start", "evaluated", "saved", "end")

NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)+")
OURS = ("train", "val", "test", "best", "final", "tok")  # what the project's own names begin with

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Plugin:
    """A function that a module registered."""

    module: str
    moment: str  # one of MOMENTS, or "metric"
    name: str  # of a metric, as my/vowels; of a callback, that of its function
    call: Callable[..., Any]

    def __str__(self) -> str:
        return f"{self.name} of {self.module}"


_registered: list[Plugin] = []  # by all modules that this process imported


def metric(name: str) -> Callable[[F], F]:
    """Register a function that is called at each evaluation and returns a number.

    `name` has a "/", as my/vowels; it is the curve in metrics.jsonl and in dashboards, and a column
    of tables. Raises ConfigError for a name that cannot be one, or is taken.
    """
    module = _caller()

    def register(function: F) -> F:
        _add(Plugin(module, "metric", name, function))
        return function

    if not isinstance(name, str) or not NAME.fullmatch(name):
        what = f"{module} has a metric {shortened(repr(name))}"
        raise ConfigError(Problem("plugins", what, "two words with / between, as my/vowels"))
    if is_own(name):
        what = f"{module} has a metric {name}, and {name.partition('/')[0]}/ is gptexp's own"
        raise ConfigError(Problem("plugins", what, f"call it my/{name.rpartition('/')[2]}"))
    return register


def on(moment: str) -> Callable[[F], F]:
    """Register a function that is called at one of MOMENTS; raises ConfigError for another."""
    module = _caller()

    def register(function: F) -> F:
        name = getattr(function, "__name__", type(function).__name__)
        _add(Plugin(module, moment, name, function))
        return function

    if moment not in MOMENTS:
        what = f"{module} waits for {shortened(repr(moment))}"
        raise ConfigError(Problem("plugins", what, f"one of {', '.join(MOMENTS)}"))
    return register


def load(modules: Sequence[str]) -> list[Plugin]:
    """Import the modules that are not yet, from the current folder too, and return what they have.

    Raises ConfigError for one that is not there, raises, or registers nothing.
    """
    if modules and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # at the end, where it hides no module that is installed
    for module in modules:
        _import(module)
    plugins = chosen(modules)
    counts = Counter(plugin.name for plugin in plugins if plugin.moment == "metric")
    for name in (name for name, count in counts.items() if count > 1):
        owners = [plugin.module for plugin in plugins if plugin.name == name]
        what = f"the metric {name} is registered twice, by {' and '.join(owners)}"
        raise ConfigError(Problem("plugins", what, "give one of them another name"))
    return plugins


def chosen(modules: Sequence[str]) -> list[Plugin]:
    """What these modules, and those of the packages among them, registered; imports nothing."""
    return [p for p in _registered if any(_holds(module, p.module) for module in modules)]


def sources(modules: Sequence[str]) -> list[dict[str, Any]]:
    """Name and SHA-256 of the file of each imported module; None for one without a file."""
    return [{"module": name, "sha256": _digest(_file(name))} for name in modules]


def is_own(name: str) -> bool:
    """Whether the name of a curve is the project's own, and no metric's."""
    return name.partition("/")[0] in OURS


def _caller() -> str:
    """The module whose line calls `metric` or `on`."""
    name: str = sys._getframe(2).f_globals.get("__name__", "?")
    return name


def _add(plugin: Plugin) -> None:
    if plugin.module == "__main__":  # a notebook's cell, which may run again
        same = (plugin.module, plugin.moment, plugin.name)
        _registered[:] = [p for p in _registered if (p.module, p.moment, p.name) != same]
    _registered.append(plugin)


def _import(module: str) -> None:
    # What a module that could not be imported left behind goes first.
    _registered[:] = [p for p in _registered if p.module in sys.modules]
    importlib.invalidate_caches()
    try:
        importlib.import_module(module)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and _holds(error.name, module):
            what = f"{module} is not there: neither in {Path.cwd()} nor installed"
            fix = f"a file {module.replace('.', '/')}.py here, or set PYTHONPATH"
            raise ConfigError(Problem("plugins", what, fix)) from error
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        what = f"{module} cannot be imported, {shortened(reason, 200)}"
        fix = f"see it by python -c 'import {module}'"
        raise ConfigError(Problem("plugins", what, fix)) from error
    if not chosen([module]):
        what = f"{module} ({_file(module) or 'no file'}) registers nothing"
        raise ConfigError(Problem("plugins", what, "@gptexp.metric(...) or @gptexp.on(...) in it"))


def _holds(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _file(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _digest(file: str | None) -> str | None:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
