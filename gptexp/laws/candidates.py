"""Finished runs whose losses compare, as points that a law may have; and why others are none."""

import shlex
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptexp.analysis.groups import gathered
from gptexp.analysis.labels import label_runs, leaves, words_of
from gptexp.analysis.records import Run, mixed
from gptexp.analysis.units import BITS, in_bits, unit
from gptexp.config import BUDGETS
from gptexp.errors import ConfigError, Problem
from gptexp.laws.observed import Rejected
from gptexp.text import listed, plain

SHAPE = (
    *("model.n_layer", "model.n_head", "model.n_embd"),
    *("model.n_kv_head", "model.mlp_width", "model.n_hidden"),
)

LENGTH = ("data.fraction", "trainer.max_steps", *(f"trainer.{key}" for key in BUDGETS))

BATCH = ("trainer.batch_size", "trainer.grad_accum", "schedule.warmup_steps")

TUNED = ("optim.lr", "optim.adam_lr", "optim.weight_decay", "optim.decay_timescale")

# What a sweep for a law may vary; branches of a run count the tokens before them too.
VARIED = {"model.name", "branch_from", *SHAPE, *LENGTH, *BATCH, *TUNED}

LISTS = ("model.window",)  # which --where knows by one of their values alone

TEXT = ("data.path", "data.asset", "data_sha256")  # columns that tell texts apart

INDIFFERENT = {  # to the weights after so many tokens; the digest of the text says which it is
    *("data.name", "data.asset", "data.path", "optim.ema", "optim.average_last"),
    *("trainer.eval_interval", "trainer.eval_batch_size", "trainer.eval_tokens"),
    *("trainer.on_overfit", "trainer.patience", "trainer.min_delta"),
    *("trainer.device", "trainer.threads", "trainer.compile"),
}


# Schedules whose shorter run is the beginning of a longer one, but for its end.
WITH_TRUNK = ("constant", "wsd")

EARLY = "validation has not improved"  # how the reason of an early stop begins


@dataclass(frozen=True)
class Convention:
    """What N, T and the loss of a run are."""

    non_embedding: bool = False  # N counts no tables that look tokens and positions up
    best: bool = False  # the lowest validation loss, and T up to it, in place of those at the end
    unit: str | None = None  # NATS or BITS; None: NATS, or BITS where the runs' tokens differ
    keep_edges: bool = False  # keep points whose best learning rate may lie beyond those tried

    def in_words(self) -> str:
        """The convention in a line."""
        n = "the parameters without embeddings" if self.non_embedding else "all parameters"
        loss = "lowest validation loss" if self.best else "validation loss at the end"
        return f"N: {n}; T: tokens seen; U: those of the text, seen once or more; the {loss}"


@dataclass(frozen=True)
class Candidate:
    """A finished run, as a point that a law may have."""

    run: Run = field(repr=False)
    label: str
    n: int  # parameters
    tokens: float  # seen
    unique: float  # of these, as many as the training text has, or all
    at_end: bool  # whether the loss is that after all tokens that were to be seen
    loss: float
    flops: float  # exact, up to `tokens`

    @property
    def cell(self) -> Hashable:
        """Equal for runs that a law is not to tell apart: of the same N, T and U.

        Where T is that of the best loss, or of an early stop, no two have the same, so those count
        that were to see the same.
        """
        if self.at_end:
            return self.n, self.tokens, self.unique
        return self.n, *(self.run.config.get(key) for key in (*LENGTH, *BATCH))

    @property
    def beginning(self) -> Hashable:
        """Equal for runs of which the shorter are beginnings of the longer, but for their ends."""
        if self.run.config.get("schedule.name") not in WITH_TRUNK:
            return self.run.path
        lengths = {"trainer.max_steps", "branch_from", *(f"trainer.{key}" for key in BUDGETS)}
        return identity(self.run, lengths), self.run.seed


Sorted = tuple[list[Candidate], list[Rejected]]  # who stays, and who does not


def comparable(runs: Sequence[Run], convention: Convention) -> Sorted:
    """The finished runs whose losses compare, whatever of VARIED they differ in."""
    told_in = convention.unit or unit(runs)
    kept, rejected = _measured(runs, convention, told_in)
    rules: list[Callable[[list[Candidate]], Sorted]] = [
        lambda rest: _like_most(rest, "text", lambda one: one.run.data_sha256, TEXT),
        lambda rest: _like_most(rest, "code", lambda one: one.run.code, ["code"]),
        lambda rest: _same_settings(rest, told_in),
        _once,
        _same_ending,
    ]
    for rule in rules:
        kept, out = rule(kept)
        rejected += out
    return kept, rejected


def identity(run: Run, without: Collection[str]) -> Hashable:
    """What can change a result of a run but for its seed, without some of the keys."""
    return frozenset((key, v) for key, v in run.identity().items() if key not in without)


def _measured(runs: Sequence[Run], convention: Convention, told_in: str) -> Sorted:
    """The runs with a loss, parameters and tokens."""
    labels, kept, rejected = label_runs(runs), [], []
    for run in runs:
        made = _candidate(run, labels[run.path], convention, told_in)
        if isinstance(made, Candidate):
            kept.append(made)
        else:
            rejected.append(Rejected(labels[run.path], made))
    return kept, rejected


