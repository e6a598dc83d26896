"""What the event files of a run hold: for tests of TensorBoard."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from small_runs import TIME_FIELDS
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from gptexp.runs.journal import curves, read_journal

PNG = b"\x89PNG\r\n\x1a\n"
TIME_TAGS = {*TIME_FIELDS, "final/seconds"}

Curves = dict[str, list[tuple[int, Any]]]


def event_file(run: Path) -> Path:
    """The one there is."""
    [path] = run.glob("events.out.tfevents.*")
    return path


def events(run: Path) -> list[Any]:
    return list(LegacyEventFileLoader(str(event_file(run))).Load())


def values(run: Path, kind: str) -> Curves:
    """What a board holds of one kind, in the order of the file."""
    found: Curves = defaultdict(list)
    for event in events(run):
        for value in event.summary.value:
            if value.WhichOneof("value") == kind:
                found[value.tag].append((event.step, value))
    return dict(found)


def scalars(run: Path) -> Curves:
    """Each curve's points; NaN as a string, since it equals nothing."""
    return {
        tag: [(step, comparable(value.simple_value)) for step, value in points]
        for tag, points in values(run, "simple_value").items()
    }


def texts(run: Path) -> Curves:
    """Each text without the Markdown that shows every line as it is."""
    found = values(run, "tensor")
    return {
        tag: [
            (step, plain(tensor_util.make_ndarray(v.tensor).item().decode())) for step, v in points
        ]
        for tag, points in found.items()
        if tag.endswith("text_summary")
    }


def plain(markdown: str) -> str:
    lines = markdown.split("\n")
    assert lines.pop() == "" and all(line.startswith("    ") for line in lines)
    return "\n".join(line[4:] for line in lines)


def images(run: Path) -> Curves:
    return {
        tag: [(step, value.image.encoded_image_string) for step, value in points]
        for tag, points in values(run, "image").items()
    }


def histograms(run: Path) -> Curves:
    """Edges and counts of each."""
    return {
        tag: [
            (step, ([v.histo.min, *v.histo.bucket_limit], list(v.histo.bucket)))
            for step, v in points
        ]
        for tag, points in values(run, "histo").items()
    }


def ends(run: Path) -> list[int]:
    """The status of each end that is written; readers show the first that they find."""
    found = values(run, "tensor")[hparams.SESSION_END_INFO_TAG]
    contents = [value.metadata.plugin_data.content for _, value in found]
    return [hparams.parse_session_end_info_plugin_data(content).status for content in contents]


def board(run: Path, pictures: bool = True) -> tuple[Any, ...]:
    """All that a board shows, but for times, whose steps alone count."""
    shown = scalars(run)
    timed = {tag: [step for step, _ in shown.pop(tag)] for tag in TIME_TAGS & shown.keys()}
    return shown, timed, texts(run), images(run) if pictures else None


def comparable(value: float) -> float | str:
    return str(value) if math.isnan(value) else float(np.float32(value))


def expected_curves(run: Path) -> Curves:
    """Each curve of metrics.jsonl as a board should show it, over steps, tokens and epochs."""
    found: Curves = defaultdict(list)
    for line in read_journal(run / "metrics.jsonl"):
        for tag, value in curves(line).items():
            found[tag].append((line["step"], comparable(value)))
        for tag, name in {"train/eval_loss": "train_loss", "val/loss": "val_loss"}.items():
            if tag in line:
                value = comparable(curves(line)[tag])
                found[f"by_tokens/{name}"].append((line["tokens"], value))
                thousandths = round(1000 * line["epoch"])
                found[f"by_milliepochs/{name}"].append((thousandths, value))
    return dict(found)


def sample_lines(run: Path) -> list[tuple[int, str]]:
    """Step and whole text of each sample."""
    lines = (run / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    return [(s["step"], s["prompt"] + s["text"]) for s in map(json.loads, filter(None, lines))]
