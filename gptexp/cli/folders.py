"""The verbs about several runs: plan, plot, report, playground, table, ensemble, and others."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptexp.cli.paths import RUN, Plugins, announced, check_device, home, run_or_folder
from gptexp.console import show
from gptexp.errors import ConfigError, DamagedError, Problem
from gptexp.files import at_home
from gptexp.text import printable

if TYPE_CHECKING:
    from gptexp.analysis.table import Table

log = logging.getLogger(__name__)


def plan(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for run.py: sweeps=scaling model=small ...")
    ] = None,
    suggest: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Which runs to add to the sweep in a folder.", callback=home
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="N=1e8,T=1e9",
            help="With --suggest: make the loss there sure, not the parameters; U=1e8 for a text.",
        ),
    ] = None,
    num: Annotated[int | None, typer.Option(help="With --suggest: how many; 5.", min=1)] = None,
    law: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --suggest: by this law, whether it holds or not."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="With --suggest: only runs with dropout=0, as in table; repeatable."),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """What a sweep, or a run, would train and cost, and what of it is there; trains nothing.

    With --suggest: the runs that narrow the law of a sweep most for their FLOPs, as commands.
    """
    words = [*(overrides or []), *([f"plugins=[{','.join(plugins)}]"] if plugins else [])]
    if suggest is None:
        given = {"--at": at, "--num": num, "--law": law, "--where": where}
        what = "it is about what --suggest FOLDER suggests"
        ConfigError.raise_for(
            Problem(key, what, "leave it out")
            for key, value in given.items()
            if value not in (None, [])
        )
        from gptexp.sweep.plan import plan_sweep

        show(plan_sweep(words))
        return
    from gptexp.sweep.suggest import plan_suggestions, target_of

    target = None if at is None else target_of(at)
    text, damaged = plan_suggestions(suggest, words, target, num or 5, law, where or [])
    show(text)
    DamagedError.raise_for(damaged)


def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories, or folders of them.", callback=home)
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            help="The picture: .png, .svg or .pdf; else named by what it shows.", callback=home
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="step, tokens or epochs: curves. A key such as optim.lr: best loss over "
            "it. Two keys, optim.lr,model.dropout: a map."
        ),
    ] = "step",
) -> None:
    """Draw loss curves of runs over each other, or their best loss over what varies."""
    from gptexp.report import plot

    picture, damaged = plot.plot(runs, by, to)
    show(f"wrote {picture}")
    DamagedError.raise_for(damaged)


def report(
    folder: Annotated[Path, typer.Argument(help="A folder of runs.", callback=home)],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of the page; `report` in that of the runs.", callback=home),
    ] = None,
    playground: Annotated[
        bool,
        typer.Option("--playground", help="With a page that runs the models of the best runs."),
    ] = False,
    plugins: Plugins = None,
) -> None:
    """One page with the runs' figures, samples and tables, and their numbers beside it."""
    from gptexp.report.page import report_folder, write_report

    playable = None
    if playground:
        from gptexp.playground.gallery import write_gallery

        playable = write_gallery(folder, report_folder(folder, to), is_chosen=to is not None)
    page, damaged = write_report(folder, to, playable)
    show(f"wrote {page}")
    if playable is not None:
        if playable.page is None:
            raise ConfigError(*damaged, *playable.notes)
        for problem in playable.notes:
            log.warning("%s", problem)
        show(f"wrote {page.with_name(playable.page)}, with {', '.join(playable.runs)}")
    DamagedError.raise_for(damaged)


