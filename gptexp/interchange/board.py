"""TensorBoard over a folder of labelled links, in this process. Torch-free."""

import contextlib
import io
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.text import plural

if TYPE_CHECKING:
    from gptexp.interchange.links import LinkedFolder

log = logging.getLogger(__name__)

EVERY = 3.0  # seconds between two looks at the runs; TensorBoard looks every five

SHARE = 20  # a look that took long is followed by a pause so many times as long


def show_board(folders: Sequence[Path], options: Sequence[str]) -> list[Problem]:
    """Serve TensorBoard until Ctrl-C, with the links kept up to date; returns notes of damage.

    `options` are TensorBoard's own. Raises ConfigError where there is no run, no TensorBoard, a
    port that is taken or an option that is not known, and StorageError.
    """
    try:
        from gptexp.interchange.links import LinkedFolder
    except ModuleNotFoundError as error:
        problem = Problem("tensorboard", f"{error}", "pip install tensorboard")
        raise ConfigError(problem) from error
    linked = LinkedFolder(folders)
    notes = linked.update()
    url = start(linked.path, options)
    for note in notes:
        log.warning("%s", note)
    log.info("runs    %s", describe(linked))
    log.info("open    %s?smoothing=0    (Ctrl-C ends it)", url)
    log.info("        smoothing above 0 hides cliffs")
    with contextlib.suppress(KeyboardInterrupt):
        follow(linked, {*notes})
    return notes


def follow(linked: "LinkedFolder", earlier: set[Problem]) -> None:
    """Keep the links up to date for good, and tell each thing that is wrong once."""
    pause = EVERY
    while True:
        time.sleep(pause)
        began = time.monotonic()
        try:
            notes = linked.update()
        except GptexpError as error:
            notes = [*error.problems]
        for note in notes:
            if note not in earlier:
                log.warning("%s", note)
        earlier.update(notes)
        pause = max(EVERY, SHARE * (time.monotonic() - began))


def start(folder: Path, options: Sequence[str]) -> str:
    """The address of a TensorBoard of this process, which ends with it; raises ConfigError."""
    from tensorboard import program

    output = io.StringIO()  # what it says of itself at each start, and why it refuses an option
    try:
        with contextlib.redirect_stderr(output):
            board = program.TensorBoard()
            board.configure(["", *options, f"--logdir={folder}"])
            return board.launch()
    except program.TensorBoardServerException as error:
        problem = Problem("--port", error.msg, "another one, or leave it out")
        raise ConfigError(problem) from error
    except (SystemExit, ValueError) as error:
        what = (output.getvalue().strip() or str(error)).splitlines()[-1]
        raise ConfigError(Problem("tensorboard", what, "see tensorboard --help")) from error


def describe(linked: "LinkedFolder") -> str:
    """The runs in words, with those that TensorBoard has nothing of."""
    lacking = linked.without_events()
    words = plural(len(linked.runs), "run")
    if lacking:
        words += f", {lacking} without event files: gptexp export RUN --to tensorboard writes them"
    return f"{words}; links in {linked.path}"
