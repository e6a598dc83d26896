"""`gptexp diff`: where two runs part; two folders go to paired.py."""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from gptexp.analysis import paired, records
from gptexp.analysis.find import find_run
from gptexp.analysis.records import Run
from gptexp.analysis.units import BITS, unit
from gptexp.config import is_hashed
from gptexp.errors import ConfigError, Problem
from gptexp.runs.directory import hashed_code
from gptexp.runs.lines import Lines
from gptexp.runs.schema import (
    Checkout,
    Fingerprint,
    Manifest,
    Summary,
    Text,
    read_manifest,
    read_summary,
)
from gptexp.text import aligned, plain

LOSSES = ("train/loss", "train/eval_loss", "val/loss")

WIDE = 60  # characters of a value that are shown

DIGEST = re.compile(r"[0-9a-f]{40,}")  # of a commit or a file; its first digits are enough

OTHER_TOKENS = "        losses per token are not compared: the runs have other tokens"

Pair = tuple[str, Any, Any]  # a name, and its values in the two runs

CurveKey = tuple[str, int, int | None]  # of a value: its name, its step, where a mean began

Losses = dict[tuple[str, int | None], Any]  # of one step: by name and where a mean began


@dataclass(frozen=True)
class Parting:
    """Two curves side by side."""

    step: int | None  # the first at which they differ; None when they never do
    pairs: list[Pair]  # the losses that differ there
    points: int  # values that both have, up to there
    ends: tuple[int | None, int | None]  # last steps; None without any line


def report(a: Path, b: Path) -> tuple[str, list[Problem]]:
    """Where two runs part, or how two folders of runs differ point by point, as lines of text.

    With what is damaged in the folders. A folder beside a run is the one run that it holds. Raises
    ConfigError for paths that cannot be compared, DamagedError for what cannot be read.
    """
    for path in (a, b):
        if not path.is_dir():
            raise ConfigError(Problem(path, "not there, or no folder", "name a run or a folder"))
    damaged: list[Problem] = []
    if records.is_run(a) or records.is_run(b):
        lines = _compare_runs(find_run(a).path, find_run(b).path)
    else:
        lines, damaged = paired.report(a, b)
    return "\n".join(lines), damaged


def part(
    a: Iterable[dict[str, Any]], b: Iterable[dict[str, Any]], names: Sequence[str] = LOSSES
) -> Parting:
    """The first step at which curves in lines of metrics.jsonl differ, in any bit.

    Lines come in the order of their steps. A mean training loss is compared where both runs began
    it at the same step.
    """
    points, step = 0, None
    pairs: list[Pair] = []
    ends: list[int | None] = [None, None]
    rows = heapq.merge(_values(a, 0, names), _values(b, 1, names), key=itemgetter(0))
    for row_step, together in groupby(rows, key=itemgetter(0)):
        values: tuple[Losses, Losses] = ({}, {})
        for _, side, losses in together:
            values[side].update(losses)
            ends[side] = row_step
        left, right = values
        if step is None:
            common = [key for key in left if key in right]
            points += len(common)
            pairs = [(k[0], left[k], right[k]) for k in common if left[k] != right[k]]
            step = row_step if pairs else None
    return Parting(step, pairs, points, (ends[0], ends[1]))


def points(rows: Iterable[dict[str, Any]], names: Sequence[str]) -> dict[CurveKey, Any]:
    """The values by name, step and, for a mean since the last line, where that line was."""
    return {
        (name, step, since): value
        for step, _, values in _values(rows, 0, names)
        for (name, since), value in values.items()
    }


def _compare_runs(a: Path, b: Path) -> list[str]:
    left, right = _read_run(a), _read_run(b)
    manifests = [read_manifest(path) for path in (a, b)]
    summaries = [read_summary(path) for path in (a, b)]
    differing = records.differing([left, right])
    config = [(key, left.config.get(key), right.config.get(key)) for key in differing]
    journals = [Lines(path / "metrics.jsonl") for path in (a, b)]
    apart = left.judged != right.judged
    told_in = unit([left, right])
    compared: tuple[str, ...] = ("train/loss",) if apart else LOSSES
    if told_in == BITS:
        compared = () if apart else ("val/bpb",)
    parting = part(journals[0], journals[1], compared)
    return [
        f"a  {a}  ({left.state})",
        f"b  {b}  ({right.state})",
        *_section("config, hashed", [row for row in config if _counts(row[0])]),
        *_section("config, not hashed", [row for row in config if not _counts(row[0])]),
        *_section("data", _data(left, right, manifests)),
        *_section("code", _code(manifests)),
        *_section("environment", _environment(manifests)),
        *_losses(parting),
        *([_not_compared(left, right)] if apart else []),
        *([OTHER_TOKENS] if told_in == BITS else []),
        *(f"        {damage}" for lines in journals for damage in lines.damage()),
        *_weights(summaries, parting),
    ]


