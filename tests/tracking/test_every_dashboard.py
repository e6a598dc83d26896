"""What every dashboard holds to: told the same, each shows it once, and none raises."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import event_files
import numpy as np
import pytest
import wandb_runs
from fake_dashboards import Fake
from PIL import Image
from tensorboard.plugins.hparams import api_pb2

from gptexp.config import LoggerConfig
from gptexp.inference.probe import Probe
from gptexp.runs.journal import Journal, Sample, rewind
from gptexp.tracking import pictures
from gptexp.tracking.choose import openers
from gptexp.tracking.dashboard import Dashboard, FinalResult, Histogram, Histograms, RunInfo

Curves = dict[str, list[tuple[int, Any]]]
Open = Callable[[RunInfo], Dashboard]

LINES: list[dict[str, Any]] = [
    {"step": 0, "tokens": 0, "epoch": 0.0, "seconds": 0.0, "val/loss": 4.0, "train/eval_loss": 4.0},
    {"step": 1, "train/loss": 4.25, "train/lr": 0.5},
    {"step": 2, "train/loss": math.inf, "train/lr": -math.inf},
    {"step": 4, "tokens": 128, "epoch": 0.5, "seconds": 1.5, "val/loss": math.nan},
    {"step": 5, "train/loss": math.nan, "train/lr": 0.25},
    {"step": 8, "tokens": 256, "epoch": 1.0, "seconds": 2.5, "val/loss": 3.0, "val/bpb": 4.5},
]
SAMPLES = [
    Sample(step, "\n", 0.8, None, 1, f"to be\n\n  or not\x85 {step} é") for step in (4, 6, 8)
]
ATTENTION = np.tril(np.full((2, 3, 3), 0.25, dtype=np.float32))
VALUES = {"final/best_val_loss": 3.0, "final/params": 12.0}


def probe(step: int, layers: int) -> Probe:
    likely = {t: np.array([0.75, 0.25], dtype=np.float32) for t in (0.5, 1.0)}
    return Probe(step, ["↵", "a", "b"], [ATTENTION] * layers, ["a", "b"], likely)


HISTOGRAMS = [
    Histograms(step, {"weights/mlp": Histogram(-0.5, 1.5, [1, 0, step, 2])}) for step in (2, 6)
]
PROBES = [probe(4, layers=2), probe(8, layers=0)]  # the latter of a model without attention


@dataclass
class Shown:
    """What a dashboard shows of a run."""

    curves: Curves = field(default_factory=dict)  # NaN as a word, since it equals nothing
    samples: list[tuple[int, str]] = field(default_factory=list)
    pictures: Curves = field(default_factory=dict)  # their pixels
    histograms: Curves = field(default_factory=dict)  # edges and counts
    values: dict[str, float] = field(default_factory=dict)  # final/...
    well: bool = True  # how it ended

    def tell(self, method: str, told: Any) -> None:
        """Show what a dashboard is told by a call of one of its methods."""
        match method, told:
            case "scalars", line:
                for name in (name for name in line if "/" in name):
                    value = "nan" if math.isnan(line[name]) else line[name]
                    self.curves.setdefault(name, []).append((line["step"], value))
            case "sample", sample:
                self.samples.append((sample.step, sample.prompt + sample.text))
            case "probe", seen:
                self.draw(seen)
            case "histograms", found:
                for name, one in found.by_name.items():
                    shape = (one.edges(), one.counts)
                    self.histograms.setdefault(name, []).append((found.step, shape))
            case "final", result:
                self.values |= result.values
                if result.sample.step not in dict(self.samples):
                    self.tell("sample", result.sample)
                if result.probe is not None:
                    self.draw(result.probe, "final/")
            case "close", exit_code:
                self.well = exit_code == 0

    def draw(self, seen: Probe, prefix: str = "") -> None:
        for name, picture in pictures.draw(seen).items():
            self.pictures.setdefault(prefix + name, []).append((seen.step, pixels(picture)))


def pixels(png: bytes) -> bytes:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.tobytes()


def seen_in(pictures: Curves) -> Curves:
    return {name: [(step, pixels(png)) for step, png in pictures[name]] for name in pictures}


def tensorboard(run: Path) -> Shown:
    scalars = event_files.scalars(run)
    texts = event_files.texts(run)
    [status] = event_files.ends(run)
    return Shown(
        curves={tag: scalars[tag] for tag in scalars if tag.startswith(("train/", "val/"))},
        samples=texts.get("sample/text_summary") or texts["final/sample/text_summary"],
        pictures=seen_in(event_files.images(run)),
        histograms=event_files.histograms(run),
        values={tag: scalars[tag][0][1] for tag in scalars if tag.startswith("final/")},
        well=status == api_pb2.STATUS_SUCCESS,
    )


def wandb(run: Path) -> Shown:
    """Of all its folders, one for each time that it was taken up."""
    shown = Shown()
    for folder in wandb_runs.offline_folders(run):
        found = wandb_runs.records(folder)
        for mine, more in (
            (shown.curves, wandb_runs.curves_of(found)),
            (shown.pictures, seen_in(wandb_runs.pictures_of(folder))),
            (shown.histograms, wandb_runs.histograms_of(found)),
        ):
            for name, points in more.items():
                mine.setdefault(name, []).extend(points)
        shown.samples += wandb_runs.sample_rows(folder)
        shown.values |= {k: v for k, v in wandb_runs.summary_of(found).items() if k in VALUES}
        shown.well = wandb_runs.of(found, "exit")[0].get("exit_code", 0) == 0
    return shown


FAKES: dict[Path, list[Fake]] = {}  # by run, as often as it was taken up


def fake(run: Path) -> Shown:
    shown = Shown()
    for name, arguments in (call for fake in FAKES[run] for call in fake.calls):
        shown.tell(name, *arguments or (None,))
    return shown


def open_fake(info: RunInfo) -> Fake:
    FAKES.setdefault(info.folder, []).append(Fake())
    return FAKES[info.folder][-1]


def chosen(name: str) -> Open:
    cfg = LoggerConfig(name="both", tensorboard=True, wandb=True)
    return lambda info: openers(cfg, info)[name]()


DASHBOARDS: dict[str, tuple[Open, Callable[[Path], Shown]]] = {
    "TensorBoard": (chosen("TensorBoard"), tensorboard),
    "W&B": (chosen("W&B"), wandb),
    "a fake": (open_fake, fake),
}


def events(after: int = -1, until: int = 8) -> list[tuple[str, Any]]:
    """What a tracker says of the steps after one and until another."""
    told: list[tuple[str, Any]] = []
    for step in range(after + 1, until + 1):
        told += [("scalars", line) for line in LINES if line["step"] == step]
        told += [("sample", sample) for sample in SAMPLES if sample.step == step]
        told += [("probe", seen) for seen in PROBES if seen.step == step]
        told += [("histograms", found) for found in HISTOGRAMS if found.step == step]
        told.append(("flush", None))
    return told


def final(run: Path) -> FinalResult:
    """Of a run whose best weights are those of step 4, whose sample is shown already."""
    checkpoint = run / "step-4.pt"
    checkpoint.write_bytes(b"weights")
    return FinalResult(8, VALUES, SAMPLES[0], probe(4, layers=1), checkpoint)


def journalled(until: int, folder: Path) -> list[dict[str, Any]]:
    """The lines up to a step as the journal gives them back: with null where JSON has no word."""
    journal = Journal(folder / "metrics.jsonl")
    for line in LINES:
        journal.write(line)
    journal.close()
    return rewind(journal.path, until)


def whole(run: Path) -> list[list[tuple[str, Any]]]:
    return [[*events(), ("final", final(run)), ("close", 0)]]


def resumed(run: Path) -> list[list[tuple[str, Any]]]:
    """Interrupted after step 4, and taken up from there."""
    return [
        [*events(until=4), ("close", 130)],
        [*events(after=4), ("final", final(run)), ("close", 0)],
    ]


def bare(_: Path) -> list[list[tuple[str, Any]]]:
    """The end alone, where neither pictures nor a checkpoint are at hand."""
    return [[("final", FinalResult(8, VALUES, SAMPLES[-1], None, None)), ("close", 0)]]


def failed(_: Path) -> list[list[tuple[str, Any]]]:
    return [[*events(), ("close", 3)]]


@pytest.mark.usefixtures("wandb_process")
@pytest.mark.parametrize("story", [whole, resumed, bare, failed])
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_dashboard_shows_what_it_is_told_once_and_raises_nothing(
    tmp_path: Path, name: str, story: Callable[[Path], list[list[tuple[str, Any]]]]
) -> None:
    open_it, shown_by = DASHBOARDS[name]
    info = RunInfo(tmp_path, "group", {"seed": 1}, None, [], [])
    expected = Shown()
    for told in story(tmp_path):
        dashboard = open_it(info)
        for method, argument in told:
            expected.tell(method, argument)
            getattr(dashboard, method)(*[argument] if argument is not None else [])
        info = replace(info, resume_step=4, lines=journalled(4, tmp_path), samples=SAMPLES[:1])
    assert shown_by(tmp_path) == expected


def test_every_dashboard_that_can_be_chosen_is_held_to_it() -> None:
    switches = {field.name: True for field in fields(LoggerConfig) if field.type is bool}
    cfg = LoggerConfig(name="all", **switches)
    assert {*openers(cfg, RunInfo(Path(), "", {}, None, [], [])), "a fake"} == set(DASHBOARDS)
