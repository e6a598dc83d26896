"""A trace of a few steps, which TensorBoard and Perfetto open: `trainer.profile=STEPS`."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gptexp.errors import StorageError
from gptexp.files import copy_file

log = logging.getLogger(__name__)

SUFFIX = ".pt.trace.json.gz"  # by which TensorBoard knows a trace


@contextmanager
def traced(steps: int, folder: Path, first: int) -> Iterator[Callable[[], None]]:
    """Yields what is to be called after each step; with 0 `steps`, it does nothing.

    The step after `first` updates warms up; of the `steps` after it, or of those that come, a trace
    is written to `folder`. One that cannot be written is named, and training goes on.
    """
    if not steps:
        yield lambda: None
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to the screen
    done = 0

    def write(profiler: torch.profiler.profile) -> None:
        last = min(done, steps + 1)
        if last > 1:
            _write(profiler, folder / f"profile-{first + 2}-{first + last}{SUFFIX}")

    def step_done() -> None:
        nonlocal done
        done += 1
        if done <= steps + 1:
            profiler.step()

    profiler = torch.profiler.profile(
        activities=sorted(torch.profiler.supported_activities(), key=str),
        schedule=torch.profiler.schedule(wait=0, warmup=1, active=steps, repeat=1),
        on_trace_ready=write,
    )
    with profiler:
        yield step_done


def _write(profiler: torch.profiler.profile, path: Path) -> None:
    """Write the trace elsewhere first: the profiler's own writing is neither whole nor refused."""
    place = Path(tempfile.mkdtemp())
    try:
        made = place / f"trace{SUFFIX}"
        profiler.export_chrome_trace(str(made))
        copy_file(made, path)
    except (OSError, RuntimeError, StorageError) as error:
        log.warning("trainer.profile: no trace is written: %s", error)
    else:
        log.info("trace   %s (open it at ui.perfetto.dev)", path)
    finally:
        shutil.rmtree(place, ignore_errors=True)
