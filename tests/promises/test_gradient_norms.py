"""A gradient norm that explodes is warned of once, in one line, and changes nothing."""

import logging
from pathlib import Path

import pytest
from interruptions import Small
from small_runs import ONE_LINE, metrics, summary
from spoiled_updates import exploding_at

from gptexp.experiment.run import run_experiment
from gptexp.optim import gradients
from gptexp.optim.gradients import NormWatch


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the watch over the gradient norms says."""
    said: list[str] = []

    def warn(message: object, *values: object) -> None:
        said.append(str(message) % values)

    monkeypatch.setattr(gradients.log, "warning", warn)
    return said


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
def test_E5_a_gradient_norm_that_explodes_is_warned_of_once(
    small: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warnings: list[str],
    grad_clip: float,
) -> None:
    config = small("trainer.log_interval=1")
    config.trainer.grad_clip = grad_clip
    exploding_at({9, 11}, monkeypatch)
    outcome = run_experiment(config, tmp_path / "watched")
    norms = [row["train/grad_norm"] for row in metrics(outcome.path) if "train/lr" in row]
    usual = sorted(norms[:8])
    clip = "" if grad_clip else ", or clip with trainer.grad_clip=1.0"
    [line] = warnings
    assert line == (
        f"step 9: gradient norm {norms[8]:.3g}, where {(usual[3] + usual[4]) / 2:.3g} is usual. "
        f"Fix: lower optim.lr, now 0.001{clip}"
    )
    monkeypatch.setattr(NormWatch, "see", lambda self, step, norm: None)
    unwatched = run_experiment(config, tmp_path / "unwatched")
    assert metrics(unwatched.path) == metrics(outcome.path)
    assert summary(unwatched.path) == summary(outcome.path)
    assert len(warnings) == 1


def test_E5_nothing_is_said_of_a_quiet_run_and_before_a_norm_is_usual(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    config = small("trainer.log_interval=1")
    assert run_experiment(config, tmp_path / "quiet").state == "done"
    exploding_at({gradients.ENOUGH}, monkeypatch)
    assert run_experiment(config, tmp_path / "early").state == "done"
    assert warnings == []


def test_E5_what_is_usual_is_the_median_of_the_log_lines_before(warnings: list[str]) -> None:
    watch = NormWatch(lr=0.5, grad_clip=1.0)
    for step, norm in enumerate([900.0, 1.0, 2.0, 3.0, 4.0]):
        watch.see(step, norm)
    watch.see(5, 3.0 * gradients.EXPLODED)
    assert warnings == []
    watch.see(6, 3.5 * gradients.EXPLODED + 1)
    assert warnings == [
        "step 6: gradient norm 71, where 3.5 is usual. Fix: lower optim.lr, now 0.5"
    ]


def test_E5_a_warning_reaches_the_screen_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("gptexp"), "propagate", True)
    watch = NormWatch(lr=0.5, grad_clip=0.0)
    for step, norm in enumerate([1.0] * 5 + [1e9] * 2):
        watch.see(step, norm)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert ONE_LINE.fullmatch(record.getMessage())
