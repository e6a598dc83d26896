"""`gptexp reproduce`: whether a run is what it says, by its files or by making it again.

Torch-free until the files of the run have been read. Writes nothing in the run's directory.
"""

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from gptexp.errors import ConfigError, GptexpError, Problem, ReproduceError, one_line
from gptexp.experiment.integrity import read_record
from gptexp.experiment.record import Record
from gptexp.experiment.verdict import STRANGE, WITHIN, Claim, Finding, Verdict, worst
from gptexp.runs.seal import SEAL
from gptexp.text import listed, printable

if TYPE_CHECKING:
    from gptexp.experiment.verify import Restored

DEFAULT_STEPS = 50  # of a prefix; more where the first training loss comes later

UNJUDGED = "none: it was imported without a text"  # of an evaluation

Say = Callable[[str], object]


class Level(StrEnum):
    """How much is made again."""

    verify = "verify"  # nothing but the evaluation of the best checkpoint
    prefix = "prefix"  # the first steps
    full = "full"  # the whole run, killed halfway and resumed


def reproduce(
    run: Path,
    level: str,
    steps: int | None,
    say: Say,
    at_commit: bool = False,
    modules: Sequence[str] = (),
) -> int:
    """Say a line for each thing compared, then the verdict; returns its exit code.

    `at_commit` leaves all of it to the code of the run's commit. `modules` are those of own
    variants, imported already. Raises ConfigError for what is no run directory, or no level.
    """
    chosen = check_words(level, steps)
    record = read_record(run)
    with _tidy_after_signals():
        if at_commit and not record.damage:
            return _at_commit(record, chosen, steps, say, modules)
        return _reproduce(record, chosen, steps, say, modules)


@contextmanager
def _tidy_after_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end this process as an exception does, so that nothing is left."""
    handled = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in handled:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def _reproduce(
    record: Record, level: Level, steps: int | None, say: Say, modules: Sequence[str]
) -> int:
    """Say all findings and the verdict; whatever goes wrong with a file is one of them."""
    findings: list[Finding] = []
    claim = Claim([], [])
    try:
        for finding in _compare(record, level, steps, claim, modules):
            findings.append(finding)
            say(str(finding))
    except GptexpError as error:
        findings.append(cannot(error))
        say(str(findings[-1]))
    except STRANGE as error:
        what = f"a value that cannot be used ({type(error).__name__}: {str(error)[:60]})"
        findings.append(Finding(record.path.name, what, Verdict.DIFFERENT))
        say(str(findings[-1]))
    say(last_line(findings, claim, level))
    return worst([finding.verdict for finding in findings]).exit_code


def check_words(level: str, steps: int | None) -> Level:
    """The level of that name; raises ConfigError for another one, or for steps it does not have."""
    if level not in list(Level):
        what, fix = f"{level!r} is not known", f"one of {', '.join(Level)}"
        raise ConfigError(Problem("--level", what, fix))
    if steps is not None and level != Level.prefix:
        raise ConfigError(Problem("--steps", f"--level {level} has none", "--level prefix"))
    if steps is not None and steps < 1:
        raise ConfigError(Problem("--steps", f"{steps} is below 1", "--steps 1 or more"))
    return Level(level)


def _at_commit(
    record: Record, level: Level, steps: int | None, say: Say, modules: Sequence[str]
) -> int:
    """The verdict of the run's own code, with its lines; CANNOT where that is not to be had."""
    from gptexp.experiment.at_commit import reproduce_at_commit

    words = ["--level", level, *([] if steps is None else ["--steps", str(steps)])]
    words += [word for name in modules for word in ("--plugins", name)]
    try:
        return reproduce_at_commit(record.manifest, [*words, "--", str(record.path)])
    except ReproduceError as error:
        say(last_line([cannot(error)], Claim([], []), level))
        return Verdict.CANNOT.exit_code


