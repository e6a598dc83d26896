"""`gptexp VERB`: look at runs that exist, and at configs before they run."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import gptexp
from gptexp.config import from_overrides, problems
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


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A run directory, or a checkpoint file.")],
    prompt: Annotated[
        str | None, typer.Option(help="What to continue; a line break if left out.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens to add to the prompt.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token each time.")
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest alone.")] = None,
    num: Annotated[int, typer.Option(help="How many texts.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed draws the same texts.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, mps, cuda or cuda:N.")] = "cpu",
) -> None:
    """Generate text from a run's best checkpoint."""
    check_device(device)
    loaded = gptexp.load(run, device)
    texts = loaded.sample(
        prompt, tokens=tokens, temperature=temperature, top_k=top_k, num=num, seed=seed
    )
    for number, text in enumerate(texts, start=1):
        if num > 1 and not loaded.config.data.documents:  # which are a line each
            typer.echo(f"--- {number} of {num} ---")
        typer.echo(text)


@app.command()
def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="names, shakespeare or another choice of data; or else a run or checkpoint.",
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
) -> None:
    """Walk one text through a model, from tokens to one update, with all its numbers.

    A run shows its best weights. A choice of data shows an untrained model, the one that `python
    run.py experiment=microgpt data=WHAT OVERRIDES` would begin with (for model=mlp and model=bigram
    with their experiment=ladder_mlp and ladder_bigram; another experiment=... is taken as given).
    Names are read whole, of a text a few tokens. Nothing is written, and the run is not changed.
    """
    from gptexp import explain as explaining

    typer.echo(explaining.explain(what, overrides or [], text))


@app.command()
def params(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py: model=medium model.n_layer=8 ...")
    ] = None,
) -> None:
    """Where the parameters of a config live, and what a token and its training cost."""
    import torch

    from gptexp import data, networks, preflight

    config = from_overrides(overrides or [])
    if found := problems(config):
        raise ConfigError(*found)
    loaded = data.load(config)
    corpus = loaded.corpus(torch.device("cpu"))
    vocab_size = loaded.tokenizer.vocab_size
    counts = networks.count_parameters(config.model, vocab_size)
    total, rest = sum(counts.values()), networks.without_tables(counts)
    rows = [*counts.items(), ("total", total), ("without tables", rest)]
    typer.echo(f"{config.model.name}, {vocab_size:,} tokens in the vocabulary")
    for name, count in rows:
        typer.echo(f"  {name:16} {count:>14,} {count / total:>7.1%}")
    trainer = preflight.budgeted(config, vocab_size, corpus)
    tokens = corpus.trained(trainer.max_steps, trainer.batch_size * trainer.grad_accum)
    per_step = f"{tokens / trainer.max_steps:,.1f}".removesuffix(".0")
    flops = networks.flops_per_token(config.model, vocab_size)
    memory = networks.training_memory(config.model, vocab_size, trainer.batch_size)
    typer.echo(f"FLOPs   {flops:,} a token; {flops * tokens:.3g} for the run's {tokens:,} tokens")
    typer.echo(f"steps   {trainer.max_steps:,} of {per_step} tokens")
    typer.echo(f"memory  {memory / 1e9:.2f} GB at least, to train {trainer.batch_size} sequences")


@app.command(context_settings={"ignore_unknown_options": True})  # -m, as run.py has it
def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py: sweeps=scaling model=small ...")
    ] = None,
) -> None:
    """What a sweep, or a run, would train and cost, and what of it is there; trains nothing."""
    from gptexp import plan as planning

    typer.echo(planning.plan(overrides or []))


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    to: Annotated[Path, typer.Option(help="The picture: .png, .svg or .pdf.")] = Path("cliffs.png"),
    by: Annotated[str, typer.Option(help="step, tokens or epochs.")] = "step",
) -> None:
    """Draw the overfit cliffs of runs over each other: training dashed, validation solid."""
    from gptexp import plot as plotting

    plotting.plot(runs, to, by)
    typer.echo(f"wrote {to}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder of runs.")],
    to: Annotated[
        Path | None, typer.Option(help="Folder of the page; `report` in that of the runs.")
    ] = None,
) -> None:
    """One page with the runs' figures, samples and tables, and their numbers beside it."""
    from gptexp import report as reporting

    typer.echo(f"wrote {reporting.write(folder, to)}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory, or a checkpoint file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Another text, of which --split is judged: data=text data.path=FILE"),
    ] = None,
    split: Annotated[str, typer.Option(help="val, test or train.")] = "val",
    device: Annotated[str, typer.Option(help="cpu, mps, cuda or cuda:N.")] = "cpu",
) -> None:
    """The exact loss of a run's best weights, on its own text or on another one."""
    from gptexp import judge

    check_device(device)
    typer.echo(judge.judge(run, split, overrides or [], device))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory; for microgpt, or a checkpoint.")],
    to: Annotated[str, typer.Option(help="tensorboard, wandb or microgpt.")],
    file: Annotated[
        Path | None, typer.Option(help="Of microgpt: the file; model_e16_h4_l1_s1000.json or so.")
    ] = None,
) -> None:
    """Write a run's dashboard again from its journals, or its best weights as microGPT's JSON."""
    if to == "microgpt":
        from gptexp import interchange

        typer.echo(f"wrote {interchange.export_run(run, file)}")
        return
    from gptexp import export as exporting

    if file is not None:
        raise ConfigError(f"--file: {to} is no file. Fix: leave it out, or --to microgpt")
    exporting.dashboard(run, to)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Such as model_e16_h4_l1_s1000.json.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="As for run.py: name=mine data=documents data.path=FILE ..."),
    ] = None,
    origin: Annotated[str, typer.Option("--from", help="microgpt.")] = "microgpt",
) -> None:
    """A run directory from a model of another program, judged on the names or other documents."""
    from gptexp import interchange

    if origin != "microgpt":
        raise ConfigError(f"--from: {origin!r} is not known. Fix: --from microgpt")
    interchange.import_file(file, overrides or [])


@app.command()
def table(
    folders: Annotated[
        list[Path], typer.Argument(help="Run directories, and folders that hold some.")
    ],
    by: Annotated[
        str, typer.Option(help="Config keys, as model.n_embd,data.fraction: means over the seeds.")
    ] = "",
    form: Annotated[str, typer.Option("--format", help="text, csv, markdown or json.")] = "text",
    sort: Annotated[str | None, typer.Option(help="A column, smallest first.")] = None,
) -> None:
    """Runs side by side, or means over seeds with 95% intervals; losses in nats per token."""
    from gptexp import table as tables

    tables.check_format(form)
    keys = [key.strip() for key in by.split(",")] if by else []
    made = tables.build(folders, keys, sort)
    typer.echo(tables.render(made, form))
    if form == "csv":  # which holds rows alone
        for note in made.notes:
            typer.echo(note, err=True)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="A run directory, or a folder of runs.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Where two runs part; of two folders, the difference between runs of the same seed."""
    from gptexp import diff as differences

    typer.echo(differences.report(a, b))


def check_device(device: str) -> None:
    """Raises ConfigError for one that this machine does not have."""
    from gptexp import runtime  # torch: only when something is computed

    hardware = runtime.probe()
    if not runtime.has(device, hardware):
        offered = ", ".join(hardware.devices())
        raise ConfigError(f"--device: {device} is not there; this machine has {offered}. Fix: cpu")


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
