"""`gptexp playground`: trained models in one page, which runs them without a network."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from gptexp.analysis.labels import label_paths
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.files import output_folder, write_text
from gptexp.playground.contents import Contents, contents
from gptexp.playground.ladder import ladder
from gptexp.playground.pack import KINDS
from gptexp.playground.room import with_room
from gptexp.report.html import THEME, render

HERE = Path(__file__).parent

# In this order, and as one script: each may use what the ones before it define.
SCRIPTS = ("weights", "engine", "sampling", "tokens", "figures", "app")

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


def write_playground(runs: Sequence[Path], to: Path, kind: str) -> Playground:
    """Write the page of some runs, or lone checkpoints, to a file.

    `kind` of weights is float16 or int8. Raises ConfigError for what the page cannot hold, with a
    line for each run, CheckpointError, and StorageError.
    """
    _check(runs, to, kind)
    shown = with_room(runs)
    made: list[Contents] = []
    problems: list[Problem] = []
    for run, name in zip(shown, label_paths([*shown]), strict=True):
        try:
            made.append(replace(contents(run, name, kind), losses=shown[run]))
        except GptexpError as error:
            if len(shown) == 1:
                raise
            problems += error.problems
    ConfigError.raise_for(problems)
    text = page(made, kind)
    output_folder(to.parent, is_chosen=True)
    write_text(to, text)
    lines = [each.describe(kind) for each in made]
    if len(shown) < len(runs):
        what = f"{len(runs)} runs are {len(shown)} but for their seeds"
        lines.insert(0, f"{what}: the best of each is on the page")
    return Playground(to, lines, len(text.encode()), [p for each in made for p in each.damage])


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
        runs=[each.facts for each in runs],
        facts=Markup(_json({"kind": kind, "runs": [each.facts for each in runs]})),
        weights=[base64.b64encode(each.data).decode() for each in runs],
        kind=kind,
        lessons=Markup(lessons),
    )


def _script(name: str) -> str:
    """A script without its comments and its indentation, which are a fifth of it."""
    return COMMENT_OR_INDENT.sub("", (HERE / f"{name}.js").read_text(encoding="utf-8"))


def _check(runs: Sequence[Path], to: Path, kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(Problem("--weights", f"{kind!r} is not known", " or ".join(KINDS)))
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
