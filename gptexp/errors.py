"""A user's mistake, or trouble on the machine, in one line: the thing, what is wrong, the fix.

Each class carries the exit code of `run.py` and `gptexp`. Anything else that is raised is a bug.
"""

EXIT_OK = 0

EXIT_BUG = 1

EXIT_INTERRUPTED = 130

EXIT_TERMINATED = 143


class GptexpError(Exception):
    """One or more problems, each worded `<key or file>: <what is wrong>. Fix: <one action>`."""

    exit_code = EXIT_BUG

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConfigError(GptexpError):
    exit_code = 2


class DataError(GptexpError):
    exit_code = 2


class CheckpointError(GptexpError):
    exit_code = 2


class DivergedError(GptexpError):
    exit_code = 3


class StorageError(GptexpError):
    exit_code = 4


class InUseError(GptexpError):
    exit_code = 6


class InterruptedRunError(GptexpError):
    """SIGINT or SIGTERM arrived; the run is saved and the same command goes on."""

    def __init__(self, signal_number: int, problem: str) -> None:
        super().__init__(problem)
        self.exit_code = 128 + signal_number
