"""Where curves and samples go: metrics.jsonl and samples.jsonl always, dashboards if wanted.

The two files are the truth, and trouble with them ends the run. Dashboards work in the background,
and whatever happens to them, training goes on.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gptexp.config import LoggerConfig
from gptexp.errors import EXIT_BUG, EXIT_INTERRUPTED, GptexpError
from gptexp.inference.probe import Probe
from gptexp.runs.journal import Journal, Sample, Samples, rewind
from gptexp.runs.lines import Lines
from gptexp.tracking import background
from gptexp.tracking.background import Background
from gptexp.tracking.choose import open_dashboards
from gptexp.tracking.dashboard import FinalResult, Histograms, RunInfo


class Tracker:
    """Takes every curve and sample, and tells the journals and all dashboards."""

    def __init__(self, folder: Path, dashboards: Sequence[Background]) -> None:
        self.metrics = Journal(folder / "metrics.jsonl")
        self.samples = Journal(folder / "samples.jsonl")
        self.dashboards = dashboards

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.metrics.close()
        self.samples.close()
        self._tell("close", exit_code(error))
        deadline = time.monotonic() + background.FINISH
        for dashboard in self.dashboards:
            dashboard.finished(deadline)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one line of metrics.jsonl, and one point of each curve."""
        line: dict[str, Any] = {"step": step, **values}
        self.metrics.write(line)
        self._tell("scalars", line)

    def sample(self, sample: Sample, probe: Probe) -> None:
        """Write a sample; show with it how the model read it, in pictures that no file holds."""
        self.samples.write(asdict(sample))
        self._tell("sample", sample)
        self._tell("probe", probe)

    def histograms(self, histograms: Histograms) -> None:
        """Show histograms, which no file holds."""
        self._tell("histograms", histograms)

    def final(self, final: FinalResult) -> None:
        """Write and show what the run came to; summary.json lacks the sample and the pictures."""
        if final.sample.step not in (line["step"] for line in Lines(self.samples.path)):
            self.samples.write(asdict(final.sample))
        self._tell("final", final)

    def flush(self) -> None:
        """Bring all that was logged to the disk, before a checkpoint says that it happened."""
        self.metrics.sync()
        self.samples.sync()
        self._tell("flush")

    def _tell(self, method: str, *arguments: object) -> None:
        for dashboard in self.dashboards:
            dashboard.tell(method, *arguments)


class NoTracker(Tracker):
    """Tells nobody: of a process that trains along, where another one writes."""

    def __init__(self) -> None:
        self.dashboards = ()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        pass

    def flush(self) -> None:
        pass


def open_tracker(
    cfg: LoggerConfig,
    folder: Path,
    config: dict[str, Any],
    resume_step: int | None,
    label: str = "",
) -> Tracker:
    """Begin, or go on after `resume_step`: later lines, and a torn last one, are taken out.

    Dashboards show `config`, the run's in plain values, and `label`, which tells it from others.
    """
    lines = rewind(folder / "metrics.jsonl", resume_step)
    samples = Samples(rewind(folder / "samples.jsonl", resume_step))
    info = RunInfo(folder, config["name"], config, resume_step, lines, samples, label=label)
    return Tracker(folder, open_dashboards(cfg, info))


def exit_code(error: BaseException | None) -> int:
    """The exit code of the command, once `error` has left it."""
    match error:
        case None:
            return 0
        case GptexpError():
            return error.exit_code
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
    return EXIT_BUG
