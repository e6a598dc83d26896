"""Own code, registered by modules that a command names: metrics, callbacks, variants of a config.

A module is imported for what its user types, and never for what a run directory says. How variants
are registered says config/own.py.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.text import shortened

MOMENTS = ("start", "evaluated", "saved", "end")

NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)+")
# What the project's own names begin with.
OURS = ("train", "val", "test", "best", "final", "tok", "diag", "epoch")

LONGEST = 200  # characters of what own code raises that are shown

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Plugin:
    """A function, or a class, that a module registered."""

    module: str
    moment: str  # one of MOMENTS, "metric", or the section of which it is a variant
    name: str  # of a metric, as my/vowels; of a variant; of a callback, that of its function
    call: Callable[..., Any]
    config: type | None = None  # the dataclass of a variant
    code: Mapping[str, str] = field(default_factory=dict)  # of a variant; see code_of

    def __str__(self) -> str:
        return f"{self.name} of {self.module}"


_registered: list[Plugin] = []  # by all modules that this process imported


class Variants(Mapping[str, type]):
    """The dataclasses that modules registered for a section of the config, by name."""

    def __init__(self, section: str) -> None:
        self.section = section

    def __getitem__(self, name: str) -> type:
        if (plugin := named(self.section, name)) is None or plugin.config is None:
            raise KeyError(name)
        return plugin.config

    def __iter__(self) -> Iterator[str]:
        return iter(p.name for p in _registered if p.moment == self.section)

    def __len__(self) -> int:
        return len(list(iter(self)))


def metric(name: str) -> Callable[[F], F]:
    """Register a function that is called at each evaluation and returns a number.

    `name` has a "/", as my/vowels; it is the curve in metrics.jsonl and in dashboards, and a column
    of tables. Raises ConfigError for a name that cannot be one, or is taken.
    """
    module = caller()

    def register(function: F) -> F:
        add(Plugin(module, "metric", name, function))
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
    module = caller()

    def register(function: F) -> F:
        name = getattr(function, "__name__", type(function).__name__)
        add(Plugin(module, moment, name, function))
        return function

    if moment not in MOMENTS:
        what = f"{module} waits for {shortened(repr(moment))}"
        raise ConfigError(Problem("plugins", what, f"one of {', '.join(MOMENTS)}"))
    return register


def load(modules: Sequence[str]) -> list[Plugin]:
    """Import the modules that are not yet, from the current folder too, and return what they have.

    Raises ConfigError for one that is not there, raises, or registers nothing.
    """
    if modules and (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)  # at the end, where it hides no module that is installed
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
    """Name and SHA-256 of the file of each imported module; None for one without a file.

    With the files that are hashed, where it has a variant of the config.
    """
    listed = []
    for name in modules:
        files = {k: v for plugin in chosen([name]) for k, v in plugin.code.items()}
        entry = {"module": name, "sha256": _digest(_file(name))}
        listed.append({**entry, "files": files} if files else entry)
    return listed


def code_of(module: str) -> dict[str, str]:
    """SHA-256 of a module's source file, or of all those of the package that it is in, by path.

    Imports nothing. Empty for a module that is not there, or has no source.
    """
    top = module.partition(".")[0]
    importlib.invalidate_caches()
    spec = importlib.util.find_spec(top)
    if spec is None:
        return {}
    if spec.submodule_search_locations is None:
        files = [Path(spec.origin or "")]
        return {path.name: str(_digest(path)) for path in files if path.suffix == ".py"}
    return {
        f"{top}/{path.relative_to(folder).as_posix()}": str(_digest(path))
        for folder in map(Path, spec.submodule_search_locations)
        for path in sorted(folder.rglob("*.py"))
        if path.is_file()  # an editor's lock is a link to nowhere
    }


def own(cfg: object) -> Plugin | None:
    """What was registered with the dataclass of a section; None for one of gptexp's own."""
    return next((p for p in _registered if p.config is type(cfg)), None)


def named(section: str, name: str) -> Plugin | None:
    """The variant of a section of that name, if a module registered one."""
    return next((p for p in _registered if (p.moment, p.name) == (section, name)), None)


@contextmanager
def running(plugin: Plugin | None) -> Iterator[None]:
    """Raises ConfigError, which names the place, for whatever own code raises inside."""
    try:
        yield
    except GptexpError:
        raise
    except (Exception, SystemExit) as error:
        if plugin is None or type(error).__name__ == "OutOfMemoryError":
            raise
        raise ConfigError(failed(plugin, error)) from error


def failed(plugin: Plugin, error: BaseException) -> Problem:
    """The problem of own code that raised, with its innermost line."""
    reason = shortened(" ".join(f"{type(error).__name__}: {error}".split()), LONGEST)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_of(plugin, f.filename)]
    place = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return Problem(str(plugin), reason, f"correct {place or _file(plugin.module)}")


def culprit(error: BaseException) -> Problem | None:
    """The problem of a variant's code in which an error was raised; None for an error of ours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for plugin in _registered:
            if plugin.code and _is_of(plugin, frame.filename):
                return failed(plugin, error)
    return None


def is_module(name: object) -> bool:
    """Whether a value can name a module, as in an import."""
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def is_own(name: str) -> bool:
    """Whether the name of a curve is the project's own, and no metric's."""
    return name.partition("/")[0] in OURS


def caller() -> str:
    """The module whose line calls the function that asks: a decorator."""
    name: str = sys._getframe(2).f_globals.get("__name__", "?")
    return name


def add(plugin: Plugin) -> None:
    """Register it, in place of what stands where a module, or a notebook's cell, runs again."""
    if plugin.module == "__main__" or plugin.config is not None:
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
        fix = "@gptexp.metric(...), @gptexp.on(...) or @gptexp.optimizer(...) in it"
        raise ConfigError(Problem("plugins", what, fix))


def _is_of(plugin: Plugin, file: str) -> bool:
    """Whether a file is one of a variant's sources."""
    return any(Path(file).as_posix().endswith(f"/{name}") for name in plugin.code)


def _holds(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _file(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _digest(file: str | Path | None) -> str | None:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
