"""W&B offline beyond what every dashboard shows: axes, names, the id over resumes, no secret."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb
from event_files import sample_lines
from interruptions import Small, finish, left, uninterrupted
from signalled_runs import terminate_after
from small_runs import ROOT, SMALL, summary
from wandb_runs import (
    KEY,
    curves_of,
    history,
    of,
    offline_folders,
    pictures_of,
    records,
    sample_rows,
    summary_of,
)

from gptexp.experiment.run import run_experiment
from gptexp.interchange.dashboards import export_dashboard
from gptexp.runs.journal import curves, read_journal
from gptexp.tracking.dashboard import RunInfo

pytestmark = pytest.mark.usefixtures("quick", "wandb_process")

WANDB = [
    "logger=wandb",
    "logger.project=small",
    "logger.group=together",
    "logger.job_type=test",
    "logger.tags=[one,two]",
]
ONCE: dict[str, tuple[Path, list[dict[str, Any]]]] = {}


@pytest.fixture
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A finished run and all that W&B recorded of it."""
    if "whole" not in ONCE:
        folder, words = tmp_path_factory.mktemp("whole"), ["data=text", "model.n_embd=16", *WANDB]
        run = run_experiment(small(*WANDB), folder, words).path
        assert run is not None
        [folder] = offline_folders(run)
        ONCE["whole"] = run, records(folder)
    return ONCE["whole"]


