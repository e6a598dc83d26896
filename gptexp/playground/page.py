"""`gptexp playground`: trained models in one page, which runs them without a network."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from gptexp.analysis.labels import label_paths
from gptexp.config import AVERAGES
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.files import output_folder, write_text
from gptexp.playground.contents import Contents, contents
from gptexp.playground.ladder import ladder
from gptexp.playground.pack import KINDS
from gptexp.playground.room import with_room
from gptexp.playground.spec import MOST_PARAMETERS
from gptexp.report.html import THEME, render

HERE = Path(__file__).parent

# In this order, and as one script: each may use what the ones before it define.
SCRIPTS = (
    *("weights", "engine", "baselines", "sampling", "tokens"),  # these need no page
    *("figures", "curve", "app"),
)

# Of each dial its id, name, least and largest value, step, and the value at the start.
SLIDERS = (
    ("temperature", "Temperature", 0, 2, 0.05, 0.8),
    ("top-k", "Top-k", 0, 50, 1, 0),
    ("top-p", "Top-p", 0.05, 1, 0.05, 1),
    ("min-p", "Min-p", 0, 1, 0.01, 0),
    ("penalty", "Repetition penalty", 0.5, 2, 0.05, 1),
)

# Behind them on a page of microGPT's kind.
MICRO_SCRIPTS = ("autograd", "expression", "microgpt", "ladder", "layout", "graph", "update")

COMMENT_OR_INDENT = re.compile(r"^\s*//.*\n|^[ \t]+", re.MULTILINE)


@dataclass(frozen=True)
class Playground:
    """A page that was written."""

    path: Path
    lines: list[str]  # about each run, for the screen
    size: int  # bytes
    damage: list[Problem]


def write_playground(
    runs: Sequence[Path], to: Path, kind: str, average: str | None = None
) -> Playground:
    """Write the page of some runs, or lone checkpoints, to a file.

    `kind` of weights is float16 or int8; `average` is one of them that the runs kept, ema or mean.
    Raises ConfigError for what the page cannot hold, with a line for each run, CheckpointError, and
    StorageError.
    """
    _check(runs, to, kind, average)
    shown = with_room(runs)
    made: list[Contents] = []
    problems: list[Problem] = []
    for outcome in each_contents([*shown], kind, average or "raw"):
        if isinstance(outcome, Contents):
            made.append(replace(outcome, losses=shown[outcome.run]))
        elif len(shown) == 1:
            raise outcome
        else:
            problems += outcome.problems
    ConfigError.raise_for(problems)
    playground = written(made, to, kind)
    if len(shown) == len(runs):
        return playground
    note = f"{len(runs)} runs are {len(shown)} but for their seeds: the best of each is on the page"
    return replace(playground, lines=[note, *playground.lines])


def each_contents(
    runs: Sequence[Path], kind: str, average: str = "raw"
) -> Iterator[Contents | GptexpError]:
    """What a page holds of each run, or why it cannot; more together than it has room for neither.

    `kind` and `average` as in write_playground.
    """
    room = MOST_PARAMETERS
    for run, name in zip(runs, label_paths(runs), strict=True):
        try:
            made = contents(run, name, kind, average)
        except GptexpError as error:
            yield error
            continue
        if (size := made.facts["parameters"]) > room:
            what = f"{size:,} parameters, and the page has room for {room:,} more"
            yield ConfigError(Problem(run, what, "a page of its own"))
            continue
        room -= size
        yield made


def written(made: Sequence[Contents], to: Path, kind: str) -> Playground:
    """Write the page of these to a file; raises StorageError."""
    text = page(made, kind)
    output_folder(to.parent, is_chosen=True)
    write_text(to, text)
    lines = [run.describe(kind) for run in made]
    return Playground(to, lines, len(text.encode()), [p for run in made for p in run.damage])


def page(runs: Sequence[Contents], kind: str) -> str:
    """The text of the page: markup, one style, one script, and the data of each run."""
    styles, scripts, lessons = ["page.css"], [*SCRIPTS], ""
    if (steps := ladder(runs)) is not None:
        styles.append("micro.css")
        scripts += MICRO_SCRIPTS
        lessons = render(HERE / "micro.html.j2", steps=steps, data=Markup(_json(steps)))
    style = THEME + "".join((HERE / name).read_text(encoding="utf-8") for name in styles)
    script = "".join(map(_script, scripts))
    return render(
        HERE / "page.html.j2",
        title="Playground" if len(runs) != 1 else f"Playground: {runs[0].name}",
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        runs=[run.facts for run in runs],
        sliders=SLIDERS,
        facts=Markup(_json({"kind": kind, "runs": [run.facts for run in runs]})),
        weights=[base64.b64encode(run.data).decode() for run in runs],
        kind=kind,
        lessons=Markup(lessons),
    )


def _script(name: str) -> str:
    """A script without its comments and its indentation, which are a fifth of it."""
    return COMMENT_OR_INDENT.sub("", (HERE / f"{name}.js").read_text(encoding="utf-8"))


def _check(runs: Sequence[Path], to: Path, kind: str, average: str | None) -> None:
    for option, word, known in (("--weights", kind, KINDS), ("--average", average, AVERAGES)):
        if word is not None and word not in known:
            raise ConfigError(Problem(option, f"{word!r} is not known", " or ".join(known)))
    if to.is_dir():
        fix = f"--to {to / 'playground.html'}"
        raise ConfigError(Problem("--to", f"{to} is a folder", fix))
    twice = [run for number, run in enumerate(runs) if run in runs[:number]]
    ConfigError.raise_for(Problem(run, "there twice", "name it once") for run in twice)


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy: nothing but this style and this script, and no request at all."""
    allowed = {"style-src": style, "script-src": script}
    parts = [f"{name} 'sha256-{_digest(text)}'" for name, text in allowed.items()]
    return "; ".join(["default-src 'none'", *parts, "img-src data:", "base-uri 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: object) -> str:
    """JSON that ends no script: what opens a tag is spelled."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
