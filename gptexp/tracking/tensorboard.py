"""Event files in the run directory: `tensorboard --logdir outputs`.

They are written with TensorBoard's own protocol and without torch's SummaryWriter, which takes a
second to import, adds a thread that prints tracebacks, and whose `add_hparams` makes a second run.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from gptexp.inference.probe import Probe
from gptexp.runs.journal import Sample, curves
from gptexp.tracking import pictures
from gptexp.tracking.dashboard import FinalResult, RunInfo

# TensorBoard's axis counts in whole steps, so these curves have axes of their own.
AXES = {"by_tokens": ("tokens", 1), "by_milliepochs": ("epoch", 1000)}

LOSSES = {"train/eval_loss": "train_loss", "val/loss": "val_loss"}

CHARTS = {
    "training and validation": list(LOSSES),
    "by tokens": [f"by_tokens/{name}" for name in LOSSES.values()],
    "by thousandths of an epoch": [f"by_milliepochs/{name}" for name in LOSSES.values()],
}

SAMPLE = "sample/text_summary"


class TensorBoard:
    """A dashboard in one event file, which a resume writes anew.

    Over several files, some of TensorBoard's readers would double what was logged between the last
    checkpoint and a kill, and all would show the first end of the run that was written.
    """

    def __init__(self, info: RunInfo) -> None:
        old_files = sorted(info.folder.glob("events.out.tfevents.*"))
        old_events = {} if info.resume_step is None else read_events(old_files)
        self.times = {place: event.wall_time for place, event in old_events.items()}
        self.events = EventFile(info.folder)
        # A server that is running drops what it has read of the files before this one.
        self.events.add(step=0, session_log=SessionLog(status=SessionLog.START))
        self.summary(0, hparams_pb(info.hyperparameters(), trial_id=info.folder.name))
        self.summary(0, layout())
        for line in info.lines:
            self.scalars(line)
        for sample in info.samples:
            self.sample(sample)
        for event in images(old_events, info):
            self.events.write(event)
        self.flush()
        for path in old_files:
            path.unlink(missing_ok=True)

    def scalars(self, line: dict[str, Any]) -> None:
        for tag, step, value in points(line):
            self.scalar(tag, step, value)

    def scalar(self, tag: str, step: int, value: float) -> None:
        self.summary(step, Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def sample(self, sample: Sample) -> None:
        self.summary(sample.step, text(SAMPLE, sample.prompt + sample.text))

    def probe(self, probe: Probe, prefix: str = "") -> None:
        for name, data in pictures.draw(probe).items():
            image = Summary.Image(encoded_image_string=data)
            value = Summary.Value(tag=prefix + name, image=image)
            self.summary(probe.step, Summary(value=[value]))

    def final(self, final: FinalResult) -> None:
        for tag, value in final.values.items():
            self.scalar(tag, final.step, value)
        sample = final.sample.prompt + final.sample.text
        self.summary(final.step, text("final/sample/text_summary", sample))
        if final.probe is not None:
            self.probe(final.probe, "final/")

    def summary(self, step: int, summary: Summary) -> None:
        """Write values of one tag and step, with the time at which a former process wrote them."""
        when = self.times.get((summary.value[0].tag, step))
        self.events.add(when, step=step, summary=summary)

    def flush(self) -> None:
        self.events.flush()

    def close(self, exit_code: int) -> None:
        status = api_pb2.STATUS_SUCCESS if exit_code == 0 else api_pb2.STATUS_FAILURE
        self.summary(0, session_end(status))
        self.events.close()


class EventFile:
    """One event file, written in order; the caller owns the thread."""

    def __init__(self, folder: Path) -> None:
        now, host = time.time(), socket.gethostname()
        # The name by which TensorBoard finds and orders the files of one run.
        name = f"events.out.tfevents.{now:017.6f}.{host}.{os.getpid()}"
        self.path = folder / name
        self.file = self.path.open("xb")
        self.records = RecordWriter(self.file)
        self.add(file_version="brain.Event:2")

    def add(self, wall_time: float | None = None, **fields: Any) -> None:
        self.write(Event(wall_time=wall_time or time.time(), **fields))

    def write(self, event: Event) -> None:
        self.records.write(event.SerializeToString())

    def flush(self) -> None:
        """Flush the file; raises FileNotFoundError when it was removed, which writing would not."""
        self.file.flush()
        self.path.stat()

    def close(self) -> None:
        self.flush()
        self.file.close()


def points(line: dict[str, Any]) -> list[tuple[str, int, float]]:
    """The points that a line of metrics.jsonl makes: tag, place on its axis, value."""
    values = curves(line)
    placed = [(tag, line["step"], value) for tag, value in values.items()]
    for axis, (field, scale) in AXES.items():
        for tag, name in LOSSES.items():
            if tag in values and field in line:
                placed.append((f"{axis}/{name}", round(line[field] * scale), values[tag]))
    return placed


def read_events(paths: list[Path]) -> dict[tuple[str, int], Event]:
    """The values in event files, by tag and step, up to where each file is whole."""
    events = [event for path in paths for event in LegacyEventFileLoader(str(path)).Load()]
    return {(value.tag, event.step): event for event in events for value in event.summary.value}


def images(events: dict[tuple[str, int], Event], info: RunInfo) -> list[Event]:
    """The pictures that stay, which no journal holds: a run that goes on draws its end again."""
    last = -1 if info.resume_step is None else info.resume_step
    return [
        event
        for (tag, step), event in events.items()
        if event.summary.value[0].HasField("image")
        and step <= last
        and (info.over or not tag.startswith("final/"))
    ]


def layout() -> Summary:
    """Charts of the custom-scalars page that lay training and validation over each other."""
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
        for title, tags in CHARTS.items()
    ]
    page = layout_pb2.Layout(category=[layout_pb2.Category(title="losses", chart=charts)])
    value = Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=make_tensor_proto(page.SerializeToString()),
    )
    return Summary(value=[value])


def session_end(status: int) -> Summary:
    """The end of the run for the hyper-parameters page; its start is `hparams_pb`."""
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    value = Summary.Value(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(
            plugin_data_pb2.HParamsPluginData(session_end_info=end)
        ),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def text(tag: str, content: str) -> Summary:
    """A text summary: Markdown that shows every line of `content` as it is."""
    return text_pb(tag, "".join(f"    {line}\n" for line in content.split("\n")))
