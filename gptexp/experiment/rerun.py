"""A run made again, in a process that is killed at a step; `python -m gptexp.experiment.rerun JOB`.

The process is of its own, so that it can be killed as from outside, and so that what this one has
done to torch has no part in it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gptexp import console, plugins
from gptexp.config import Config, Keep, LoggerConfig, from_yaml, to_yaml
from gptexp.errors import DivergedError, Problem, ReproduceError
from gptexp.experiment.at_commit import code_from
from gptexp.experiment.record import WORKED_IN, Record
from gptexp.experiment.verdict import Claim, Finding, Verdict, compare_curves, compared, same
from gptexp.runs.directory import RunDirectory
from gptexp.runs.entries import read_entry
from gptexp.runs.journal import read_journal
from gptexp.runs.provenance import PACKAGE
from gptexp.runs.seal import SEAL
from gptexp.runs.state import RunState
from gptexp.text import listed

Line = dict[str, Any]  # of a journal
KILLED = -signal.SIGKILL

# Of a summary: what depends on the machine's clock and paths, and what the other lines compare.
NOT_OF_RERUN = ("config", "seconds", "code", "branched", "files", SEAL)


@dataclass(frozen=True)
class Job:
    """What the process is to do."""

    config: str  # file of the config
    outputs: str
    kill_at: int  # updates done when it is killed, unless it ends before
    save_at: list[int]  # updates done when a checkpoint is written, beside the run's own
    plugins: list[str]  # modules that the user named, and no file
    compiled: bool | None  # what trainer.compile=auto came to in the run


@dataclass(frozen=True)
class Again:
    """A run that was made again in a temporary folder, at most up to a step."""

    path: Path
    until: int


def run_again(
    record: Record,
    config: Config,
    folder: Path,
    until: int,
    kill_at: int | None,
    modules: list[str],
) -> Again:
    """Make the run again in `folder`, up to the step `until` or its end.

    Own variants come from these `modules`. Killed at `kill_at`, where that is a step, and resumed.
    Raises ReproduceError where it ends otherwise.
    """
    quiet = LoggerConfig(name="none", tensorboard=False)
    trainer = replace(config.trainer, keep=Keep.all, retry_failed=False, profile=0)
    config = replace(config, rerun=False, logger=quiet, trainer=trainer)
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    if config.init_from is not None:  # where it stands tells how its start is hashed: see identity
        kept = RunDirectory(folder / "outputs" / config.name / record.manifest["run"])
        kept.path.mkdir(parents=True)
        kept.write_json("manifest.json", record.manifest)
    save_at = sorted(step for step in record.entries if step <= until)
    compiled = record.manifest["environment"].get("compiled")
    job = Job(
        str(folder / "config.yaml"), str(folder / "outputs"), until, save_at, modules, compiled
    )
    if kill_at is not None:
        _expect(start(replace(job, kill_at=kill_at)), KILLED)
    # At `until` it is killed too, unless the run ends there by itself.
    ending = (0, DivergedError.exit_code, KILLED)
    _expect(start(job), *ending)
    runs = sorted((folder / "outputs").glob("*/*"))
    if [path.name for path in runs] != [record.manifest["run"]]:
        names = ", ".join(path.name for path in runs)
        what = f"made again, it is {names or 'nothing'}"
        raise ReproduceError(Problem(record.manifest["run"], what, "use the gptexp that made it"))
    return Again(runs[0], until)


def start(job: Job) -> tuple[int, str]:
    """The exit code of a process that does the job, and the last line of what it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, json.dumps(asdict(job))],
        env=code_from(PACKAGE.parent),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return done.returncode, lines[-1].removeprefix("gptexp: error: ") if lines else ""


def _expect(ended: tuple[int, str], *codes: int) -> None:
    code, line = ended
    if code not in codes:
        problem = Problem("the run made again", f"ended with code {code}: {line}", "see there")
        raise ReproduceError(problem)


def work(job: Job) -> int:
    """Do a job in this process; returns the exit code of the run."""
    from gptexp.experiment.run import run_experiment
    from gptexp.training import throughput

    console.setup()
    throughput.PROBE_SECONDS = 0.0  # nobody reads the estimate
    _arrange(job)
    plugins.load(job.plugins)
    config = from_yaml(Path(job.config).read_text(encoding="utf-8"))
    return run_experiment(config, Path(job.outputs)).exit_code


def _arrange(job: Job) -> None:
    """Have the trainer compile, save, and be killed, where the job says so."""
    from gptexp.experiment import auto_compile
    from gptexp.training.trainer import Trainer

    update = Trainer.train_step

    def train_step(self: Trainer) -> None:
        if self.step in job.save_at:
            self.save()
        if self.step == job.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        update(self)

    setattr(Trainer, "train_step", train_step)  # noqa: B010
    if job.compiled is not None:
        setattr(auto_compile, "_pays", lambda *_: job.compiled)  # noqa: B010