def _counts(key: str) -> bool:
    """Whether the value of `key` is hashed; the content of data.path stands under data."""
    return is_hashed(key) and key != "data.path"


def _read_run(path: Path) -> Run:
    """The run at `path`; raises DamagedError, and ConfigError for one without a config yet."""
    run = records.read(path)
    if run is None:
        raise ConfigError(records.just_begun(path))
    return run


def _data(left: Run, right: Run, manifests: Sequence[Manifest]) -> list[Pair]:
    """The differences in the text, in where its splits lie, and in the vocabulary."""
    a, b = (
        {
            "text": run.data_sha256,
            "bounds": manifest.get("data", Text()).get("bounds"),
            "vocabulary": manifest.get("tokenizer", Fingerprint()).get("sha256"),
        }
        for run, manifest in zip((left, right), manifests, strict=True)
    )
    return _unlike(a, b)


def _code(manifests: Sequence[Manifest]) -> list[Pair]:
    """The differences in commit, uncommitted changes and source files."""
    a, b = (
        {
            "commit": manifest.get("git", Checkout()).get("commit"),
            "not committed": ", ".join(manifest.get("git", Checkout()).get("changed", [])) or None,
            **manifest.get("sources", {}),
            **hashed_code(manifest),
        }
        for manifest in manifests
    )
    return _unlike(a, b)


def _environment(manifests: Sequence[Manifest]) -> list[Pair]:
    """The differences in machine and versions, at the end and where a run was resumed."""
    resumes = [
        {
            f"resumed at step {resume.get('step')}": "; ".join(resume.get("differs", []))
            or "as before"
            for resume in manifest.get("resumes", [])
        }
        for manifest in manifests
    ]
    a, b = (dict[str, Any](manifest.get("environment", {})) for manifest in manifests)
    packages = [values.pop("packages", {}) for values in (a, b)]
    return _unlike(a, b) + _unlike(*packages) + _unlike(*resumes)


def _unlike(a: dict[str, Any], b: dict[str, Any]) -> list[Pair]:
    """The entries of two mappings that differ, in order."""
    keys = dict.fromkeys([*a, *b])
    return [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def _losses(parting: Parting) -> list[str]:
    if parting.step is not None:
        title = f"losses  part at step {parting.step:,}"
        lines = _section(title, parting.pairs, exact=True)
    elif not parting.points:
        lines = ["losses  none of the same step in both"]
    else:
        lines = [f"losses  the same: {parting.points:,} values at the same steps"]
    if parting.ends[0] != parting.ends[1]:
        a, b = ("nowhere" if end is None else f"at step {end:,}" for end in parting.ends)
        lines.append(f"        a ends {a}, b {b}")
    return lines


def _not_compared(left: Run, right: Run) -> str:
    """The line of evaluations that are capped in one run and not so, or otherwise, in the other."""
    a, b = ("all" if run.judged is None else f"{run.judged:,}" for run in (left, right))
    return f"        evaluations are not compared: a's judge {a} validation targets, b's {b}"


def _weights(summaries: Sequence[Summary | None], parting: Parting) -> list[str]:
    """Lines with the digests of the weights; `equal bit for bit` where the losses are equal too."""
    a, b = ({name: _digest(summary, name) for name in ("best", "final")} for summary in summaries)
    if None in (a["final"], b["final"]):
        return ["weights  known of finished runs alone"]
    if unlike := _unlike(a, b):
        return _section("weights", unlike)
    digests = [f"  {name:5}  {digest}" for name, digest in a.items() if digest is not None]
    if parting.step is not None:
        return ["weights  the same", *digests]
    return ["weights  equal bit for bit", *digests]


def _digest(summary: Summary | None, name: Literal["best", "final"]) -> str | None:
    evaluation = summary[name] if summary else None
    return evaluation.get("weights_sha256") if evaluation else None


def _values(
    rows: Iterable[dict[str, Any]], side: int, names: Sequence[str]
) -> Iterator[tuple[int, int, Losses]]:
    """The step of each row, the side, and its values of these names."""
    since = 0
    for row in rows:
        losses: Losses = {}
        for name in names:
            if name in row:
                value = row.get("nonfinite", {}).get(name) if row[name] is None else row[name]
                losses[name, since if name == "train/loss" else None] = value
        yield row["step"], side, losses
        if "train/loss" in row:
            since = row["step"]


def _section(title: str, pairs: Sequence[Pair], exact: bool = False) -> list[str]:
    if not pairs:
        return [f"{title}  the same"]
    rows = [(f"  {name}", _shown(a, exact), _shown(b, exact)) for name, a, b in pairs]
    head = () if exact else ((title, "a", "b"),)
    return ([title] if exact else []) + aligned([*head, *rows])


def _shown(value: Any, exact: bool) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.12g}"
    text = " ".join(plain(value).split())
    if DIGEST.fullmatch(text):
        return text[:12]
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"
