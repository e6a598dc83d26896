"""The verb about laws: fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptexp.cli.paths import home
from gptexp.console import show
from gptexp.errors import ConfigError, DamagedError, Problem
from gptexp.files import output_folder
from gptexp.text import in_shell, plural, unknown_name

if TYPE_CHECKING:
    from gptexp.analysis.records import Run
    from gptexp.laws.judge import JudgedLaw
    from gptexp.laws.observed import Observations

COUNTS = ("all", "non_embedding")
UNITS = ("nats", "bits")
LOSSES = ("final", "best")


Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDER...",
        help="Runs, or folders of them; or one TABLE.csv (or .tsv) of runs from elsewhere.",
        callback=home,
    ),
]
# Columns of a table.
N = Annotated[str | None, typer.Option("--n", help="Of a table: column of parameters.")]
D = Annotated[str | None, typer.Option("--d", help="Of a table: of tokens seen.")]
Loss = Annotated[
    str | None,
    typer.Option(help="Of a table: column of the loss. Of runs: final, after all tokens, or best."),
]
Unique = Annotated[
    str | None,
    typer.Option(help="Of a table: of tokens of the text; left out, none was seen twice."),
]
Flops = Annotated[
    str | None, typer.Option(help="Of a table: of the FLOPs; left out, they are 6 N T.")
]
Rate = Annotated[
    str | None, typer.Option("--lr", help="Of a table: of the learning rate, where it was varied.")
]
Batch = Annotated[
    str | None, typer.Option(help="Of a table with --lr: of the batch, where it was varied.")
]
Name = Annotated[
    str | None,
    typer.Option(help="Of a table: of a run's name, where rows are lengths of one training."),
]
# What is fitted, and of which runs.
Laws = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="This law; repeatable. Left out: all that suit."),
]
Target = Annotated[
    Path | None,
    typer.Option(
        help="Folder for fit.json; `fit` in that of the runs, TABLE.fit here.", callback=home
    ),
]
Draws = Annotated[
    int, typer.Option(help="Fits to data drawn anew, for intervals.", min=20, max=10_000)
]
Seed = Annotated[int, typer.Option(help="Of the draws.", min=0)]
Counted = Annotated[str | None, typer.Option(help="What N of runs counts: all or non_embedding.")]
Unit = Annotated[str | None, typer.Option(help="Of the loss: nats per token, or bits per byte.")]
Where = Annotated[
    list[str] | None, typer.Option(help="Only runs with dropout=0, as in table; repeatable.")
]
Edges = Annotated[
    bool,
    typer.Option("--keep-edges", help="Points whose best learning rate may lie beyond those."),
]


def fit(
    paths: Folders,
    n: N = None,
    d: D = None,
    loss: Loss = None,
    unique: Unique = None,
    flops: Flops = None,
    lr: Rate = None,
    batch: Batch = None,
    run: Name = None,
    law: Laws = None,
    to: Target = None,
    draws: Draws = 200,
    seed: Seed = 0,
    params: Counted = None,
    unit: Unit = None,
    where: Where = None,
    keep_edges: Edges = False,
) -> None:
    """A law of the loss over model size and data, with intervals: from runs, or a table.

    What is not known or does not hold is said before the parameters.
    """
    names = _named(law or [])
    _check("--params", params, COUNTS)
    _check("--unit", unit, UNITS)
    runs: list[Run] = []
    damaged: list[Problem] = []
    if len(paths) == 1 and not paths[0].is_dir():
        table_alone = {"--params": params, "--where": where}
        _refuse(table_alone, f"says how runs are read, and {paths[0]} is a table")
        columns = {"n": n, "tokens": d, "loss": loss, "unique": unique}
        columns |= {"flops": flops, "lr": lr, "batch": batch, "run": run}
        observed = _table(paths[0], columns, unit, keep_edges)
        target = to or Path(f"{paths[0].stem}.fit")
    else:
        ConfigError.raise_for(
            Problem(
                path,
                "a table among several paths",
                f"fit it by itself: gptexp fit {in_shell(path)}",
            )
            for path in paths
            if path.is_file()
        )
        columns = {"--n": n, "--d": d, "--unique": unique}
        columns |= {"--flops": flops, "--lr": lr, "--batch": batch, "--run": run}
        _refuse(columns, "names a column of a table, and runs say it themselves")
        _check("--loss", loss, LOSSES)
        observed, runs, damaged = _runs(paths, where or [], params, loss, unit, keep_edges)
        target = to or _beside(paths)
    judged, drawn = _fit(observed, names, target, to is not None, str(paths[0]), draws, seed)
    if judged and len(paths) == 1:
        from gptexp.report.law_board import publish

        publish(paths[0], runs, observed, judged, drawn)
    DamagedError.raise_for(damaged)


def _fit(
    observed: "Observations",
    names: Sequence[str],
    target: Path,
    is_chosen: bool,
    of: str,
    draws: int,
    seed: int,
) -> tuple[list["JudgedLaw"], list[Path]]:
    """The laws, and the pictures of the best, beside fit.json in the folder `target`.

    `is_chosen` says that the user named the folder. Raises ConfigError where no law can be fitted.
    """
    from gptexp.laws.forms import LAWS, suited
    from gptexp.laws.judge import judge_laws, lacking
    from gptexp.laws.observed import AT_EDGE
    from gptexp.laws.optima import laws_of_optima
    from gptexp.laws.power_law import LawOfOptima
    from gptexp.laws.result import write_result
    from gptexp.laws.screen import left_out, told
    from gptexp.report.law_figures import draw_law

    laws = [LAWS[name] for name in names if name in LAWS]
    if len(observed.points) < 2 and (laws or not names or observed.trials is None):
        why = "".join(f"; {line}" for line in left_out(observed.rejected))
        what = f"{plural(len(observed.points), 'point')} of a law, and 2 are the least{why}"
        fix = "add runs of other sizes, or see docs/laws.md"
        if observed.rejected.counts[AT_EDGE]:
            fix = "add runs beyond those edges, or --keep-edges"
        raise ConfigError(Problem(of, what, fix))
    laws = laws if names else suited(observed.points)
    judged = judge_laws(laws, observed.points, draws, seed)
    best = laws_of_optima(observed, names or None, seed)
    fitted = [law for law in best if isinstance(law, LawOfOptima)]
    missing = lacking(laws, observed.points)
    show(told(observed, judged, of, best, missing))
    if not judged and not fitted:
        fix = "add runs as the lines above ask, or name another --law"
        raise ConfigError(Problem(of, "no law can be fitted", fix))
    output_folder(target, is_chosen)
    written = write_result(target, observed, judged, draws, seed, fitted)
    drawn = draw_law(observed, judged, target, fitted)
    beside = f", and beside it {plural(len(drawn) // 2, 'figure')}" if drawn else ""
    show(f"\nwrote {written}{beside}")
    return judged, drawn


def _table(
    path: Path, columns: dict[str, str | None], unit: str | None, keep_edges: bool
) -> "Observations":
    from gptexp.analysis.units import BITS, NATS
    from gptexp.laws.table import Columns, read_table

    needed = {"--n": columns["n"], "--d": columns["tokens"], "--loss": columns["loss"]}
    missing = [option for option, name in needed.items() if name is None]
    if missing:
        if not path.exists():
            raise ConfigError(Problem(path, "not there", "name a folder of runs, or a table"))
        fix = f"gptexp fit {in_shell(path)} --n COLUMN --d COLUMN --loss COLUMN"
        raise ConfigError(Problem(path, f"which column is {', '.join(missing)} of a table?", fix))
    if columns["batch"] is not None and columns["lr"] is None:
        what = "goes with the best learning rate, and --lr names no column of it"
        raise ConfigError(Problem("--batch", what, "add --lr COLUMN"))
    named = {name: column for name, column in columns.items() if column is not None}
    return read_table(path, Columns(**named), BITS if unit == "bits" else NATS, keep_edges)


def _runs(
    paths: Sequence[Path],
    where: Sequence[str],
    params: str | None,
    loss: str | None,
    unit: str | None,
    keep_edges: bool,
) -> tuple["Observations", list["Run"], list[Problem]]:
    from gptexp.analysis.records import collect
    from gptexp.analysis.table import meeting
    from gptexp.analysis.units import BITS, NATS
    from gptexp.laws.admit import admit
    from gptexp.laws.candidates import Convention

    runs, damaged = collect(paths)
    convention = Convention(
        non_embedding=params == "non_embedding",
        best=loss == "best",
        unit=None if unit is None else BITS if unit == "bits" else NATS,
        keep_edges=keep_edges,
    )
    chosen = meeting(runs, where)
    return admit(chosen, convention), chosen, damaged


def _beside(paths: Sequence[Path]) -> Path:
    """Where the fit of some folders goes by itself; raises ConfigError of several."""
    if len(paths) > 1:
        raise ConfigError(Problem("--to", "where to, of several folders?", "name one: --to fit"))
    return paths[0] / "fit"


def _named(names: Sequence[str]) -> list[str]:
    from gptexp.laws.forms import LAWS
    from gptexp.laws.optima import OPTIMA

    known = [*LAWS, *OPTIMA]
    words = [word.strip() for name in names for word in name.split(",")]
    ConfigError.raise_for(unknown_name("--law", word, known) for word in words if word not in known)
    return list(dict.fromkeys(words))


def _check(option: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise ConfigError(unknown_name(option, value, known))


def _refuse(options: dict[str, Any], what: str) -> None:
    """Raise ConfigError for the options that are given and say nothing here."""
    given = [option for option, value in options.items() if value]
    ConfigError.raise_for(Problem(option, what, "leave it out") for option in given)
