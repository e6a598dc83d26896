"""metrics.jsonl and samples.jsonl as the truth, TensorBoard as a mirror of them."""

import json
import math

import pytest
from conftest import metrics, samples
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gptexp import experiment, tracking
from gptexp.config import LoggerConfig
from gptexp.tracking import Sample, open_tracking, read_journal

NONE = LoggerConfig(name="none", tensorboard=False)
BOARD = LoggerConfig(name="tensorboard", tensorboard=True)
SAMPLE = Sample(step=4, prompt="\n", temperature=0.8, top_k=None, seed=1, text="to be\nor not")


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def curve(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_tensorboard_has_every_curve_of_metrics_jsonl(small, tmp_path):
    run = experiment.run(small("logger=tensorboard"), tmp_path / "outputs").directory
    board = events(run)
    expected: dict[str, list[tuple[int, float]]] = {}
    for line in metrics(run):
        for tag in line:
            if "/" in tag:
                expected.setdefault(tag, []).append((line["step"], line[tag]))
    assert set(expected) <= set(board.Tags()["scalars"])
    assert {"val/loss", "val/bpb", "train/eval_loss", "train/loss", "train/lr"} <= set(expected)
    for tag, points in expected.items():
        drawn = [(event.step, event.value) for event in board.Scalars(tag)]
        assert [step for step, _ in drawn] == [step for step, _ in points]
        assert [value for _, value in drawn] == pytest.approx([value for _, value in points])


def test_tensorboard_shows_samples_as_text(small, tmp_path):
    run = experiment.run(small("logger=tensorboard"), tmp_path / "outputs").directory
    texts = events(run).Tensors("sample/text_summary")
    assert [event.step for event in texts] == [line["step"] for line in samples(run)]
    shown = texts[0].tensor_proto.string_val[0].decode()
    assert samples(run)[0]["text"].split("\n")[-1] in shown


def test_without_a_logger_there_are_curves_and_samples_but_no_events(small, tmp_path):
    run = experiment.run(small("logger=none"), tmp_path / "outputs").directory
    assert metrics(run) and samples(run)
    assert not list(run.glob("events.*"))


def test_nan_and_infinity_are_null_with_a_flag(tmp_path):
    with open_tracking(NONE, tmp_path, None) as tracked:
        tracked.scalars(3, {"train/loss": math.nan, "val/loss": -math.inf, "train/lr": 0.1})
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {
        "step": 3,
        "train/loss": None,
        "val/loss": None,
        "train/lr": 0.1,
        "nonfinite": {"train/loss": "nan", "val/loss": "-inf"},
    }


def test_floats_come_back_exactly(tmp_path):
    value = 2.737465835085102e-7
    with open_tracking(NONE, tmp_path, None) as tracked:
        tracked.scalars(1, {"val/loss": value})
    assert read_journal(tmp_path / "metrics.jsonl")[0]["val/loss"] == value


@pytest.mark.parametrize("config", [NONE, BOARD], ids=["none", "tensorboard"])
def test_F5_after_a_resume_no_step_is_missing_or_doubled(tmp_path, config):
    with open_tracking(config, tmp_path, None) as tracked:
        for step in (2, 4, 6, 8):
            tracked.scalars(step, {"val/loss": float(step)})
        tracked.sample(SAMPLE)
    with open_tracking(config, tmp_path, 4) as tracked:
        for step in (6, 8):
            tracked.scalars(step, {"val/loss": float(step) + 0.5})
    expected = [(2, 2.0), (4, 4.0), (6, 6.5), (8, 8.5)]
    assert [(line["step"], line["val/loss"]) for line in metrics(tmp_path)] == expected
    assert [line["step"] for line in samples(tmp_path)] == [4]
    if config.tensorboard:
        assert curve(tmp_path, "val/loss") == expected


def test_starting_anew_drops_what_an_earlier_attempt_wrote(tmp_path):
    for value in (1.0, 2.0):
        with open_tracking(BOARD, tmp_path, None) as tracked:
            tracked.scalars(1, {"val/loss": value})
    assert [line["val/loss"] for line in metrics(tmp_path)] == [2.0]
    assert curve(tmp_path, "val/loss") == [(1, 2.0)]


class Broken:
    """A mirror whose every call fails."""

    def __getattr__(self, name):
        raise RuntimeError("the dashboard is gone")


def test_a_mirror_that_fails_is_dropped_with_one_warning(tmp_path, caplog):
    with open_tracking(NONE, tmp_path, None) as tracked:
        tracked.mirrors.append(Broken())
        for step in (1, 2, 3):
            tracked.scalars(step, {"val/loss": 1.0})
        tracked.sample(SAMPLE)
        tracked.flush()
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]
    assert [r.getMessage() for r in caplog.records] == [
        "Broken failed and is switched off: the dashboard is gone"
    ]


def test_a_broken_tensorboard_does_not_stop_a_run(small, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise ImportError("no such module")

    monkeypatch.setattr(tracking.TensorBoard, "__init__", fail)
    outcome = experiment.run(small("logger=tensorboard"), tmp_path / "outputs")
    assert outcome.state == "done"
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warnings == ["TensorBoard failed and is switched off: no such module"]
