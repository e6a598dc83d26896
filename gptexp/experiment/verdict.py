"""What a comparison with a run comes to: a line for each thing compared, and one for all of them.

Torch-free.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gptexp.analysis.diff import part, points
from gptexp.errors import EXIT_MISMATCH, EXIT_OK, ConfigError, one_line
from gptexp.text import printable

Lines = Sequence[dict[str, Any]]  # of a journal

# How far values may lie apart where the environment differs: a share of the larger one. Rounding
# grows with the steps, and gradients feel it first. What is not named here is the same anywhere.
LOSS, NOISY = 0.01, 0.1
TOLERANCES = {
    **dict.fromkeys(("train/loss", "train/eval_loss", "val/loss", "val/bpb", "loss", "bpb"), LOSS),
    **dict.fromkeys(("val_loss", "val_bpb", "train_loss"), LOSS),
    **dict.fromkeys(("train/grad_norm", "val/stderr"), NOISY),
    **dict.fromkeys(("val/accuracy", "val_accuracy", "accuracy"), NOISY),  # one token decides
    **dict.fromkeys(("train/loss_scale", "train/skipped"), 1.0),  # any: a halving is a threshold
}
WITHIN = f"losses within {LOSS:.0%} and gradient norms within {NOISY:.0%}"

# What a value of another kind than was expected raises, in the files of a stranger.
STRANGE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError)

# Of a line of metrics: its place, and what depends on the speed of a machine.
NOT_COMPARED = ("step", "seconds", "nonfinite", "train/tokens_per_second", "train/mfu")


class Verdict(StrEnum):
    """The words of the last line, from the best to the worst."""

    IDENTICAL = "IDENTICAL"
    EQUIVALENT = "EQUIVALENT"  # within TOLERANCES, where the environment differs
    CANNOT = "CANNOT"
    DIFFERENT = "DIFFERENT"

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        codes = {Verdict.CANNOT: ConfigError.exit_code, Verdict.DIFFERENT: EXIT_MISMATCH}
        return codes.get(self, EXIT_OK)


@dataclass(frozen=True)
class Finding:
    """One thing that was compared."""

    subject: str  # a file, or what was done again
    text: str
    verdict: Verdict = Verdict.IDENTICAL
    step: int | None = None  # the first at which it differs

    def __str__(self) -> str:
        mark = {Verdict.DIFFERENT: "differs: ", Verdict.CANNOT: "cannot be compared: "}
        return one_line(printable(f"{self.subject:<13} {mark.get(self.verdict, '')}{self.text}"))


@dataclass(frozen=True)
class Claim:
    """What is to be expected of a run that is made again here."""

    reasons: list[str]  # why bits may differ, as `threads 2 -> 1`; empty where they must not
    code: list[str]  # the source files that differ

    def judge(self, name: str, stored: Any, again: Any) -> Verdict:
        """How two values of one name compare; dicts key by key."""
        if isinstance(stored, dict) and isinstance(again, dict) and stored.keys() == again.keys():
            return worst([self.judge(key, stored[key], again[key]) for key in stored])
        if same(stored, again):
            return Verdict.IDENTICAL
        near = self.reasons and close(name, stored, again)
        return Verdict.EQUIVALENT if near else Verdict.DIFFERENT

    def caveat(self) -> str:
        """What else is known to differ, for the last line."""
        parts = []
        if self.code:
            parts.append(f"the code differs: {', '.join(self.code[:5])}")
        if self.reasons:
            parts.append(f"the environment differs: {', '.join(self.reasons)}")
        return "; ".join(parts)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of the verdicts."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.IDENTICAL)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in every bit; NaN is equal to NaN, and 1 is not 1.0."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def close(name: str, a: Any, b: Any) -> bool:
    """Whether two numbers of that name are within its tolerance.

    Diagnostics are of the inside of a model, where a single unit may turn by rounding.
    """
    if name.startswith("diag/"):
        return True
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        return False
    if name.startswith("val/loss/"):  # of one part of a mix
        name = "val/loss"
    return math.isclose(a, b, rel_tol=TOLERANCES.get(name, 0.0))


def compare_curves(stored: Lines, again: Lines, claim: Claim, whole: bool) -> Finding:
    """Compare lines of metrics.jsonl, all that they hold but times.

    `whole` says that each must have the points of the other: of a run that was resumed, the
    intervals may have changed on the way.
    """
    names = sorted(set().union(*map(compared, [*stored, *again])))
    left, right = (points(lines, names) for lines in (stored, again))
    common = [point for point in left if point in right]
    verdicts = {point: claim.judge(point[0], left[point], right[point]) for point in common}
    bad = [point for point in common if verdicts[point] is Verdict.DIFFERENT]
    verdict = worst(list(verdicts.values()))
    if verdict is Verdict.IDENTICAL and whole and left.keys() != right.keys():
        name, step, _ = min(left.keys() ^ right.keys(), key=lambda point: point[1])
        owner = "the run alone has" if any(p[:2] == (name, step) for p in left) else "the run lacks"
        return Finding("metrics.jsonl", f"{owner} {name} of step {step}", Verdict.DIFFERENT, step)
    if bad:
        first = min(bad, key=lambda point: point[1])
        text = apart(first[0], left[first], right[first])
        return Finding("metrics.jsonl", f"{text} at step {first[1]:,}", verdict, first[1])
    if not common:
        return Finding("metrics.jsonl", "no value of these steps", Verdict.CANNOT)
    if verdict is Verdict.EQUIVALENT:
        parted = part(stored, again, names).step
        exact = f"; to the bit before step {parted:,}" if parted else ""
        text = f"{len(common):,} values: {WITHIN}{exact}"
        return Finding("metrics.jsonl", text, verdict)
    return Finding("metrics.jsonl", f"{len(common):,} values, to the bit")


def compared(line: dict[str, Any]) -> set[str]:
    """The values of a line of metrics.jsonl that are compared."""
    return line.keys() - NOT_COMPARED


def apart(name: str, stored: Any, again: Any) -> str:
    """What two values of one name are, and by how much they differ."""
    if isinstance(stored, dict) and isinstance(again, dict):
        keys = [key for key in {**stored, **again} if not same(stored.get(key), again.get(key))]
        key = next(iter(keys), "")
        return apart(f"{name}.{key}", stored.get(key), again.get(key))
    words = f"{name} is {_short(stored)} in the run and {_short(again)} here"
    if isinstance(stored, int | float) and isinstance(again, int | float):
        words += f", by {abs(again - stored):.3g}"
    return words


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
