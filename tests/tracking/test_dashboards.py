"""Runs whose dashboards raise, hang or do not open, and what a dashboard is told. F2 and F3."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_dashboards import METHODS, lacking, mirrored, tracked
from interruptions import Small, before, left, uninterrupted
from small_runs import metrics, put, summary

from gptexp.experiment.run import run_experiment
from gptexp.tracking import background
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


def test_F3_all_mirrors_together_have_one_deadline(tmp_path, fakes, warnings, monkeypatch):
    monkeypatch.setattr(background, "FINISH", 0.3)
    hanging, well = [fakes("close") for _ in range(5)], fakes()
    mirrored(monkeypatch, *hanging, well)
    began = time.monotonic()
    with tracked(tmp_path) as tracker:
        tracker.scalars(1, {"val/loss": 2.0})
    assert 0.3 <= time.monotonic() - began < 5 * 0.3
    assert warnings() == [
        f"Fake{n} did not finish in time; it is switched off, and the run goes on" for n in range(5)
    ]
    assert [fake.exit_codes for fake in [*hanging, well]] == [[0]] * 6


@pytest.mark.parametrize("error", [ImportError("No module named 'wandb'"), OSError("full")])
def test_F2_a_mirror_that_does_not_open_leaves_a_run_done(
    small: Small, tmp_path: Path, fakes, warnings, caplog, monkeypatch, error
):
    mirrored(monkeypatch, fakes("open", error))
    outcome = run_experiment(small(), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    kind = type(error).__name__
    assert warnings() == [f"Fake0 failed: {kind}: {error}; it is switched off, and the run goes on"]
    assert len(lacking(caplog)) == 1
    with_it = (outcome.path / "run.log").read_text()
    assert with_it.count(" WARNING ") == 1 and "Fake0 lacks the last" in with_it


@pytest.mark.parametrize("how", ["raises", "blocks"])
def test_P5_F2_F3_R3_a_run_with_bad_mirrors_is_done_with_equal_weights_and_metrics(
    small: Small, tmp_path: Path, fakes, warnings, monkeypatch, how
):
    """One mirror for each call in which it can go wrong, and one that takes them all."""
    config = small("trainer.diagnostics_interval=5")
    expected = uninterrupted(config, tmp_path / "straight")
    monkeypatch.setattr(background, "FINISH", 0.3)
    error = RuntimeError("away") if how == "raises" else None
    bad, well = [fakes(method, error) for method in METHODS], fakes()
    mirrored(monkeypatch, well, *bad)
    outcome = run_experiment(config, tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("done", 0)
    assert left(outcome.path) == expected
    why = "failed: RuntimeError: away" if how == "raises" else "did not finish in time"
    assert sorted(warnings()) == [
        f"Fake{n} {why}; it is switched off, and the run goes on" for n in range(1, len(bad) + 1)
    ]
    # The one beside them has seen everything, in order.
    lines = [arguments[0] for name, arguments in well.calls if name == "scalars"]
    assert [line["step"] for line in lines] == [line["step"] for line in expected[1]]
    told = [asdict(arguments[0]) for name, arguments in well.calls if name == "sample"]
    assert told == expected[2] and [sample["step"] for sample in told] == [6, 12]
    probes = [arguments[0].step for name, arguments in well.calls if name == "probe"]
    assert probes == [6, 12]
    assert [call[0].step for name, call in well.calls if name == "histograms"] == [5, 10]
    assert well.names[-2:] == ["final", "close"]
    assert well.exit_codes == [0]


def test_a_mirror_is_told_floats_where_the_journal_has_null(tmp_path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    with tracked(tmp_path) as tracker:
        tracker.scalars(1, {"val/loss": math.nan})
    [(_, [line])] = [call for call in fake.calls if call[0] == "scalars"]
    assert math.isnan(line["val/loss"])


def interrupt(number: int) -> Callable[[Trainer], None]:
    return lambda self: os.kill(os.getpid(), number) if self.step == 5 else None


def bug(self: Trainer) -> None:
    if self.step == 5:
        raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (None, 0),
        (interrupt(signal.SIGINT), 130),
        (interrupt(signal.SIGTERM), 143),
        (bug, 1),
        ("diverges", 3),
    ],
)
def test_a_mirror_is_told_how_the_run_ended(
    small: Small, tmp_path: Path, fakes, monkeypatch, arrange, code
):
    fake = fakes()
    mirrored(monkeypatch, fake)
    config = small()
    if arrange == "diverges":
        put(config, "optim.lr", 1e30)
        put(config, "trainer.grad_clip", 0.0)
    elif arrange is not None:
        before(Trainer, "train_step", arrange, monkeypatch)
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.exit_code == code, outcome.error
    assert fake.exit_codes == [code]
    assert fake.names[-1] == "close"
    steps = [arguments[0]["step"] for name, arguments in fake.calls if name == "scalars"]
    assert steps == [line["step"] for line in metrics(outcome.path)]


def test_a_second_signal_is_an_interruption_for_a_mirror(tmp_path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    with pytest.raises(KeyboardInterrupt), tracked(tmp_path):
        raise KeyboardInterrupt
    assert fake.exit_codes == [130]


def test_R3_a_run_says_what_it_came_to_once(small: Small, tmp_path: Path, fakes, monkeypatch):
    fake = fakes()
    mirrored(monkeypatch, fake)
    run = run_experiment(small(), tmp_path / "outputs").path
    [final] = [arguments[0] for name, arguments in fake.calls if name == "final"]
    best = summary(run)["best"]
    assert final.step == 12
    assert final.values["final/best_val_loss"] == best["val_loss"]
    assert final.sample.step == best["step"] == final.probe.step
    assert final.checkpoint == run / "checkpoints" / f"step-{best['step']}.pt"
    assert final.checkpoint.is_file()
    json.dumps(final.values)
