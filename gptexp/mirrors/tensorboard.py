"""Event files in the run directory: `tensorboard --logdir outputs`.

They are written with TensorBoard's own protocol and without torch's SummaryWriter, which takes a
second to import, adds a thread that prints tracebacks, and whose `add_hparams` makes a second run.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
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

from gptexp.insight import Insight
from gptexp.journal import Sample, curves
from gptexp.mirrors.mirror import Final, Story

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
    """A mirror in event files; a resume writes again what they lack."""

    def __init__(self, story: Story) -> None:
        self.folder = story.folder
        if story.resume_step is None:
            shown, restart = {}, None
        else:
            restart = story.resume_step + 1
            shown = read_steps(story.folder, restart)
        if has_holes(shown, story):
            shown, restart = {}, None
        if restart is None:
            for stale in story.folder.glob("events.out.tfevents.*"):
                stale.unlink()
        self.events = EventFile(story.folder)
        if restart is not None:
            # Readers drop what the files before this one hold from that step on, on every axis.
            self.events.add(step=restart, session_log=SessionLog(status=SessionLog.START))
        self.summary(0, hparams_pb(story.hyperparameters(), trial_id=story.folder.name))
        self.summary(0, layout())
        for line in story.lines:
            for tag, step, value in points(line):
                if step not in shown.get(tag, ()):
                    self.scalar(tag, step, value)
        for sample in story.samples:
            if sample.step not in shown.get(SAMPLE, ()):
                self.sample(sample)
        self.flush()

    def scalars(self, line: dict[str, Any]) -> None:
        for tag, step, value in points(line):
            self.scalar(tag, step, value)

    def scalar(self, tag: str, step: int, value: float) -> None:
        self.summary(step, Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def sample(self, sample: Sample) -> None:
        self.summary(sample.step, text(SAMPLE, sample.prompt + sample.text))

    def insight(self, insight: Insight, prefix: str = "") -> None:
        from gptexp import pictures  # matplotlib: half a second, and only here

        for name, data in pictures.draw(insight).items():
            image = Summary.Image(encoded_image_string=data)
            value = Summary.Value(tag=prefix + name, image=image)
            self.summary(insight.step, Summary(value=[value]))

    def final(self, final: Final) -> None:
        for tag, value in final.values.items():
            self.scalar(tag, final.step, value)
        sample = final.sample.prompt + final.sample.text
        self.summary(final.step, text("final/sample/text_summary", sample))
        if final.insight is not None:
            self.insight(final.insight, "final/")

    def summary(self, step: int, summary: Summary) -> None:
        self.events.add(step=step, summary=summary)

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

    def add(self, **fields: Any) -> None:
        self.records.write(Event(wall_time=time.time(), **fields).SerializeToString())

    def flush(self) -> None:
        """Raises FileNotFoundError when somebody removed the file, which writing would not."""
        self.file.flush()
        self.path.stat()

    def close(self) -> None:
        self.flush()
        self.file.close()


def points(line: dict[str, Any]) -> list[tuple[str, int, float]]:
    """What a line of metrics.jsonl puts on the board: tag, place on its axis, value."""
    values = curves(line)
    found = [(tag, line["step"], value) for tag, value in values.items()]
    for axis, (field, scale) in AXES.items():
        for tag, name in LOSSES.items():
            if tag in values and field in line:
                found.append((f"{axis}/{name}", round(line[field] * scale), values[tag]))
    return found


def read_steps(folder: Path, end: int) -> dict[str, set[int]]:
    """What the event files in `folder` show below `end`, by tag."""
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    board.Reload()
    tags = board.Tags()
    shown = {tag: {event.step for event in board.Scalars(tag)} for tag in tags["scalars"]}
    shown |= {tag: {event.step for event in board.Tensors(tag)} for tag in tags["tensors"]}
    return {tag: {step for step in steps if step < end} for tag, steps in shown.items()}


def has_holes(shown: dict[str, set[int]], story: Story) -> bool:
    """Whether a point is missing before one that is there: readers want each curve in order."""
    wanted = [(tag, step) for line in story.lines for tag, step, _ in points(line)]
    wanted += [(SAMPLE, sample.step) for sample in story.samples]
    last = {tag: max(steps) for tag, steps in shown.items() if steps}
    return any(step < last.get(tag, -1) and step not in shown[tag] for tag, step in wanted)


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
    """As Markdown that shows every line as it is."""
    return text_pb(tag, "".join(f"    {line}\n" for line in content.split("\n")))
