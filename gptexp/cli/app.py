"""`gptexp VERB`: look at runs that exist, and at configs before they run."""

import sys
from typing import Annotated, Any

import typer

import gptexp
from gptexp.cli import folders, models
from gptexp.errors import EXIT_INTERRUPTED, ConfigError, GptexpError

# Of all that is wrong with a command line; typer has no other name for it in all its versions.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="Look at runs and configs; `python run.py` makes the runs.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gptexp {gptexp.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Look at runs and configs; `python run.py` makes the runs."""


app.command()(models.sample)
app.command()(models.explain)
app.command()(models.params)
app.command(context_settings={"ignore_unknown_options": True})(folders.plan)  # -m, as run.py has it
app.command()(folders.plot)
app.command()(folders.report)
app.command()(models.evaluate)
app.command()(models.reproduce)
app.command()(models.export)
app.command("import")(models.import_)
app.command()(folders.table)
app.command()(folders.diff)


def main() -> None:
    """The entry point: errors become one line and an exit code."""
    from gptexp import console

    console.setup()
    try:
        # Not standalone, where typer would word what is wrong in three lines of its own.
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False))
    except typer.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except UsageError as error:
        what = " ".join(error.format_message().split()).rstrip(".")
        end = "" if what.endswith("?") else "."
        command = error.ctx.command_path if error.ctx else "gptexp"
        typer.echo(f"gptexp: error: {command}: {what}{end} Fix: see {command} --help", err=True)
        sys.exit(ConfigError.exit_code)
    except GptexpError as error:
        for problem in error.problems:
            typer.echo(f"gptexp: error: {problem}", err=True)
        sys.exit(error.exit_code)
