"""What a run leaves for TensorBoard: curves, samples, pictures, hyper-parameters, layout."""

import dataclasses
import json
import logging
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import (
    PNG,
    event_file,
    events,
    expected_curves,
    images,
    sample_lines,
    scalars,
    texts,
    values,
)
from interruptions import Small, before
from small_runs import put, summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from gptexp.experiment.run import run_experiment
from gptexp.inference.probe import Probe, probe_model
from gptexp.runs.journal import Sample
from gptexp.runs.summary import scalars as final_scalars
from gptexp.tracking.dashboard import FinalResult, RunInfo
from gptexp.tracking.tensorboard import TensorBoard
from gptexp.training import trainer
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")

ONCE: dict[str, Path] = {}  # a run that several tests look at


@pytest.fixture
def run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with two layers, a test split and samples at steps 6 and 12."""
    if "run" not in ONCE:
        config = small("logger=tensorboard", "model.n_layer=2", "data.test_fraction=0.1")
        outcome = run_experiment(config, tmp_path_factory.mktemp("boards"))
        assert outcome.state == "done"
        assert outcome.directory is not None
        ONCE["run"] = outcome.directory
    return ONCE["run"]


def test_every_curve_is_on_the_board_over_steps_tokens_and_epochs(run: Path) -> None:
    shown = {tag: points for tag, points in scalars(run).items() if not tag.startswith("final/")}
    assert shown == expected_curves(run)
    names = {"loss", "lr", "grad_norm", "tokens_per_second", "eval_loss"}
    assert {f"train/{name}" for name in names} | {"val/loss", "val/bpb", "val/stderr"} < set(shown)
    tokens = [step for step, _ in shown["by_tokens/val_loss"]]
    assert tokens == [0, 128, 256, 384], "4 sequences of 8 a step, at steps 0, 4, 8 and 12"
    epochs = [step for step, _ in shown["by_milliepochs/val_loss"]]
    assert epochs == sorted(set(epochs)) and epochs[-1] == round(1000 * summary(run)["epochs"])
    for points in shown.values():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps))


def test_what_a_run_came_to_is_on_the_board(run: Path) -> None:
    of_summary = final_scalars(json.loads((run / "summary.json").read_text()))
    shown = {tag: points for tag, points in scalars(run).items() if tag.startswith("final/")}
    assert shown == {tag: [(12, float(np.float32(v)))] for tag, v in of_summary.items()}
    assert {"final/test_loss", "final/best_val_loss", "final/params", "final/flops"} < set(shown)


def test_samples_are_texts(run: Path) -> None:
    def shown(text: str) -> str:
        return "".join(f"    {line}\n" for line in text.split("\n"))

    found = texts(run)
    best = summary(run)["best"]["step"]
    lines = sample_lines(run)
    assert found["sample/text_summary"] == [(s, shown(t)) for s, t in lines if s in (6, 12)]
    assert found["final/sample/text_summary"] == [(12, shown(summary(run)["sample"]))]
    assert best in [step for step, _ in lines]


def test_pictures_are_png_files_of_each_layer_and_of_the_next_token(run: Path) -> None:
    found = images(run)
    steps = {tag: [step for step, _ in pictures] for tag, pictures in found.items()}
    names = ["attention/layer_1", "attention/layer_2", "next_token"]
    best = summary(run)["best"]["step"]
    assert steps == {name: [6, 12] for name in names} | {f"final/{n}": [best] for n in names}
    assert all(data.startswith(PNG) for pictures in found.values() for _, data in pictures)


def test_the_layout_puts_training_and_validation_in_one_chart(run: Path) -> None:
    [(_, value)] = values(run, "tensor")["custom_scalars__config__"]
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"
    page = layout_pb2.Layout.FromString(tensor_util.make_ndarray(value.tensor).item())
    charts = [list(chart.multiline.tag) for category in page.category for chart in category.chart]
    assert charts == [
        ["train/eval_loss", "val/loss"],
        ["by_tokens/train_loss", "by_tokens/val_loss"],
        ["by_milliepochs/train_loss", "by_milliepochs/val_loss"],
    ]
    assert {tag for chart in charts for tag in chart} < set(scalars(run))


def session(run: Path) -> tuple[Any, Any]:
    """Hyper-parameters and the status of the end, which no file but the run's own may hold."""
    assert [path.name for path in run.iterdir() if path.is_dir()] == ["checkpoints"]
    assert list(run.parents[1].rglob("events.*")) == [event_file(run)]
    found = values(run, "tensor")
    [(_, start)] = found[hparams.SESSION_START_INFO_TAG]
    [(_, end)] = found[hparams.SESSION_END_INFO_TAG]
    info = hparams.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
    status = hparams.parse_session_end_info_plugin_data(end.metadata.plugin_data.content).status
    return dict(info.hparams), status