def playground(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help=f"Checkpoint files, folders for all that are done in them, and runs: {RUN}",
        ),
    ],
    to: Annotated[Path, typer.Option(help="The page, one file.", callback=home)] = Path(
        "playground.html"
    ),
    weights: Annotated[
        str, typer.Option(help="float16, or int8: half the size, rounded more.")
    ] = "float16",
    average: Annotated[
        str | None,
        typer.Option(help="ema or mean: that average of the weights, which the runs kept."),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """One page that runs trained models in a browser, without a network: dials, figures, a writer.

    With each run's best weights. What rounding them costs is said here and on the page.
    """
    from gptexp.analysis.find import find_all

    meant, damaged = find_all(runs)
    from gptexp.playground.page import write_playground

    made = write_playground([announced(run) for run in meant], to, weights, average)
    for line in made.lines:
        show(line)
    show(f"wrote {made.path} ({made.size / 1e6:.2f} MB)")
    DamagedError.raise_for([*damaged, *made.damage])


def table(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Run directories, and folders that hold some.", callback=home),
    ],
    by: Annotated[
        str, typer.Option(help="Config keys, as n_embd,data.fraction: means over the seeds.")
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only runs with lr=1e-3..3e-3, 'best<2', state!=done; repeatable."),
    ] = None,
    columns: Annotated[
        str, typer.Option(help="These alone, as lr,val/bpb,flops: keys of configs and results.")
    ] = "",
    sort: Annotated[
        str, typer.Option(help="By columns, smallest first; the largest first with -best.")
    ] = "",
    descending: Annotated[bool, typer.Option("--descending", help="Sort the other way.")] = False,
    limit: Annotated[int | None, typer.Option(help="At most so many rows.", min=1)] = None,
    form: Annotated[str, typer.Option("--format", help="text, csv, markdown or json.")] = "text",
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew until all runs have ended.")
    ] = False,
) -> None:
    """Runs side by side, or means over seeds with 95% intervals; losses in nats per token."""
    from gptexp.analysis import render
    from gptexp.analysis.table import Query, build_table

    render.check_format(form)
    query = Query(
        _words(by) or None,
        where or [],
        _words(columns),
        _words(sort),
        descending=descending,
        limit=limit,
    )
    if watch:
        from gptexp.analysis.watch import watch_runs

        if form != "text":
            raise ConfigError(Problem("--watch", f"shows text and no {form}", "leave out --format"))
        raise typer.Exit(watch_runs(folders, query))
    made = build_table(folders, query)
    _show_table(made, form)
    if made.damaged:
        raise typer.Exit(DamagedError.exit_code)


def _show_table(table: "Table", form: str) -> None:
    from gptexp.analysis.render import render_table

    show(render_table(table, form))
    if form == "csv":  # which holds rows alone
        for note in table.notes:
            typer.echo(printable(note), err=True)


def _words(text: str) -> list[str]:
    """The words between commas; none of an empty text."""
    return [word.strip() for word in text.split(",")] if text else []


def ensemble(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help=f"Checkpoint files, folders for all that are done in them, and runs: {RUN}",
        ),
    ],
    split: Annotated[str, typer.Option(help="val or test.")] = "val",
    counts: Annotated[
        bool, typer.Option("--counts", help="With n-gram counts of the training text at the end.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, mps, cuda or cuda:N.")] = "cpu",
    form: Annotated[str, typer.Option("--format", help="text, csv, markdown or json.")] = "text",
    plugins: Plugins = None,
) -> None:
    """What runs reach together, by the mean of their probabilities, and what each of them adds.

    Judged exactly, on all of the split, with the best weights of each. Counts are weighed on the
    test split, else on training text that they have not seen, and never on validation.
    """
    from gptexp.analysis import render
    from gptexp.analysis.find import find_all

    render.check_format(form)
    check_device(device)
    meant, damaged = find_all(runs)
    from gptexp.experiment import ensemble as together

    made = together.ensemble([announced(run) for run in meant], split, counts=counts, device=device)
    _show_table(made.table(), form)
    DamagedError.raise_for(damaged)


def diff(
    a: Annotated[
        Path,
        typer.Argument(help=f"A folder of runs, or a run: {RUN}", callback=run_or_folder),
    ],
    b: Annotated[Path, typer.Argument(help="Another one.", callback=run_or_folder)],
) -> None:
    """Where two runs part; of two folders, the difference between runs of the same point."""
    from gptexp.analysis.diff import report

    text, damaged = report(a, b)
    show(text)
    DamagedError.raise_for(damaged)


def tensorboard(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER",
            help="Folders of runs; and TensorBoard's own options, such as --bind_all.",
        ),
    ],
    port: Annotated[
        int | None, typer.Option(help="Of the server; if left out, the first free one from 6006.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Where it listens; this machine alone if left out.")
    ] = None,
) -> None:
    """TensorBoard, where each run goes by what tells it from the others; Ctrl-C ends it."""
    from gptexp.interchange.board import show_board

    folders = [at_home(word) for word in words if not word.startswith("-")]
    if not folders:
        problem = Problem("gptexp tensorboard", "no folder", "name one, such as outputs/default")
        raise ConfigError(problem)
    options = [word for word in words if word.startswith("-")]
    options += [f"--port={port}"] if port is not None else []
    options += [f"--host={host}"] if host is not None else []
    if show_board(folders, options):
        raise typer.Exit(DamagedError.exit_code)