def expected(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """Each curve of metrics.jsonl; NaN as a word, since it equals nothing."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for line in read_journal(run / "metrics.jsonl"):
        for name, value in curves(line).items():
            point = "nan" if math.isnan(value) else value
            found.setdefault(name, []).append((line["step"], point))
    return found


def test_every_point_is_logged_once_by_its_own_step(whole: Any) -> None:
    run, found = whole
    assert curves_of(found) == expected(run)
    assert [step for step, _ in curves_of(found)["val/loss"]] == [0, 4, 8, 12]
    evaluations = [item for item in history(found) if "val/loss" in item]
    assert all({"step", "tokens", "epoch", "seconds"} <= set(item) for item in evaluations)


def test_curves_are_drawn_over_the_step_and_summarised_by_their_least(whole: Any) -> None:
    run, found = whole
    defined = of(found, "metric")
    assert {(m.get("glob_name"), m["step_metric"]) for m in defined} >= {("*", "step")}
    least = {m["name"] for m in defined if m.get("summary", {}).get("min")}
    assert least == {"val/loss", "val/bpb"}
    assert all(m["step_metric"] == "step" for m in defined if m.get("name") in least)
    final, best = summary_of(found), summary(run)["best"]
    assert final["val/loss"] == {"min": best["val_loss"]}
    assert final["final/best_val_loss"] == best["val_loss"]
    assert final["final/params"] == summary(run)["params"]["total"]


def test_samples_pictures_and_the_best_checkpoint_are_kept(whole: Any) -> None:
    run, found = whole
    [folder] = offline_folders(run)
    assert sample_rows(folder) == sample_lines(run)
    steps = {name: [s for s, _ in points] for name, points in pictures_of(folder).items()}
    names, best = ("attention/layer_1", "next_token"), summary(run)["best"]["step"]
    assert steps == {name: [6, 12] for name in names} | {f"final/{n}": [best] for n in names}
    [model] = [artifact for artifact in of(found, "artifact") if artifact["type"] == "model"]
    assert model["name"] == f"{run.name}-best"
    best = f"step-{summary(run)['best']['step']}.pt"
    assert best in json.dumps(model["manifest"])
    assert (run / "checkpoints" / best).is_file()


def test_the_run_has_its_names_and_its_whole_config(whole: Any) -> None:
    run, found = whole
    [about] = of(found, "run")
    assert about["project"] == "small" and about["run_group"] == "together"
    assert about["job_type"] == "test" and about["tags"] == ["one", "two"]
    assert about["display_name"] == f"data=text n_embd=16 {run.name}"
    assert about["run_id"] == (run / "wandb-id").read_text()
    assert about["config"]["update"]["model"]["n_embd"] == 16
    assert about["config"]["update"]["optim"]["lr"] == 1e-3
    [end] = of(found, "exit")
    assert end.get("exit_code", 0) == 0


def test_a_long_label_leaves_room_for_the_name_of_the_directory(tmp_path: Path) -> None:
    from gptexp.tracking.wandb import title

    info = RunInfo(tmp_path / "laptop-text-f1-s0-7a91c4c2", "group", {}, None, [], [])
    assert title(info) == info.folder.name
    assert title(replace(info, label="n_layer=2 s0")) == f"n_layer=2 s0 {info.folder.name}"
    long = title(replace(info, label="x" * 200))
    assert len(long) == 128 and long.endswith(f"x {info.folder.name}")


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_F5_over_an_interruption_no_step_is_missing_or_doubled_and_the_id_stays(
    small: Small, tmp_path: Path
) -> None:
    config = small("logger=wandb")
    straight = uninterrupted(small(), tmp_path / "straight")
    terminate_after(5, config, tmp_path / "stopped")
    outcome = run_experiment(config, tmp_path / "stopped")
    run = outcome.path
    both = [records(folder) for folder in offline_folders(run)]
    assert len(both) == 2
    assert len({of(found, "run")[0]["run_id"] for found in both}) == 1
    assert of(both[0], "run")[0]["run_group"] == config.name
    assert [of(found, "exit")[0].get("exit_code", 0) for found in both] == [143, 0]
    joined: dict[str, list[Any]] = {}
    for found in both:
        for name, points in curves_of(found).items():
            joined.setdefault(name, []).extend(points)
    assert joined == expected(run)
    assert summary(run) == straight[0]
    was = (run / "wandb-id").read_text()
    config.rerun = True
    run = run_experiment(config, tmp_path / "stopped").path
    assert (run / "wandb-id").read_text() != was
    assert len(offline_folders(run)) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_goes_on_from_another_is_told_of_from_its_first_step(
    small: Small, tmp_path: Path
) -> None:
    short = run_experiment(small("schedule=constant", "trainer.max_steps=6"), tmp_path).path
    run = run_experiment(small("schedule=constant", "logger=wandb"), tmp_path).path
    [folder] = offline_folders(run)
    assert f"extends {short} from step 6" in (run / "run.log").read_text()
    assert curves_of(records(folder)) == expected(run)
    assert sample_rows(folder) == sample_lines(run)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_F5_F6_what_a_kill_left_is_repaired_by_an_export(small: Small, tmp_path: Path) -> None:
    """Killed in a process of its own; the run is finished without W&B, and exported."""
    program = (
        "import os, signal, sys, time\n"
        "from gptexp.training.trainer import Trainer\n"
        "step = Trainer.train_step\n"
        "def train_step(self):\n"
        "    if self.step == 7:\n"
        "        while not list(Path(sys.argv[1]).rglob('*.wandb')): time.sleep(0.01)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(self)\n"
        "Trainer.train_step = train_step\n"
        "from gptexp.experiment.run import run_experiment\n"
        "from gptexp.config import from_overrides\n"
        "from pathlib import Path\n"
        "run_experiment(from_overrides(sys.argv[2:]), Path(sys.argv[1]))\n"
    )
    config = small("logger=wandb")
    overrides = [*SMALL, f"data.path={config.data.path}", "logger=wandb"]
    given = {item.partition("=")[0]: item for item in overrides}
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "killed"), *given.values()],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    finish(small("logger=none"), tmp_path / "killed")
    [run] = (tmp_path / "killed" / config.name).iterdir()
    there = offline_folders(run)
    was = (run / "wandb-id").read_text()
    export_dashboard(run, "wandb")
    [folder] = set(offline_folders(run)) - set(there)
    found = records(folder)
    assert curves_of(found) == expected(run)
    assert of(found, "run")[0]["run_id"] == (run / "wandb-id").read_text() != was
    assert [end.get("exit_code", 0) for end in of(found, "exit")] == [0]
    [model] = [artifact for artifact in of(found, "artifact") if artifact["type"] == "model"]
    assert f"step-{summary(run)['best']['step']}.pt" in json.dumps(model["manifest"])
    assert sample_rows(folder) == sample_lines(run)


@pytest.mark.usefixtures("no_pictures")
def test_F6_a_nan_point_is_exported_as_nan(small: Small, tmp_path: Path) -> None:
    run = run_experiment(small("trainer.sample_interval=0"), tmp_path).path
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "val/loss": null, "nonfinite": {"val/loss": "nan"}}\n')
    export_dashboard(run, "wandb")
    [folder] = offline_folders(run)
    points = curves_of(records(folder))["val/loss"]
    assert points == expected(run)["val/loss"] and points[-1] == (13, "nan")


@pytest.mark.usefixtures("no_pictures")
def test_F7_no_secret_is_in_any_file_of_the_run(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    wandb.teardown()  # another process of W&B's, which sees the key
    run = run_experiment(small("logger=both"), tmp_path / "outputs").path
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(offline_folders(run)) == 1 and len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_R3_wandb_leaves_weights_and_metrics_equal(
    small: Small, tmp_path: Path, whole: Any
) -> None:
    assert left(whole[0]) == uninterrupted(small(), tmp_path / "straight")


@pytest.mark.slow
def test_wandb_is_imported_only_when_it_is_chosen(small: Small, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gptexp.experiment.run import run_experiment\n"
        "from gptexp.config import from_overrides\n"
        "outcome = run_experiment(from_overrides(sys.argv[2:]), Path(sys.argv[1]))\n"
        "assert outcome.state == 'done', outcome\n"
        "assert 'tensorboard' in sys.modules and 'wandb' not in sys.modules\n"
    )
    given = [item for item in SMALL if item != "logger=none"]
    given += [f"data.path={small().data.path}", "logger=tensorboard", "trainer.sample_interval=0"]
    given.remove("trainer.sample_interval=6")
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