def test_what_can_change_a_result_and_a_good_end_are_hyperparameters_of_the_run_itself(
    run: Path,
) -> None:
    given, status = session(run)
    assert status == api_pb2.STATUS_SUCCESS
    assert given["model.n_embd"].number_value == 16
    assert given["optim.lr"].number_value == 1e-3
    assert given["model.norm"].string_value == "layernorm"
    assert given["init_from"].string_value == "null"
    assert given["model.bias"].bool_value is True
    assert not {"name", "rerun", "logger.tags"} & set(given)  # these change no result


@pytest.mark.parametrize(("how", "code"), [("diverges", 3), ("interrupted", 143)])
def test_a_run_that_does_not_end_well_is_a_failure(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    config = small("logger=tensorboard")
    if how == "diverges":
        put(config, "optim.lr", 1e30)
    else:

        def interrupt(self: Trainer) -> None:
            if self.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        before(Trainer, "train_step", interrupt, monkeypatch)
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.exit_code == code
    assert session(outcome.directory)[1] == api_pb2.STATUS_FAILURE
    assert scalars(outcome.directory) == expected_curves(outcome.directory)


def test_a_model_without_attention_has_no_pictures_of_it(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*arguments: Any) -> Probe:
        return dataclasses.replace(probe_model(*arguments), attention=[])

    monkeypatch.setattr(trainer, "probe_model", without)
    run = run_experiment(small("logger=tensorboard"), tmp_path / "outputs").directory
    assert set(images(run)) == {"next_token", "final/next_token"}


def test_nan_and_infinity_are_points_of_their_own(tmp_path: Path) -> None:
    board = TensorBoard(RunInfo(tmp_path, "group", {}, None, [], []))
    board.scalars({"step": 3, "tokens": 9, "epoch": 0.5, "val/loss": math.nan, "x/y": -math.inf})
    board.scalars({"step": 6, "val/loss": None, "x/y": None, "nonfinite": {"val/loss": "nan"}})
    board.close(0)
    assert scalars(tmp_path) == {
        "val/loss": [(3, "nan"), (6, "nan")],
        "x/y": [(3, -math.inf)],
        "by_tokens/val_loss": [(9, "nan")],
        "by_milliepochs/val_loss": [(500, "nan")],
    }


def test_the_board_can_be_read_while_the_run_goes_on(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each checkpoint brings what was logged before it to the disk."""
    seen: list[int] = []

    def watch(self: Trainer) -> None:
        if self.step == 9:
            deadline = time.monotonic() + 30
            while len(seen) < 3 and time.monotonic() < deadline:
                found = list(tmp_path.rglob("events.*"))
                seen[:] = (
                    [s for s, _ in scalars(found[0].parent).get("val/loss", [])] if found else []
                )
                time.sleep(0.01)

    before(Trainer, "train_step", watch, monkeypatch)
    run_experiment(small("logger=tensorboard"), tmp_path)
    assert seen == [0, 4, 8]


def test_F4_event_files_that_vanish_are_one_warning_and_the_run_is_done(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gone = []

    def remove(self: Trainer) -> None:
        if self.step == 5:
            deadline = time.monotonic() + 30
            while not (found := list(tmp_path.rglob("events.*"))):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            gone.extend(found)
            for path in found:
                path.unlink()

    before(Trainer, "train_step", remove, monkeypatch)
    caplog.set_level(logging.INFO, "gptexp")
    outcome = run_experiment(small("logger=tensorboard"), tmp_path)
    assert outcome.state == "done" and len(gone) == 1
    [warning] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning.startswith("TensorBoard failed: FileNotFoundError: ")
    assert warning.endswith("; it is switched off, and the run goes on")
    assert str(gone[0]) in warning
    assert not list(tmp_path.rglob("events.*"))


def test_a_board_in_an_unwritable_folder_is_one_warning(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name.startswith("events."):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    outcome = run_experiment(small("logger=tensorboard"), tmp_path)
    assert outcome.state == "done"
    [warning] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning.startswith("TensorBoard failed: PermissionError: ")


def test_every_event_has_a_time_and_the_first_ones_say_what_the_file_is(run: Path) -> None:
    found = events(run)
    assert found[0].file_version == "brain.Event:2"
    assert found[1].HasField("session_log")
    times = [event.wall_time for event in found]
    assert times == sorted(times) and times[0] > 1e9


def test_a_final_without_pictures_and_checkpoint_is_fine(run: Path, tmp_path: Path) -> None:
    board = TensorBoard(RunInfo(tmp_path, "group", {}, None, [], []))
    sample = Sample(3, "a", 1.0, None, 0, "b\nc")
    board.final(FinalResult(7, {"final/params": 3.0}, sample, None, None))
    board.close(0)
    assert scalars(tmp_path) == {"final/params": [(7, 3.0)]}
    assert texts(tmp_path) == {"final/sample/text_summary": [(7, "    ab\n    c\n")]}
