"""The verbs about one model: explain, params, evaluate, reproduce, export, import."""

from pathlib import Path
from typing import Annotated

import typer

from gptexp.cli.paths import RUN, Plugins, Weights, announced, check_device, home, one_run
from gptexp.config import choices
from gptexp.console import show
from gptexp.errors import ConfigError, Problem
from gptexp.text import unknown_name

ORIGINS = ("huggingface", "llama", "nanogpt", "microgpt")  # programs whose models are read


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help=f"names, shakespeare or other data; else a checkpoint file, or a run: {RUN}",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="With a choice of data, as for run.py: model.n_layer=2 ..."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="What is read; if left out, the start of the validation split."),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Walk one text through a model, from tokens to one update, with all its numbers.

    A run shows its best weights. A choice of data shows an untrained model, the one that `python
    run.py experiment=microgpt data=WHAT OVERRIDES` would begin with (for model=mlp and model=bigram
    with their experiment=ladder_mlp and ladder_bigram; another experiment=... is taken as given).
    Names are read whole, of a text a few tokens. Nothing is written, and the run is not changed.
    """
    from gptexp.analysis.find import look_up
    from gptexp.explain.command import explain

    if what not in choices("data") and (run := look_up(what)) is not None:
        what = str(announced(run))
    show(explain(what, overrides or [], text))


def config(
    key: Annotated[
        str | None, typer.Argument(help="A key, or the end of one as lr, or a group as optim.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """What a key of the config means, its type and its value by default; or all of them."""
    from gptexp.config.keys import describe

    show(describe(key))


def params(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py: model=medium model.n_layer=8 ...")
    ] = None,
) -> None:
    """Where the parameters of a config live, and what a token and its training cost."""
    from gptexp.experiment.costs import describe_costs

    for line in describe_costs(overrides or []):
        show(line)


def evaluate(
    run: Annotated[
        Path, typer.Argument(help=f"A checkpoint file, or a run: {RUN}", callback=one_run)
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Another text, judged as a whole: data=text data.path=FILE"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="val, test or train.", show_default="val; of another text all"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, mps, cuda or cuda:N.")] = "cpu",
    weights: Weights = "raw",
    plugins: Plugins = None,
) -> None:
    """The exact loss of a run's best weights, on its own text or on another one."""
    from gptexp.experiment.evaluate import evaluate_run

    check_device(device)
    show(evaluate_run(run, split, overrides or [], device, weights))


def reproduce(
    run: Annotated[
        Path, typer.Argument(help=f"A run, wherever it was copied: {RUN}", callback=one_run)
    ],
    level: Annotated[
        str, typer.Option(help="verify its files, make a prefix again, or make it again in full.")
    ] = "verify",
    steps: Annotated[
        int | None, typer.Option(help="Of a prefix; 50, or as many as reach a training loss.")
    ] = None,
    at_commit: Annotated[
        bool, typer.Option("--at-commit", help="With the code of the run's commit, in a worktree.")
    ] = False,
    plugins: Plugins = None,
) -> None:
    """Whether a run is what it says: IDENTICAL, EQUIVALENT, DIFFERENT (code 5) or CANNOT (code 2).

    Reads the directory and writes nothing in it. verify compares all digests and evaluates the best
    checkpoint again; prefix makes the first steps again; full the whole run, in a temporary folder,
    killed halfway and resumed. Where the environment is the same, every bit has to be.
    """
    from gptexp.experiment.reproduce import reproduce

    raise typer.Exit(reproduce(run, level, steps, typer.echo, at_commit, plugins or []))


def export(
    run: Annotated[
        Path,
        typer.Argument(help=f"A run, or for weights a checkpoint file: {RUN}", callback=one_run),
    ],
    to: Annotated[
        str, typer.Option(help="tensorboard, wandb, huggingface, gguf, nanogpt or microgpt.")
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            help="Of weights: the new folder, or the file of gguf or microgpt; named by the run.",
            callback=home,
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write a run's dashboard again from its journals, or its best weights for another program.

    huggingface: a folder that transformers loads. gguf: a file that llama.cpp loads. nanogpt: a
    folder with a ckpt.pt that its sample.py loads. microgpt: its JSON.
    """
    if to in ("huggingface", "gguf", "nanogpt"):
        from gptexp.interchange.outgoing import export_weights

        show(f"wrote {export_weights(run, to, file)}")
        return
    if to == "microgpt":
        from gptexp.interchange.convert import export_run

        show(f"wrote {export_run(run, file)}")
        return
    from gptexp.interchange.dashboards import export_dashboard

    if file is not None:
        raise ConfigError(Problem("--file", f"{to} is no file", "leave it out, or --to microgpt"))
    export_dashboard(run, to)


def import_(
    path: Annotated[
        Path,
        typer.Argument(help="The file or folder of the other program.", callback=home),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="As for run.py: name=mine data=text data.path=FILE ..."),
    ] = None,
    origin: Annotated[str, typer.Option("--from", help=f"{', '.join(ORIGINS)}.")] = "microgpt",
    meta: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Of nanogpt: the meta.pkl of its data.", callback=home),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Of nanogpt, without one: the text whose characters it knows.",
            callback=home,
        ),
    ] = None,
) -> None:
    """A run directory from a model of another program; llama's is a folder as Meta has it.

    microGPT's is judged on the names or other documents. The others are judged on the text that the
    overrides choose; without one they are not judged, and can be sampled and started from.
    """
    words = overrides or []
    for option, file in (("--meta", meta), ("--text", text)):
        if file is not None and origin != "nanogpt":
            fix = "--from nanogpt, or leave it out"
            raise ConfigError(Problem(option, f"{origin} has none", fix))
    match origin:
        case "microgpt":
            from gptexp.interchange.convert import import_file

            import_file(path, words)
        case "huggingface":
            from gptexp.interchange.huggingface import import_folder

            import_folder(path, words)
        case "llama":
            from gptexp.interchange.meta_llama import import_llama

            import_llama(path, words)
        case "nanogpt":
            from gptexp.interchange.nanogpt import import_checkpoint

            import_checkpoint(path, words, meta=meta, text=text)
        case _:
            raise ConfigError(unknown_name("--from", origin, ORIGINS))
