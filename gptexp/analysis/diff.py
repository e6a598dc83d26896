"""`gptexp diff`: where two runs part; two groups of seeds go to paired.py."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptexp.analysis import paired, records
from gptexp.analysis.records import Run
from gptexp.config import is_hashed
from gptexp.errors import ConfigError, Problem
from gptexp.files import read_json
from gptexp.runs.journal import read_journal
from gptexp.runs.state import RunState
from gptexp.text import aligned

LOSSES = ("train/loss", "train/eval_loss", "val/loss")

WIDE = 60  # characters of a value that are shown

DIGEST = re.compile(r"[0-9a-f]{40,}")  # of a commit or a file; its first digits are enough

Pair = tuple[str, Any, Any]  # a name, and its values in the two runs

CurveKey = tuple[Any, ...]  # of a curve: its name and step, and what its value is a mean over


@dataclass(frozen=True)
class Parting:
    """Two curves side by side."""

    step: int | None  # the first at which they differ; None when they never do
    pairs: list[Pair]  # the losses that differ there
    points: int  # values that both have
    ends: tuple[int | None, int | None]  # last steps; None without any line


def report(a: Path, b: Path) -> str:
    """Where two runs part, or how two folders of runs differ seed by seed, as lines of text.

    Raises ConfigError for paths that cannot be compared.
    """
    for path in (a, b):
        if not path.is_dir():
            raise ConfigError(Problem(path, "not there, or no folder", "name a run or a folder"))
    if records.is_run(a) != records.is_run(b):
        run, folder = (a, b) if records.is_run(a) else (b, a)
        raise ConfigError(Problem(folder, f"a folder, and {run} is one run", "name two of a kind"))
    return "\n".join(_compare_runs(a, b) if records.is_run(a) else paired.report(a, b))


def part(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], names: Sequence[str] = LOSSES
) -> Parting:
    """The first step at which curves in lines of metrics.jsonl differ, in any bit.

    A mean training loss is compared where both runs began it at the same step.
    """
    left, right = points(a, names), points(b, names)
    common = [point for point in left if point in right]
    parted = [point for point in common if left[point] != right[point]]
    step = min((point[1] for point in parted), default=None)
    pairs = [(point[0], left[point], right[point]) for point in parted if point[1] == step]
    ends = [max((row["step"] for row in rows), default=None) for rows in (a, b)]
    return Parting(step, pairs, len(common), (ends[0], ends[1]))


def _compare_runs(a: Path, b: Path) -> list[str]:
    left, right = _read_run(a), _read_run(b)
    manifests = [read_json(path / "manifest.json") or {} for path in (a, b)]
    summaries = [read_json(path / "summary.json") or {} for path in (a, b)]
    differing = records.differing([left, right])
    config = [(key, left.config.get(key), right.config.get(key)) for key in differing]
    parting = part(read_journal(a / "metrics.jsonl"), read_journal(b / "metrics.jsonl"))
    return [
        f"a  {a}  ({left.state})",
        f"b  {b}  ({right.state})",
        *_section("config, hashed", [row for row in config if _counts(row[0])]),
        *_section("config, not hashed", [row for row in config if not _counts(row[0])]),
        *_section("data", _data(left, right, manifests)),
        *_section("code", _code(manifests)),
        *_section("environment", _environment(manifests)),
        *_losses(parting),
        *_weights(summaries, parting),
    ]


def _counts(key: str) -> bool:
    """Whether the value of `key` is hashed; the content of data.path stands under data."""
    return is_hashed(key) and key != "data.path"


def _read_run(path: Path) -> Run:
    """The run at `path`; raises ConfigError for a damaged one."""
    try:
        run = records.read(path)
    except records.DamagedError as error:
        raise ConfigError(Problem(path, str(error), "run its command again")) from error
    assert run is not None, "is_run was asked"
    if run.state is RunState.damaged:
        fix = "delete summary.json and run its command again"
        raise ConfigError(Problem(path, run.reason, fix))
    return run


def _data(left: Run, right: Run, manifests: Sequence[dict[str, Any]]) -> list[Pair]:
    """The differences in the text, in where its splits lie, and in the vocabulary."""
    a, b = (
        {
            "text": run.data_sha256,
            "bounds": manifest.get("data", {}).get("bounds"),
            "vocabulary": manifest.get("tokenizer", {}).get("sha256"),
        }
        for run, manifest in zip((left, right), manifests, strict=True)
    )
    return _unlike(a, b)


def _code(manifests: Sequence[dict[str, Any]]) -> list[Pair]:
    """The differences in commit, uncommitted changes and source files."""
    a, b = (
        {
            "commit": manifest.get("git", {}).get("commit"),
            "not committed": ", ".join(manifest.get("git", {}).get("changed", [])) or None,
            **manifest.get("sources", {}),
        }
        for manifest in manifests
    )
    return _unlike(a, b)


def _environment(manifests: Sequence[dict[str, Any]]) -> list[Pair]:
    """The differences in machine and versions, at the end and where a run was resumed."""
    resumes = [
        {
            f"resumed at step {resume.get('step')}": "; ".join(resume.get("differs", []))
            or "as before"
            for resume in manifest.get("resumes", [])
        }
        for manifest in manifests
    ]
    a, b = (dict(manifest.get("environment", {})) for manifest in manifests)
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


def _weights(summaries: Sequence[dict[str, Any]], parting: Parting) -> list[str]:
    """Lines with the digests of the weights; `equal bit for bit` where the losses are equal too."""
    a, b = (
        {name: (summary.get(name) or {}).get("weights_sha256") for name in ("best", "final")}
        for summary in summaries
    )
    if None in (a["final"], b["final"]):
        return ["weights  known of finished runs alone"]
    if unlike := _unlike(a, b):
        return _section("weights", unlike)
    digests = [f"  {name:5}  {digest}" for name, digest in a.items() if digest is not None]
    if parting.step is not None:
        return ["weights  the same", *digests]
    return ["weights  equal bit for bit", *digests]


def points(rows: Sequence[dict[str, Any]], names: Sequence[str] = LOSSES) -> dict[CurveKey, Any]:
    """The values by name, step and, for a mean since the last line, where that line was."""
    values: dict[CurveKey, Any] = {}
    since = 0
    for row in rows:
        for name in names:
            if name in row:
                value = row.get("nonfinite", {}).get(name) if row[name] is None else row[name]
                began = since if name == "train/loss" else None
                values[name, row["step"], began] = value
        if "train/loss" in row:
            since = row["step"]
    return values


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
    text = " ".join(str(value).split())
    if DIGEST.fullmatch(text):
        return text[:12]
    return text if len(text) <= WIDE else f"{text[: WIDE - 1]}…"