def compare(
    record: Record, weights: dict[int, str], again: Again, claim: Claim
) -> Iterator[Finding]:
    """Curves, samples, summary and weights of the run beside those that were made again.

    `weights` are the digests of the run's checkpoints, by step.
    """
    until, whole = again.until, not record.resumed
    stored, made = (
        [line for line in lines if line["step"] <= until]
        for lines in (record.metrics, read_journal(again.path / "metrics.jsonl"))
    )
    (stored, names), (made, _) = without_own(stored), without_own(made)
    if names:
        yield Finding("plug-ins", f"own metrics are not compared: {listed(names)}")
    if record.state in WORKED_IN and until >= record.last_step():
        # A kill may have come between two lines of one step.
        ends = [compared(line) for line in stored if line["step"] == until]
        made = [line for line in made if line["step"] < until or compared(line) in ends]
    curve = compare_curves(stored, made, claim, whole)
    yield curve
    # Where the curves agree to the bit, nothing else may differ, whatever the environment.
    allowed = Verdict.EQUIVALENT if curve.verdict is Verdict.EQUIVALENT else Verdict.DIFFERENT
    yield _samples(record, again, allowed)
    yield _weights(weights, again, allowed)
    if record.summary is not None and until >= record.last_step():
        yield _summary(record.summary, again, allowed)
    if record.state is RunState.diverged and until >= record.last_step():
        status = RunDirectory(again.path).status()
        own, other = record.status.get("what"), status.get("what") if status else None
        text = "diverged as it did" if own == other else f"made again: {other or 'not diverged'}"
        yield Finding("status.json", text, Verdict.IDENTICAL if own == other else allowed)


def without_own(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """The lines without the curves of own metrics, and the names of those."""
    names = sorted(
        {name for line in lines for name in line if "/" in name and not plugins.is_own(name)}
    )
    return [{k: v for k, v in line.items() if k not in names} for line in lines], names


def _samples(record: Record, again: Again, allowed: Verdict) -> Finding:
    stored, made = (
        {line["step"]: line for line in lines if line["step"] <= again.until}
        for lines in (record.samples, read_journal(again.path / "samples.jsonl"))
    )
    if record.state in WORKED_IN and again.until not in stored:
        made.pop(again.until, None)  # the kill may have come before it
    if again.until < record.last_step():  # the sample of the best weights comes at the end
        stored = {step: line for step, line in stored.items() if step in made}
    steps = sorted(stored.keys() & made.keys() if record.resumed else stored.keys() | made.keys())
    for step in steps:
        if not _same_sample(stored.get(step), made.get(step), record.resumed):
            text = f"the sample of step {step:,} is another one here"
            return Finding("samples.jsonl", text, allowed, step)
    return Finding("samples.jsonl", f"{len(steps):,} samples, to the bit")


def _same_sample(stored: Line | None, made: Line | None, resumed: bool) -> bool:
    """Whether two samples are the same, or drawn by settings that a resume may have changed."""
    if stored == made or stored is None or made is None:
        return stored == made
    settings = [
        (line.get("temperature"), line.get("top_k"), len(str(line.get("text"))))
        for line in (stored, made)
    ]
    return resumed and settings[0] != settings[1]


def _weights(weights: dict[int, str], again: Again, allowed: Verdict) -> Finding:
    folder, steps = again.path / "checkpoints", []
    for step, digest in sorted(weights.items()):
        entry = read_entry(folder / f"step-{step}.json")
        if step > again.until or (entry is None and allowed is Verdict.EQUIVALENT):
            continue
        if entry is None or entry.weights_sha256 != digest:
            return Finding("weights", f"those of step {step:,} are others here", allowed, step)
        steps.append(f"{step:,}")
    return Finding("weights", f"of step {', '.join(steps)}: to the bit" if steps else "none yet")


def _summary(stored: dict[str, Any], again: Again, allowed: Verdict) -> Finding:
    path = again.path / "summary.json"
    if not path.exists():
        text = f"made again, the run does not end at step {again.until:,}"
        return Finding("summary.json", text, allowed)
    made = json.loads(path.read_bytes())  # as exactly as `stored` was read
    stored, made = _without_own_values(stored), _without_own_values(made)
    keys = [key for key in stored if key not in NOT_OF_RERUN]
    if unlike := [key for key in keys if not same(stored[key], made.get(key))]:
        return Finding("summary.json", f"{', '.join(unlike)} of the run made again", allowed)
    return Finding("summary.json", f"{len(keys)} values, to the bit")


def _without_own_values(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary without the values of own metrics, which need not be made again."""
    parts = {part: summary.get(part) for part in ("best", "final")}
    dicts = {part: value for part, value in parts.items() if isinstance(value, dict)}
    plain = {p: {k: v for k, v in value.items() if k != "own"} for p, value in dicts.items()}
    return {**summary, **plain}


if __name__ == "__main__":
    sys.exit(work(Job(**json.loads(sys.argv[1]))))
