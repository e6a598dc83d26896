"""What goes wrong while a run is made, in its status.json and in words."""

import contextlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gptexp.errors import ConfigError, GptexpError, StorageError
from gptexp.outcome import state_after
from gptexp.rundir import RunDirectory


@contextmanager
def recorded(directory: RunDirectory) -> Iterator[None]:
    """Keep status.json true: running inside, then what went wrong. Bugs leave as a GptexpError."""
    directory.set_status("running")
    try:
        yield
    except GptexpError as error:
        ended(directory, state_after(error, "failed"), error.problems[0])
        raise
    except KeyboardInterrupt:  # outside the training loop, or the second one in it
        line = "interrupted: nothing saved since. Fix: the same command goes on from the last save"
        ended(directory, "interrupted", line)
        raise
    except Exception as error:
        if is_out_of_memory(error):
            line = "trainer.batch_size: out of memory. Fix: halve it and double trainer.grad_accum"
            ended(directory, "failed", line)
            raise ConfigError(line) from error
        line = f"{type(error).__name__}: {error}"
        ended(directory, "failed", line, traceback.format_exc())
        raise GptexpError(
            f"{directory.path}: a bug in gptexp, {line}. "
            f"Fix: report it with {directory.log}; the same command goes on from what is saved"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """On CUDA torch has a type for it; on a CPU and MPS it has only words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def ended(directory: RunDirectory, state: str, line: str, trace: str = "") -> None:
    """As far as the disk still lets it be written down."""
    with contextlib.suppress(StorageError, OSError):
        with directory.log.open("a", encoding="utf-8") as file:
            file.write(f"{state}: {line}\n{trace}")
        directory.set_status(state, line)
