"""A user's mistake, or trouble on the machine: the thing, what is wrong, the fix.

Each class carries the exit code of `run.py` and `gptexp`. Anything else that is raised is a bug.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

EXIT_OK = 0
EXIT_BUG = 1
EXIT_MISMATCH = 5  # of `gptexp reproduce`: the run is not what it says
EXIT_SIGNAL = 128  # and the number of the signal
EXIT_INTERRUPTED = 130

LINE_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def one_line(text: str) -> str:
    """The text with the line breaks that were typed spelled out."""
    return LINE_BREAKS.sub(lambda match: repr(match[0])[1:-1], text)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; as text, the one line that a person reads."""

    subject: str | Path  # the key or file, by the name that the user typed
    what: str  # what is wrong with it, with the value; no full stop
    fix: str  # one action

    def __str__(self) -> str:
        end = "" if self.what.endswith("?") else "."
        line = f"{self.subject}: {self.what}{end} Fix: {self.fix}"
        return one_line(line)

    def told(self) -> str:
        """What is wrong alone, for a line in passing that asks nothing of its reader."""
        return one_line(f"{self.subject}: {self.what}")


@dataclass(frozen=True)
class Pause(Problem):
    """An end that somebody asked for: what is saved, and in place of a fix how to go on."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}; {self.fix}"


class GptexpError(Exception):
    """One or more problems."""

    exit_code = EXIT_BUG

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    @classmethod
    def raise_for(cls, problems: Iterable[Problem]) -> None:
        """Raise all of `problems` together, if there are any."""
        if problems := tuple(problems):
            raise cls(*problems)


class ConfigError(GptexpError):
    """The config, or the command line, cannot work."""

    exit_code = 2


class OtherCodeError(ConfigError):
    """A stored config asks for code that is not here, whose `modules` may be known."""

    def __init__(self, *problems: Problem, modules: Sequence[str] = ()) -> None:
        super().__init__(*problems)
        self.modules = modules

    def of(self, owner: str | Path, fix: str | None = None) -> Self:
        """The same of a file, with another fix where one is given."""
        [problem] = self.problems
        problem = Problem(owner, problem.what, fix or problem.fix)
        return type(self)(problem, modules=self.modules)


class OwnCodeError(OtherCodeError):
    """It has a variant of own code, whose modules have to be named to be imported."""


class RetiredKeyError(OtherCodeError):
    """It has a key on that this version of the code has no more."""


class DataError(GptexpError):
    """A corpus, or a text to be read, cannot be used."""

    exit_code = 2


class CheckpointError(GptexpError):
    """A checkpoint, or a file of another program, is damaged, foreign or of another config."""

    exit_code = 2


class DamagedError(GptexpError):
    """A file of a run directory does not hold what it should."""

    exit_code = 2


class ReproduceError(GptexpError):
    """A run cannot be compared with what is made again here."""

    exit_code = 2


class DivergedError(GptexpError):
    """A loss or gradient was not finite."""

    exit_code = 3


class StorageError(GptexpError):
    """The disk refused, or is full."""

    exit_code = 4


class InUseError(GptexpError):
    """Another process works in the run directory."""

    exit_code = 6


class RankError(GptexpError):
    """Of several processes that train one model, another one is gone, or hangs."""

    exit_code = 7


class ToldError(GptexpError):
    """Another process that trains the same model ended by an error, whose exit code this is."""

    def __init__(self, exit_code: int, *problems: Problem) -> None:
        super().__init__(*problems)
        self.exit_code = exit_code


class PrunedError(GptexpError):
    """A search gave the run up, which is saved."""

    exit_code = EXIT_OK


class InterruptedRunError(GptexpError):
    """SIGINT, SIGTERM or SIGHUP arrived; the run is saved and the same command goes on."""

    def __init__(self, signal_number: int, pause: Pause) -> None:
        super().__init__(pause)
        self.exit_code = EXIT_SIGNAL + signal_number