def _candidate(run: Run, label: str, convention: Convention, told_in: str) -> Candidate | str:
    """The run as a candidate, or why it is none."""
    summary = run.summary
    if summary is None:
        return f"{run.state}: {run.reason}" if run.reason else str(run.state)
    measured = in_bits(run) if told_in == BITS else run
    loss = measured.best if convention.best else measured.final
    at = summary["best"] if convention.best else summary["final"]
    if at is None or loss is None or loss <= 0:
        return "no finite validation loss"
    tokens = at["tokens"]
    unique = round(tokens / max(1.0, at["epochs"]))
    if min(tokens, summary["tokens"], unique) < 1:
        return "no tokens seen"
    if summary["flops"] <= 0:
        return "no FLOPs counted"
    n = summary["params"]["non_embedding" if convention.non_embedding else "total"]
    if n <= 0:
        return "no parameters to count"
    flops = summary["flops"] * tokens / summary["tokens"]
    at_end = not convention.best and not summary["stop_reason"].startswith(EARLY)
    return Candidate(run, label, n, tokens, unique, at_end, loss, flops)


def _like_most(
    candidates: list[Candidate],
    name: str,
    digest: Callable[[Candidate], Any],
    columns: Sequence[str],
) -> Sorted:
    """Those with the digest that most have; one that says none is taken to be like them."""
    known = [one for one in candidates if digest(one)]
    most = _largest(known, digest, name, columns)
    kept = [one for one in candidates if not digest(one) or digest(one) == most]
    others = [one for one in known if digest(one) != most]
    return kept, [Rejected(one.label, f"other {name} than most") for one in others]


def _same_settings(candidates: list[Candidate], told_in: str) -> Sorted:
    """Those with the values that most have of keys which no law is over."""
    keys = [
        key for key in mixed([one.run for one in candidates]) if key not in VARIED | INDIFFERENT
    ]
    if told_in == BITS:
        keys = [key for key in keys if not key.startswith("tokenizer.")]
    most = _largest(candidates, lambda one: _values(one, keys), listed(leaves(keys), most=3), keys)
    kept = [one for one in candidates if _values(one, keys) == most]
    rejected = []
    for one in candidates:
        differs = [i for i, value in enumerate(_values(one, keys)) if most and value != most[i]]
        if differs:
            words = words_of([keys[i] for i in differs], [_values(one, keys)[i] for i in differs])
            usual = plain(most[differs[0]])
            reason = f"other settings: {listed(words, most=3)}, where most have {usual}"
            rejected.append(Rejected(one.label, reason))
    return kept, rejected


def _values(one: Candidate, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(one.run.config.get(key) for key in keys)


def _largest(
    candidates: Sequence[Candidate],
    kind: Callable[[Candidate], Any],
    words: str,
    columns: Sequence[str],
) -> Any:
    """The kind that most have, None of none; raises ConfigError where no kind is the largest.

    `columns` are those of a table that tell the kinds apart.
    """
    kinds = sorted(gathered(candidates, kind).items(), key=lambda item: -len(item[1]))
    if not kinds:
        return None
    (first, most), *others = kinds
    if others and len(others[0][1]) == len(most):
        counts = listed([len(members) for _, members in kinds])
        what = f"{len(kinds)} kinds of it among the runs, none of them that of most: {counts} runs"
        chosen = _conditions([members for _, members in kinds], columns)
        fix = f"choose one kind: gptexp fit and gptexp plan --suggest take {chosen}"
        fix = fix if chosen else "move the runs of one kind into a folder of their own"
        raise ConfigError(Problem(words, what, fix))
    return first


def _conditions(kinds: Sequence[Sequence[Candidate]], columns: Sequence[str]) -> str:
    """The options that choose the first of some kinds of runs, by as few columns as that needs."""
    first, *others = kinds
    options: list[str] = []
    for name in columns:
        values = {_value(one, name) for one in first}
        left = [kind for kind in others if values & {_value(one, name) for one in kind}]
        if len(values) == 1 and len(left) < len(others) and name not in LISTS:
            options += ["--where", shlex.quote(f"{name}={values.pop()}")]
            others = left
    return " ".join(options)


def _value(one: Candidate, column: str) -> str:
    """What a table has in a column of the run, as one would type it."""
    own = {"code": one.run.code, "data_sha256": one.run.data_sha256}
    return plain(own[column] if column in own else one.run.config.get(column))


def _once(candidates: list[Candidate]) -> Sorted:
    """Each run once: another folder may hold it too."""
    together = gathered(candidates, lambda one: (one.run.seed, identity(one.run, INDIFFERENT)))
    kept, rejected = [], []
    for first, *others in together.values():
        kept.append(first)
        reason = f"twice: the run {first.label}"
        rejected += [Rejected(one.label, reason) for one in others]
    return kept, rejected


def _same_ending(candidates: list[Candidate]) -> Sorted:
    """Those that ended as most did: one that stopped early kept a high learning rate."""
    early = [one for one in candidates if not one.at_end]
    whole = [one for one in candidates if one.at_end]
    if len(whole) >= len(early):
        reason = "stopped early: most used their whole budget (by --loss best both are points)"
        return whole, [Rejected(one.label, reason) for one in early]
    reason = "used its whole budget: most stopped early (by --loss best both are points)"
    return early, [Rejected(one.label, reason) for one in whole]
