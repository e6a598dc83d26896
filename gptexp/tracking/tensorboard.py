"""Event files in the run directory: `tensorboard --logdir outputs`.

They are written with TensorBoard's own protocol and without torch's SummaryWriter, which takes a
second to import, adds a thread that prints tracebacks, and whose `add_hparams` makes a second run.
"""

from collections import defaultdict
from typing import Any

from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from gptexp.inference.probe import Probe
from gptexp.runs.journal import Sample, curves
from gptexp.tracking import hparams, pictures
from gptexp.tracking.dashboard import FinalResult, Histograms, RunInfo
from gptexp.tracking.event_file import EventFile
from gptexp.tracking.past_events import PastEvents

# TensorBoard's axis counts in whole steps, so these curves have axes of their own.
AXES = {"by_tokens": ("tokens", 1), "by_milliepochs": ("epoch", 1000)}

LOSSES = {"train/eval_loss": "train_loss", "val/loss": "val_loss"}

CHARTS = {
    "by step": list(LOSSES),
    "by tokens": [f"by_tokens/{name}" for name in LOSSES.values()],
    "by thousandths of an epoch": [f"by_milliepochs/{name}" for name in LOSSES.values()],
}

CHART = "validation; the shade ends at training"

SAMPLE = "sample/text_summary"


class TensorBoard:
    """A dashboard in one event file, which a resume writes anew.

    Over several files, some of TensorBoard's readers would double what was logged between the last
    checkpoint and a kill, and all would show the first end of the run that was written.
    """

    def __init__(self, info: RunInfo) -> None:
        old_files = sorted(info.folder.glob("events.out.tfevents.*"))
        self.past = PastEvents([] if info.resume_step is None else old_files)
        self.events = EventFile(info.folder)
        # A server that is running drops what it has read of the files before this one.
        self.events.add(step=0, session_log=SessionLog(status=SessionLog.START))
        self.summary(0, hparams.session_start(info.config))
        self.summary(0, layout())
        for line in info.lines:
            self.scalars(line)
        for sample in info.samples:
            self.sample(sample)
        if info.resume_step is not None:  # a run that goes on draws its end again
            for event in self.past.drawn(info.resume_step, final=info.over):
                self.events.write(event)
        self.flush()
        for path in old_files:
            path.unlink(missing_ok=True)

    def scalars(self, line: dict[str, Any]) -> None:
        for place, values in points(line).items():
            self.values(place, values)

    def values(self, step: int, values: dict[str, float]) -> None:
        """One event with all of the values by their tags."""
        entries = [Summary.Value(tag=tag, simple_value=values[tag]) for tag in values]
        self.summary(step, Summary(value=entries))

    def sample(self, sample: Sample) -> None:
        self.summary(sample.step, text(SAMPLE, sample.prompt + sample.text))

    def probe(self, probe: Probe, prefix: str = "") -> None:
        for name, data in pictures.draw(probe).items():
            image = Summary.Image(encoded_image_string=data)
            value = Summary.Value(tag=prefix + name, image=image)
            self.summary(probe.step, Summary(value=[value]))

    def histograms(self, histograms: Histograms) -> None:
        for name, histogram in histograms.by_name.items():
            proto = HistogramProto(
                min=histogram.lowest,
                max=histogram.highest,
                num=sum(histogram.counts),
                bucket_limit=histogram.edges()[1:],
                bucket=histogram.counts,
            )
            value = Summary.Value(tag=name, histo=proto)
            self.summary(histograms.step, Summary(value=[value]))

    def final(self, final: FinalResult) -> None:
        if final.values:
            self.values(final.step, final.values)
        sample = final.sample.prompt + final.sample.text
        self.summary(final.step, text("final/sample/text_summary", sample))
        if final.probe is not None:
            self.probe(final.probe, "final/")

    def summary(self, step: int, summary: Summary) -> None:
        """Write values of one step, with the time at which a former process wrote the first."""
        when = self.past.when(summary.value[0].tag, step)
        self.events.add(when, step=step, summary=summary)

    def flush(self) -> None:
        self.events.flush()

    def close(self, exit_code: int) -> None:
        self.summary(0, hparams.session_end(exit_code))
        self.events.close()


def points(line: dict[str, Any]) -> dict[int, dict[str, float]]:
    """The points that a line of metrics.jsonl makes: values by tag, by their place on an axis."""
    values = curves(line)
    placed: dict[int, dict[str, float]] = defaultdict(dict)
    placed[line["step"]] |= values
    for axis, (field, scale) in AXES.items():
        for tag, name in LOSSES.items():
            if tag in values and field in line:
                placed[round(line[field] * scale)][f"{axis}/{name}"] = values[tag]
    return {place: by_tag for place, by_tag in placed.items() if by_tag}


def layout() -> Summary:
    """The custom-scalars page: a chart of validation for each axis, with a shade down to training.

    TensorBoard draws both losses of a run in one colour, and smooths lines but no such chart. It
    turns the charts of one category around, so each has its own.
    """
    categories = []
    for title, (train, val) in CHARTS.items():
        series = layout_pb2.MarginChartContent.Series(value=val, lower=train, upper=val)
        content = layout_pb2.MarginChartContent(series=[series])
        chart = layout_pb2.Chart(title=CHART, margin=content)
        categories.append(layout_pb2.Category(title=title, chart=[chart]))
    page = layout_pb2.Layout(category=categories)
    value = Summary.Value(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=make_tensor_proto(page.SerializeToString()),
    )
    return Summary(value=[value])


def text(tag: str, content: str) -> Summary:
    """A text summary: Markdown that shows every line of `content` as it is."""
    return text_pb(tag, "".join(f"    {line}\n" for line in content.split("\n")))
