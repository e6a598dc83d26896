"""Where curves and samples go: metrics.jsonl and samples.jsonl always, dashboards as mirrors.

The two files are the truth, and trouble with them ends the run. A mirror that fails is dropped with
one warning, and training goes on.
"""

import contextlib
import json
import logging
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from gptexp.config import LoggerConfig
from gptexp.files import storage_errors, write_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One generated text and all that is needed to generate it again from that step's weights."""

    step: int
    prompt: str
    temperature: float
    top_k: int | None
    seed: int
    text: str  # what follows the prompt


class Mirror(Protocol):
    """A dashboard."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...

    def sample(self, sample: Sample) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Tracking:
    """One call for every curve and sample, whoever listens."""

    def __init__(self, folder: Path, mirrors: list[Mirror]) -> None:
        self.metrics = Journal(folder / "metrics.jsonl")
        self.samples = Journal(folder / "samples.jsonl")
        self.mirrors = mirrors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._each_mirror("close")
        self.metrics.close()
        self.samples.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl, and one point of each curve."""
        self.metrics.write({"step": step, **values})
        self._each_mirror("scalars", step, values)

    def sample(self, sample: Sample) -> None:
        self.samples.write(asdict(sample))
        self._each_mirror("sample", sample)

    def flush(self) -> None:
        """Bring all that was logged to the disk, before a checkpoint says that it happened."""
        self.metrics.sync()
        self.samples.sync()
        self._each_mirror("flush")

    def _each_mirror(self, method: str, *arguments: object) -> None:
        for mirror in list(self.mirrors):
            try:
                getattr(mirror, method)(*arguments)
            except Exception as error:  # whatever a dashboard does must not end the run
                self.mirrors.remove(mirror)
                name = type(mirror).__name__
                log.warning("%s failed and is switched off: %s", name, error)


class Journal:
    """Lines of JSON, each flushed as it is written, so that a kill tears at most the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            self.file = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """One line; NaN and infinities, for which JSON has no word, become null with a flag."""
        line = json.dumps(_finite(values), ensure_ascii=False, allow_nan=False)
        with storage_errors(self.path):
            self.file.write(line + "\n")
            self.file.flush()

    def lines(self) -> list[dict[str, Any]]:
        return read_journal(self.path)

    def sync(self) -> None:
        with storage_errors(self.path):
            os.fsync(self.file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # each line was flushed, so none is lost here
            self.file.close()


def open_tracking(cfg: LoggerConfig, folder: Path, resume_step: int | None) -> Tracking:
    """Begin, or go on after `resume_step`: later lines, and a torn last one, are taken out."""
    for name in ("metrics.jsonl", "samples.jsonl"):
        kept = [] if resume_step is None else read_journal(folder / name)
        lines = [line for line in kept if line["step"] <= (resume_step or 0)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(folder / name, text)
    mirrors: list[Mirror] = []
    if cfg.tensorboard:
        mirrors += _open_tensorboard(folder, resume_step)
    return Tracking(folder, mirrors)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal, in order; a torn one is left out, a missing file is empty."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.split("\n"):  # a sample may hold what splitlines takes for a line break
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("step"), int):
            lines.append(value)
    return lines


class TensorBoard:
    """Event files in the run directory: `tensorboard --logdir outputs`."""

    def __init__(self, folder: Path, resume_step: int | None) -> None:
        from torch.utils.tensorboard import (
            SummaryWriter,
        )  # a second to import; not all runs want it

        purge = None if resume_step is None else resume_step + 1
        self.writer = SummaryWriter(str(folder), purge_step=purge)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        curves = {name: value for name, value in values.items() if "/" in name}
        for name, value in curves.items():
            self.writer.add_scalar(name, value, step)

    def sample(self, sample: Sample) -> None:
        text = "".join(f"    {line}\n" for line in (sample.prompt + sample.text).split("\n"))
        self.writer.add_text("sample", text, sample.step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def _open_tensorboard(folder: Path, resume_step: int | None) -> list[Mirror]:
    try:
        if resume_step is None:
            for stale in folder.glob("events.out.tfevents.*"):
                stale.unlink()
        return [TensorBoard(folder, resume_step)]
    except Exception as error:  # a broken installation of a dashboard must not end the run
        log.warning("TensorBoard failed and is switched off: %s", error)
        return []


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    bad = [k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)]
    if not bad:
        return values
    flags = {"nonfinite": {key: str(values[key]) for key in bad}}
    return {**values, **dict.fromkeys(bad), **flags}
