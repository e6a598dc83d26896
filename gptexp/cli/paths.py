"""Runs, weights, devices and paths that are typed after a verb.

A shell leaves the `~` of `--to=~/page` as it is.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptexp import plugins
from gptexp.files import at_home
from gptexp.text import printable

if TYPE_CHECKING:
    from gptexp.analysis.find import Found

log = logging.getLogger(__name__)

# What may stand where a run is asked for; the end of a help text.
RUN = "its directory, latest:FOLDER, best:FOLDER, a FOLDER of one, or how its name or hash begins."


def imported(context: typer.Context, value: Sequence[str] | None) -> list[str]:
    """The modules that an option names, imported now."""
    names = [name for words in value or () for name in words.split(",")]
    if not context.resilient_parsing:
        plugins.load(names)
    return names


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugins",
        metavar="MODULE",
        help="Of the run's own model, optimizer or tokenizer: it is imported.",
        callback=imported,
        is_eager=True,
    ),
]


Weights = Annotated[
    str, typer.Option(help="raw, or an average of them that the run kept: ema or mean.")
]


def home(value: Path | Sequence[Path] | None) -> Any:
    """The value, or values, of an argument or option of paths, with `~` as the user's folder."""
    if value is None or isinstance(value, Path):
        return value and at_home(value)
    return [at_home(path) for path in value]


def one_run(context: typer.Context, value: Path) -> Path:
    """The run, or file, that an argument means; which one is said on standard error."""
    if context.resilient_parsing:  # a shell completes words
        return value
    from gptexp.analysis.find import find_run

    return announced(find_run(value))


def run_or_folder(context: typer.Context, value: Path) -> Path:
    """The run that an argument means, or the folder that it names."""
    return at_home(value) if at_home(value).is_dir() else one_run(context, value)


def announced(run: "Found") -> Path:
    """The path of what was found, shown where it is not what was typed; standard output is free."""
    for note in run.notes:
        log.warning("%s", note)
    if run.why:
        typer.echo(printable(f"run     {run.path} ({run.why})"), err=True)
    return run.path


def check_device(device: str) -> None:
    """Raises ConfigError for one that this machine does not have."""
    from gptexp.runtime import device as devices  # torch: only when something is computed

    devices.check_device(device, "--device")
