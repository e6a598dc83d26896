"""Pages followed to the letter: their blocks, and a checkout in which to do what they say."""

import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

from small_runs import ROOT

BLOCK = re.compile(
    r"^(?:`(?P<file>[^`\n]+)`(?:, (?P<words>[^\n]+))?:\n\n)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block, with what the line above it says: whose text it is, and which place in it."""

    file: str | None
    words: str | None
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """What a person types: all up to the first empty line."""
        return re.sub(r"\\\n *", "", self.text.partition("\n\n")[0]).splitlines()

    @property
    def shown(self) -> list[str]:
        """What the page says that comes of it; `...` stands for lines that are left out."""
        return self.text.partition("\n\n")[2].splitlines()


def blocks(page: str) -> list[Block]:
    return [Block(**found.groupdict()) for found in BLOCK.finditer(page)]


def commands(page: str) -> list[str]:
    """The lines of a page that train or look at runs, each as one line without its comment."""
    typed = [re.sub(r"\\\n *", "", block.text) for block in blocks(page) if not block.file]
    return [
        shlex.join(shlex.split(line.partition(" > ")[0], comments=True))
        for line in re.findall(r"^(?:\$ )?((?:python run\.py|gptexp) .*)$", "\n".join(typed), re.M)
    ]


def copied(folder: Path) -> Path:
    """A copy of what `pip install -e .` and `python run.py` need, in a new folder."""
    for name in ("gptexp", "conf", "hydra_plugins", "sweeps"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "run.py", folder)
    return folder
