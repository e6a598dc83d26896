"""The columns of a table: what their names mean, as people type them, and their value of a run.

A name is one of OWN, a key of the config, a key of summary.json (`best.val_bpb`, `flops`), or a
curve of metrics.jsonl (`val/bpb`), of which the newest value counts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, get_args, get_origin, get_type_hints, is_typeddict

from gptexp.analysis.groups import Statistic
from gptexp.analysis.labels import leaves
from gptexp.analysis.records import Run, differing
from gptexp.config import AVERAGES
from gptexp.errors import ConfigError, Problem
from gptexp.runs.progress import Progress
from gptexp.runs.schema import Summary
from gptexp.text import unknown_name


@dataclass(frozen=True)
class Steps:
    """How far a run is: the updates done, and of one that is not done, how many there will be."""

    step: int
    max_steps: int | None

    def __str__(self) -> str:
        return f"{self.step:,}" + (f" of {self.max_steps:,}" if self.max_steps else "")


@dataclass(frozen=True)
class Count:
    """How many runs stand behind a row."""

    runs: int  # that are done
    expected: int
    marks: list[str]  # see Group.marks

    def __str__(self) -> str:
        share = "" if self.runs == self.expected else f" of {self.expected}"
        return ", ".join([f"{self.runs}{share}", *self.marks])


@dataclass(frozen=True)
class Facts:
    """A run, with what its journal and its neighbours say of it."""

    run: Run
    folder: str = ""  # as short as the folders of the runs can be told apart
    flags: list[str] = field(default_factory=list)  # see groups.strangers
    progress: Progress | None = None  # of one that is done where it was asked for, see from_journal


def _steps(facts: Facts) -> Steps | None:
    if facts.run.summary is not None:
        return Steps(facts.run.summary["steps"], None)
    return None if facts.progress is None else Steps(facts.progress.step, facts.run.max_steps)


def _val(facts: Facts) -> float | None:
    return facts.run.final if facts.run.done else _newest(facts, "val/loss")


def _best(facts: Facts) -> float | None:
    return facts.run.best if facts.run.done else _of_best(facts, "val/loss")


def _bpb(facts: Facts) -> float | None:
    return facts.run.bpb if facts.run.done else _of_best(facts, "val/bpb")


def _accuracy(facts: Facts) -> float | None:
    return facts.run.accuracy if facts.run.done else _of_best(facts, "val/accuracy")


def _best_step(facts: Facts) -> int | None:
    return facts.run.best_step if facts.run.done else _of_best(facts, "step")


def _averaged(kind: str) -> Callable[[Facts], float | None]:
    """The lowest loss of an average of the weights, or the newest of a run that is not done."""

    def of(facts: Facts) -> float | None:
        if not facts.run.done:
            return _newest(facts, f"val/{kind}_loss")
        loss: float | None = _of_summary(facts, f"averages.{kind}.val_loss")
        return loss

    return of


def _left(facts: Facts) -> float | None:
    if facts.progress is None or facts.run.done or facts.run.state == "diverged":
        return None
    return facts.progress.left(facts.run.max_steps)


def _newest(facts: Facts, name: str) -> Any:
    return None if facts.progress is None else facts.progress.newest.get(name)


def _of_best(facts: Facts, name: str) -> Any:
    best = None if facts.progress is None else facts.progress.best
    return None if best is None else best.get(name)


OWN: dict[str, Callable[[Facts], Any]] = {
    "folder": lambda facts: facts.folder,
    "state": lambda facts: facts.run.state,
    "step": _steps,
    "params": lambda facts: facts.run.params,
    "val": _val,
    "best": _best,
    "bpb": _bpb,
    "accuracy": _accuracy,
    "best_step": _best_step,
    **{f"{kind}_loss": _averaged(kind) for kind in AVERAGES},
    "final": lambda facts: facts.run.final,
    "height": lambda facts: facts.run.height,
    "test": lambda facts: facts.run.test,
    "tok/s": lambda facts: _newest(facts, "train/tokens_per_second"),
    "left": _left,
    "flags": lambda facts: facts.flags,
    "run": lambda facts: str(facts.run.path),
}

OF_GROUPS = ("runs",)  # columns that groups have and runs have not

# Those of the parts of an ensemble.
OF_PARTS = ("alone", "together", "bpb", "gain", "stderr", "gain_bpb", "weight")

# What the journal of a run that is not done says in place of its summary.
SO_FAR = {"steps": "step", "tokens": "tokens", "epochs": "epoch", "seconds": "seconds"}
BEST_SO_FAR = {
    **{f"best.{name}": name for name in ("step", "tokens")},
    "best.epochs": "epoch",
    "best.train_loss": "train/eval_loss",
    **{f"best.val_{name}": f"val/{name}" for name in ("loss", "bpb", "accuracy")},
}


def _keys(kind: Any, before: str = "") -> Iterator[str]:
    """The dotted keys of a typed dict that hold one value, and no list or table."""
    for name, hint in get_type_hints(kind).items():
        kinds = [hint, *get_args(hint)]
        inner = next((kind for kind in kinds if is_typeddict(kind)), None)
        if inner is not None:
            yield from _keys(inner, f"{before}{name}.")
        elif not any(get_origin(kind) in (dict, list) for kind in kinds):
            yield f"{before}{name}"


SUMMARY = tuple(key for key in _keys(Summary) if key not in (*OWN, "sample", "seal"))


def value(facts: Facts, name: str) -> Any:
    """What the run has under a name that Names has resolved; None where it has nothing."""
    if name in OWN:
        return OWN[name](facts)
    if name in facts.run.config:
        return facts.run.config[name]
    if name in SUMMARY:
        return _of_summary(facts, name)
    return _newest(facts, name)


def _of_summary(facts: Facts, name: str) -> Any:
    run = facts.run
    if run.summary is None:
        if name in BEST_SO_FAR:
            return _of_best(facts, BEST_SO_FAR[name])
        if name == "steps" and facts.progress is not None:
            return facts.progress.step
        return run.reason or None if name == "stop_reason" else _newest(facts, SO_FAR.get(name, ""))
    if name in ("code", "data_sha256"):
        return getattr(run, name)  # older summaries have them in manifest.json
    found: Any = run.summary
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def from_journal(name: str) -> bool:
    """Whether the column needs the journals of runs that are done, which are read for it alone."""
    return "/" in name


def sortable(cell: Any) -> Any:
    """The value of a cell as one thing to compare: of a statistic the mean, of a count the runs."""
    match cell:
        case Statistic():
            return cell.mean
        case Count():
            return cell.runs
        case Steps():
            return cell.step
        case list():
            return ", ".join(map(str, cell))
    return cell


class Names:
    """The names that columns of these runs may have.

    `curves` gives those of their journals, which are read when a name is nothing else.
    """

    def __init__(self, runs: Sequence[Run], curves: Callable[[], Iterable[str]]) -> None:
        self.runs = runs
        self.curves = curves
        self.config = list(dict.fromkeys(key for run in runs for key in run.config))
        self.leaves = leaves(self.config)

    def resolve(self, option: str, words: Iterable[str], others: Sequence[str] = ()) -> list[str]:
        """The names behind words, `optim.lr` for `lr` as in labels; raises ConfigError.

        `others` are known beside those of runs.
        """
        return _each(words, lambda word: word if word in others else self._column(option, word))

    def keys(self, option: str, words: Iterable[str]) -> list[str]:
        """The keys of the config behind words, likewise; raises ConfigError."""
        return _each(words, lambda word: self._key(option, word) or self._unknown(option, word))

    def _column(self, option: str, word: str) -> str:
        if word in OWN or word in SUMMARY:
            return word
        if (key := self._key(option, word)) is not None:
            return key
        curves = list(self.curves())
        return word if word in curves else self._unknown(option, word, *OWN, *SUMMARY, *curves)

    def _key(self, option: str, word: str) -> str | None:
        if word in self.config:
            return word
        keys = [key for key, leaf in zip(self.config, self.leaves, strict=True) if leaf == word]
        if len(keys) > 1:
            varying = set(differing(self.runs))
            keys = [key for key in keys if key in varying] or keys
        if len(keys) > 1:
            what = f"{word} may be {' or '.join(keys)}"
            raise ConfigError(Problem(option, what, f"name it in full, as {keys[0]}"))
        return keys[0] if keys else None

    def _unknown(self, option: str, word: str, *others: str) -> NoReturn:
        raise ConfigError(unknown_name(option, word, [*others, *self.config]))

    def short(self, names: Sequence[str]) -> list[str]:
        """The names as heads of columns: keys of the config as short as `resolve` takes them."""
        count = {leaf: self.leaves.count(leaf) for leaf in set(self.leaves)}
        short = dict(zip(self.config, self.leaves, strict=True))
        taken = {*OWN, *SUMMARY, *OF_GROUPS, *self.config}
        return [
            short[name]
            if name in short and count[short[name]] == 1 and short[name] not in taken
            else name
            for name in names
        ]


def _each(words: Iterable[str], find: Callable[[str], str]) -> list[str]:
    """What `find` makes of each word; raises all of its ConfigErrors as one."""
    names: list[str] = []
    problems: list[Problem] = []
    for word in words:
        try:
            names.append(find(word))
        except ConfigError as error:
            problems += error.problems
    ConfigError.raise_for(problems)
    return names
