"""Terminals in which a person types: a shell each, which keeps its variables."""

import os
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

SECONDS = 600  # for whatever is typed at once
MARK = "\x1e"  # with the exit code, behind what a command says
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A shell in `folder`; with `size`, lines and columns, its output goes to a terminal."""

    def __init__(
        self, folder: Path, environment: dict[str, str], size: tuple[int, int] | None = None
    ) -> None:
        self.output, shown = os.openpty() if size else os.pipe()
        if size:
            termios.tcsetwinsize(shown, size)
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=shown,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        os.close(shown)

    def type(self, commands: list[str]) -> None:
        """Begin with the commands, one after another."""
        assert self.shell.stdin is not None
        for command in commands:
            self.shell.stdin.write(f"{command}\nprintf '{MARK}%d{MARK}' $?\n")
        self.shell.stdin.flush()
        self.waiting = len(commands)

    def answers(self) -> tuple[list[int], str]:
        """The exit codes of what was typed, and all that it said, once it is over."""
        said, deadline = b"", time.monotonic() + SECONDS
        while said.count(MARK.encode()) < 2 * self.waiting:
            ready, _, _ = select.select([self.output], [], [], deadline - time.monotonic())
            assert ready, f"nothing more after {said[-2000:].decode(errors='replace')}"
            said += os.read(self.output, 1 << 16)
        words = ESCAPES.sub("", said.decode()).split(MARK)
        return [int(code) for code in words[1::2]], "".join(words[::2])

    def close(self) -> None:
        os.killpg(self.shell.pid, signal.SIGKILL)  # with what it may still run
        self.shell.wait()
        os.close(self.output)
