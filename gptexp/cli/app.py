"""`gptexp VERB`: look at runs that exist, and at configs before they run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import gptexp
from gptexp import console, plugins
from gptexp.cli import folders, laws, models, sampling, tokens
from gptexp.config.arguments import dashed
from gptexp.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, GptexpError, Problem, StorageError
from gptexp.files import refusal

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


OTHERS = {"ignore_unknown_options": True}  # those of run.py, and of TensorBoard

# Each verb with what its help shows: one line that can be typed.
VERBS: list[tuple[str, Callable[..., None], str]] = [
    ("sample", sampling.sample, 'gptexp sample best:outputs/default --prompt "ROMEO:" --num 3'),
    ("chat", sampling.chat, "gptexp chat best:outputs/chat_tiny"),
    ("explain", models.explain, "gptexp explain names"),
    ("config", models.config, "gptexp config optim.lr"),
    ("params", models.params, "gptexp params model=medium model.n_layer=8"),
    ("plan", folders.plan, "gptexp plan sweeps=scaling seed=0,1"),
    ("plot", folders.plot, "gptexp plot outputs/lr --by optim.lr"),
    ("report", folders.report, "gptexp report outputs/lr --to page"),
    ("playground", folders.playground, "gptexp playground best:outputs/default --to page.html"),
    ("fit", laws.fit, "gptexp fit outputs/scaling --law chinchilla"),
    ("evaluate", models.evaluate, "gptexp evaluate best:outputs/lr data=text data.path=my.txt"),
    ("reproduce", models.reproduce, "gptexp reproduce outputs/lr/RUN --level prefix --steps 20"),
    ("export", models.export, "gptexp export latest:outputs/lr --to wandb"),
    ("import", models.import_, "gptexp import gpt2 --from huggingface"),
    ("table", folders.table, "gptexp table outputs/lr --where 'best<2' --sort lr"),
    ("ensemble", folders.ensemble, "gptexp ensemble outputs/seeds --counts"),
    ("diff", folders.diff, "gptexp diff outputs/adam outputs/sgd"),
    ("tokenize", tokens.tokenize, "gptexp tokenize *.jsonl --tokenizer gpt2 --to tokens"),
    ("tensorboard", folders.tensorboard, "gptexp tensorboard outputs/lr --port 6007"),
]
for verb, function, example in VERBS:
    options = OTHERS if verb in ("plan", "tensorboard") else None
    app.command(verb, epilog=f"Example: {example}", context_settings=options)(function)


def main() -> NoReturn:
    """The entry point: errors become one line and an exit code."""
    console.program(_verb)


def _verb() -> int:
    try:
        # Not standalone, where typer would word what is wrong in three lines of its own.
        return app(sys.argv[1:] or ["--help"], standalone_mode=False) or EXIT_OK
    except typer.Abort:
        return EXIT_INTERRUPTED
    except SystemExit:  # typer's own way when the reader has gone, as `| head` has
        return EXIT_OK
    except UsageError as error:
        takes_overrides = error.ctx and "overrides" in {p.name for p in error.ctx.command.params}
        if takes_overrides and (problems := dashed(sys.argv[1:])):
            return console.fail(ConfigError(*problems))
        what = " ".join(error.format_message().split()).rstrip(".")
        command = error.ctx.command_path if error.ctx else "gptexp"
        fix = "make it readable" if what.endswith("not readable") else f"see {command} --help"
        return console.fail(ConfigError(Problem(command, what, fix)))
    except GptexpError as error:
        return console.fail(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return console.fail(StorageError(refusal(error, Path(error.filename or "output"))))
    except (MemoryError, RuntimeError) as error:
        from gptexp.runtime.memory import is_out_of_memory  # torch

        if is_out_of_memory(error):
            problem = Problem("memory", "there is not enough", "ask for less")
            return console.fail(ConfigError(problem))
        return _of_own_code(error)
    except Exception as error:
        return _of_own_code(error)


def _of_own_code(error: Exception) -> int:
    """Name the module in which it was raised; raises it again where that is ours."""
    if (problem := plugins.culprit(error)) is None:
        raise error
    return console.fail(GptexpError(problem))