def _compare(
    record: Record, level: Level, steps: int | None, claim: Claim, modules: Sequence[str]
) -> Iterator[Finding]:
    """Compare the run with what it says, as far as `level` wants; fills in the claim.

    What the files alone tell comes first, and ends it where they are damaged.
    """
    yield from record.damage
    if record.damage:
        return
    yield _files(record)
    from gptexp.experiment import reevaluate, verify  # torch

    expected = verify.claim(record)
    claim.reasons.extend(expected.reasons)
    claim.code.extend(expected.code)
    yield from _expected(record, claim)
    weights: dict[int, str] = {}
    loaded = list(verify.check_checkpoints(record, weights))
    yield from loaded
    if worst([finding.verdict for finding in loaded]) is Verdict.DIFFERENT:
        return
    config = verify.check_config(record)
    yield config
    if config.verdict is Verdict.DIFFERENT:
        return
    if has_text := record.config().data.has_text:
        restored = verify.restore(record, weights)
        yield from reevaluate.check_evaluation(restored, claim)
    else:
        yield Finding("evaluation", UNJUDGED)
    if level is not Level.verify:
        if verify.is_import(record) or not has_text:
            fix = "gptexp import on the same file"
            raise ReproduceError(Problem(record.path, "imported, and not trained here", fix))
        yield from _made_again(restored, level, steps, claim, modules)


def _files(record: Record) -> Finding:
    """One line for all files that are whole."""
    names = ["config.yaml", "manifest.json", "metrics.jsonl", "samples.jsonl", "status.json"]
    names += ["summary.json"] if record.summary is not None else []
    sealed = "whole, by their seals" if SEAL in record.manifest else "whole in form; none is sealed"
    return Finding("files", f"{', '.join(names)}: {sealed}; the run is {record.state}")


def _expected(record: Record, claim: Claim) -> Iterator[Finding]:
    """The environment and the code, and what follows from them."""
    same = "the same, so every bit is expected to be"
    differs = f"differs in {'; '.join(claim.reasons)}: expected are {WITHIN}"
    yield Finding("environment", differs if claim.reasons else same)
    code = f"differs in {listed(claim.code)}" if claim.code else "the same"
    commit = str(record.manifest["git"].get("commit", "none"))[:12]
    yield Finding("code", f"{code}; commit of the run: {commit}")


def _made_again(
    restored: "Restored", level: Level, steps: int | None, claim: Claim, modules: Sequence[str]
) -> Iterator[Finding]:
    """Make the run again in a temporary folder, and compare what it leaves."""
    from gptexp.experiment import rerun

    record, last = restored.record, restored.record.last_step()
    if changed := record.changed_own_code():
        what = f"its own code is another one here: {listed(changed)}"
        raise ReproduceError(Problem(record.path, what, "put the files back as they were"))
    if not record.metrics:
        what, fix = "no line of metrics.jsonl yet", "its command goes on"
        raise ReproduceError(Problem(record.path, what, fix))
    begun = record.begun
    until = last if level is Level.full else min(last, begun + (steps or _default_steps(record)))
    with tempfile.TemporaryDirectory(prefix="gptexp-reproduce-") as folder:
        half = (begun + until) // 2 if level is Level.full else None
        killed = "" if half is None else f", killed at step {half:,} and resumed"
        yield Finding("made again", f"{until:,} of {last:,} steps{killed}")
        again = rerun.run_again(record, restored.config, Path(folder), until, half, list(modules))
        yield from rerun.compare(record, restored.weights, again, claim)


def _default_steps(record: Record) -> int:
    """So many steps that there is a training loss among them."""
    steps = (line["step"] for line in record.metrics if "train/loss" in line)
    first = next((step - record.begun for step in steps if step > record.begun), 0)
    return max(DEFAULT_STEPS, first)


def cannot(error: GptexpError) -> Finding:
    """The finding of what cannot be done, with the fix."""
    problem = error.problems[0]
    return Finding(str(problem.subject), f"{problem.what}. Fix: {problem.fix}", Verdict.CANNOT)


def last_line(findings: list[Finding], claim: Claim, level: Level) -> str:
    """The verdict over all that was compared, and what it is about."""
    verdict = worst([finding.verdict for finding in findings])
    first = next(finding for finding in findings if finding.verdict is verdict)
    caveat = claim.caveat()
    if verdict is Verdict.IDENTICAL:
        made = {
            Level.verify: "its best checkpoint evaluates",
            Level.prefix: "its first steps, made again, are equal",
            Level.full: "the run, made again, is equal",
        }
        is_judged = all(finding.text != UNJUDGED for finding in findings)
        more = f"and {made[level]} to the bit" if is_judged else "and nothing was evaluated"
        text = f"{verdict}: the files are whole, {more}"
        return f"{text}, though {caveat}" if caveat else text
    if verdict is Verdict.EQUIVALENT:
        return f"{verdict}: {WITHIN}; {caveat}"
    at = "" if first.step is None else f" at step {first.step:,}"
    text = f"{verdict}{at}: {first.subject}: {first.text}"
    whole = f"{text} ({caveat})" if caveat and verdict is Verdict.DIFFERENT else text
    return one_line(printable(whole))
