"""A sweep in words, and how to have it again, from the configs and manifests of its runs."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from gptexp.analysis import groups
from gptexp.analysis.labels import branch_notes, short_label
from gptexp.analysis.records import mixed, varying
from gptexp.report.ngram_baselines import NgramBaselines
from gptexp.report.results import Record, Results
from gptexp.runs.schema import Checkout, Environment, Text
from gptexp.runs.secrets import masked
from gptexp.text import duration, plain

MOST_VALUES = 8  # of a key or a fact, that are listed


def facts(results: Results, baselines: NgramBaselines | None = None) -> dict[str, list[str]]:
    """The facts of a sweep, lines by name, without the names that have nothing to say."""
    records = list(results.records.values())
    states = Counter(record.run.state for record in records)
    count = ", ".join(f"{number} {state}" for state, number in states.items())
    flops = [record.flops for record in records if record.flops is not None]
    seconds = [record.seconds for record in records if record.seconds is not None]
    named = {
        "folder": [str(folder) for folder in results.folders],
        "runs": [
            f"{len(records)}: {count}; in {len(results.groups)} groups of the same config but for "
            "the seed"
        ],
        "corpus": _distinct(_corpus(record) for record in records),
        "varies": _varying(records),
        "branches": branch_notes([record.run for record in records]),
        "compute": [
            *([f"{sum(flops):.3g} FLOPs in the {len(flops)} finished runs"] if flops else []),
            f"{duration(sum(seconds))} of training in {len(seconds)} runs, one after another",
        ],
        "best": [_best(results)],
        "n-grams": [_ngrams(baselines)] if baselines else [],
        "code": _distinct(_code(record) for record in records),
    }
    return {name: lines for name, lines in named.items() if lines}


def _best(results: Results) -> str:
    done = [record for record in results.records.values() if record.run.best is not None]
    if not done:
        return "no finished run has a finite validation loss"
    run = min(done, key=lambda record: record.run.best or 0.0).run
    label = short_label(results.by, [run.config.get(key) for key in results.by])
    return f"{run.best:.4f} {results.unit} at step {run.best_step:,} ({label}, seed {run.seed})"


def _ngrams(baselines: NgramBaselines) -> str:
    by_order = enumerate(baselines.losses, start=1)
    losses = ", ".join(f"{order}: {loss:.4f}" for order, loss in by_order)
    counted = f"that many {baselines.unit} of {baselines.training_set}"
    return f"{losses} nats per token by counting {counted}"


def _corpus(record: Record) -> str:
    data, config = record.manifest.get("data", Text()), record.run.config
    tokens = data.get("tokens", {})
    name = config.get("data.path") or config.get("data.asset") or data.get("name")
    val = f", {tokens['val']:,.0f} validation tokens" if "val" in tokens else ""
    digest = f", SHA-256 {str(record.run.data_sha256)[:12]}" if record.run.data_sha256 else ""
    return f"{name} ({config.get('tokenizer.name')} tokens{val}{digest})"


def _varying(records: Sequence[Record]) -> list[str]:
    """Lines of the keys that vary and can change a result, each with all its values."""
    runs = [record.run for record in records]
    lines = []
    for key in [*varying(runs, mixed(runs)), "seed"]:
        values = list(dict.fromkeys(run.config[key] for run in runs if key in run.config))
        values.sort(key=groups.sort_key)
        more = f", ... ({len(values)} values)" if len(values) > MOST_VALUES else ""
        lines.append(f"{key}: {', '.join(map(plain, values[:MOST_VALUES]))}{more}")
    return lines


def _code(record: Record) -> str:
    git, environment = record.manifest.get("git", Checkout()), record.manifest.get("environment")
    environment = environment or Environment()
    packages = environment.get("packages", {})
    commit = f"commit {str(git['commit'])[:12]}" if git.get("commit") else ""
    changed = " with uncommitted changes" if git.get("changed") else ""
    torch = f"torch {packages['torch']}" if packages.get("torch") else ""
    device = f"on {environment['device']}" if environment.get("device") else ""
    return ", ".join(word for word in (commit + changed, torch, device) if word)


def commands(results: Results) -> list[tuple[str, int]]:
    """The commands that make the runs again, each with the number of runs that came from it."""
    return list(Counter(_command(record) for record in results.records.values()).items())


def _command(record: Record) -> str:
    """The command line of run.py; from a notebook, the overrides that amount to it."""
    argv = record.manifest.get("command")
    if argv:
        programs = {"run.py": "python run.py", "gptexp": "gptexp"}  # the second imports models
        if program := programs.get(Path(argv[0]).name):
            return f"{program} {_shown(argv[1:])}".rstrip()
    overrides = record.manifest.get("overrides")
    if overrides:
        return f"python run.py {_shown(overrides)}"
    return "not recorded: see config.yaml of the run"


def _shown(words: Sequence[object]) -> str:
    """The words as one would type them, without the secrets that an early manifest may hold."""
    return shlex.join(masked(str(word)) for word in words)


def _distinct(words: Iterable[str]) -> list[str]:
    """Each word once, the most frequent first, with how many runs say so where they differ."""
    counts = Counter(word for word in words if word)
    lines = [
        word if len(counts) == 1 else f"{word} [{count} runs]"
        for word, count in counts.most_common(MOST_VALUES)
    ]
    more = [f"and {len(counts) - MOST_VALUES} more"] if len(counts) > MOST_VALUES else []
    return lines + more
