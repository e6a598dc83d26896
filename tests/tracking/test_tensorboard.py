"""What TensorBoard shows beyond what every dashboard does: more axes, charts, the config."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import ends, event_file, events, expected_curves, scalars, texts, values
from interruptions import Small, before
from small_runs import summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.util import tensor_util

from gptexp.experiment.run import run_experiment
from gptexp.runs.summary import scalars as final_scalars
from gptexp.tracking.dashboard import RunInfo
from gptexp.tracking.tensorboard import TensorBoard
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick", "no_pictures")

ONCE: dict[str, Path] = {}  # a run that several tests look at


@pytest.fixture
def run(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a test split."""
    if "run" not in ONCE:
        config = small("logger=tensorboard", "data.test_fraction=0.1")
        outcome = run_experiment(config, tmp_path_factory.mktemp("boards"))
        assert outcome.state == "done"
        assert outcome.path is not None
        ONCE["run"] = outcome.path
    return ONCE["run"]


def test_every_curve_is_on_the_board_over_steps_tokens_and_epochs(run: Path) -> None:
    shown = {tag: points for tag, points in scalars(run).items() if not tag.startswith("final/")}
    assert shown == expected_curves(run)
    names = {"loss", "lr", "grad_norm", "tokens_per_second", "mfu", "eval_loss"}
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
    assert texts(run)["final/sample/text_summary"] == [(12, summary(run)["sample"])]


def test_the_layout_draws_validation_with_a_shade_that_ends_at_training(run: Path) -> None:
    [(_, value)] = values(run, "tensor")["custom_scalars__config__"]
    assert value.metadata.plugin_data.plugin_name == "custom_scalars"
    page = layout_pb2.Layout.FromString(tensor_util.make_ndarray(value.tensor).item())
    charts = [chart for category in page.category for chart in category.chart]
    series = [(one.value, one.upper, one.lower) for c in charts for one in c.margin.series]
    assert series == [
        ("val/loss", "val/loss", "train/eval_loss"),
        ("by_tokens/val_loss", "by_tokens/val_loss", "by_tokens/train_loss"),
        ("by_milliepochs/val_loss", "by_milliepochs/val_loss", "by_milliepochs/train_loss"),
    ]
    assert {tag for tags in series for tag in tags} < set(scalars(run))


def hyperparameters(run: Path) -> dict[str, Any]:
    """Those that the run's only event file holds."""
    assert [path.name for path in run.iterdir() if path.is_dir()] == ["checkpoints"]
    assert list(run.parents[1].rglob("events.*")) == [event_file(run)]
    [(_, start)] = values(run, "tensor")[hparams.SESSION_START_INFO_TAG]
    info = hparams.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
    return dict(info.hparams)


def test_what_can_change_a_result_and_a_good_end_are_hyperparameters_of_the_run_itself(
    run: Path,
) -> None:
    given = hyperparameters(run)
    assert ends(run) == [api_pb2.STATUS_SUCCESS]
    assert given["model.n_embd"].number_value == 16
    assert given["optim.lr"].number_value == 1e-3
    assert given["model.norm"].string_value == "layernorm"
    assert {"init_from", "trainer.max_tokens"}.isdisjoint(given), "a null is left out"
    assert given["model.bias"].bool_value is True
    assert not {"name", "rerun", "logger.tags"} & set(given)  # these change no result


def test_nan_and_infinity_are_points_over_tokens_and_epochs_too(tmp_path: Path) -> None:
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
    warnings: Callable[[], list[str]],
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
    outcome = run_experiment(small("logger=tensorboard"), tmp_path)
    assert outcome.state == "done" and len(gone) == 1
    [warning] = warnings()
    assert warning.startswith("TensorBoard failed: FileNotFoundError: ")
    assert warning.endswith("; it is switched off, and the run goes on")
    assert str(gone[0]) in warning
    assert not list(tmp_path.rglob("events.*"))


@pytest.mark.parametrize("error", ["PermissionError", "OSError: [Errno 28] No space left"])
def test_D6_a_board_that_cannot_be_written_is_one_warning(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warnings: Callable[[], list[str]],
    error: str,
) -> None:
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name.startswith("events."):
            if error == "PermissionError":
                raise PermissionError(13, "Permission denied", str(path))
            return opened(Path("/dev/full"), "wb")
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    outcome = run_experiment(small("logger=tensorboard"), tmp_path)
    assert outcome.state == "done"
    [warning] = warnings()
    assert warning.startswith(f"TensorBoard failed: {error}")


def test_every_event_has_a_time_and_the_first_ones_say_what_the_file_is(run: Path) -> None:
    found = events(run)
    assert found[0].file_version == "brain.Event:2"
    assert found[1].HasField("session_log")
    times = [event.wall_time for event in found]
    assert times == sorted(times) and times[0] > 1e9
