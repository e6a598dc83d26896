"""Small runs and what they leave: settings, journals, digests."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gptexp import assets
from gptexp.config import Config
from gptexp.data.load import load_corpus
from gptexp.errors import GptexpError
from gptexp.tokenizers.base import Tokenizer

ROOT = Path(__file__).resolve().parents[2]


CONF = ROOT / "conf"


# The options of each group, so that a new file is tested by itself.
CHOICES = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "sweeps"
}


SHIPPED = [f"{group}={name}" for group in ("model", "experiment") for name in CHOICES[group]]


TIME_FIELDS = ("seconds", "train/tokens_per_second", "train/mfu")  # exempt from bitwise equality


# A run of about a tenth of a second: two updates between evaluations, dropout on.
SMALL = [
    "data=text",
    "logger=none",
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_embd=16",
    "model.block_size=8",
    "model.dropout=0.1",
    "schedule.warmup_steps=2",
    "trainer.max_steps=12",
    "trainer.batch_size=4",
    "trainer.eval_interval=4",
    "trainer.log_interval=3",
    "trainer.sample_interval=6",
    "trainer.sample_tokens=8",
    "trainer.device=cpu",
]


# A problem, without the prefix that the screen puts before it.
ONE_LINE = re.compile(r"(?P<key>.+?): (?P<what>.+[^.])[.?] Fix: (?P<fix>.+)")


class Result(NamedTuple):
    """What a command left: exit code, output, and the errors without their prefix."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of standard error, each of which must be one well-formed problem."""
        prefix = "gptexp: error: "
        lines = self.err.splitlines()
        assert all(line.startswith(prefix) for line in lines), self.err
        return [line.removeprefix(prefix) for line in lines]


def cached(asset: str, command: str) -> str:
    """The text of an asset, or the test is skipped."""
    if not (assets.cache_folder() / assets.known(asset).filename).exists():
        pytest.skip(f"{asset} is not in the cache; `{command}` puts it there")
    return assets.read(asset).decode()


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the fields of time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIME_FIELDS} for line in lines]


def samples(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, Any]:
    """summary.json without the fields of time, and with the config's hash for the config.

    Equal runs may differ in where their text lies, and in keys that are not hashed. The digests of
    the journals, and the seal, are over times too.
    """
    values = json.loads((run / "summary.json").read_text())
    return {k: v for k, v in values.items() if k not in (*TIME_FIELDS, "config", "files", "seal")}


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text())


def last_step(run: Path) -> int:
    """The step of the newest checkpoint."""
    return json.loads((run / "checkpoints/last.json").read_text())["step"]


def weights(run: Path) -> str:
    """Digest of a finished run's last weights."""
    return summary(run)["final"]["weights_sha256"]


def erase(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def tokenizer_of(config: Config) -> Tokenizer:
    return load_corpus(config.data, config.tokenizer, config.model.block_size).tokenizer


def put(config: Config, key: str, value: Any) -> Config:
    """Set one key of the typed config, as `key=value` on the command line would."""
    *sections, field = key.split(".")
    setattr(getattr(config, sections[0]) if sections else config, field, value)
    return config


def problem_lines(error: GptexpError) -> list[str]:
    """Each problem as the line that a person reads."""
    return [str(problem) for problem in error.problems]


def refusal(call: Callable[..., object], *arguments: object) -> str:
    """The problems that the call raises, a line each, all well-formed."""
    with pytest.raises(GptexpError) as caught:
        call(*arguments)
    lines = problem_lines(caught.value)
    assert all(ONE_LINE.fullmatch(line) for line in lines), lines
    return "\n".join(lines)


def only(lines: list[str]) -> str:
    assert len(lines) == 1, lines
    return lines[0]
