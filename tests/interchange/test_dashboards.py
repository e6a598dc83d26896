"""F6: `gptexp export` writes a run's dashboard again from its journals."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_files import board, event_file, expected_curves, images, scalars, values
from filelock import FileLock
from interruptions import Small
from run_directories import put as put_text
from run_directories import write_run
from small_runs import Result, put
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams

from gptexp.experiment.run import run_experiment
from gptexp.interchange import dashboards

ONCE: dict[str, Path] = {}


@pytest.fixture
def run(small: Small, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A copy of a finished run with its board."""
    if "run" not in ONCE:
        config = small("logger=tensorboard", "data.test_fraction=0.1")
        outcome = run_experiment(config, tmp_path_factory.mktemp("exported"))
        assert outcome.path is not None
        ONCE["run"] = outcome.path
    return shutil.copytree(ONCE["run"], tmp_path / "outputs" / ONCE["run"].name)


@pytest.fixture
def gptexp(command: Any, gptexp: Callable[..., Result]) -> Callable[..., Result]:
    """In the empty folder of `command`."""
    return gptexp


def end(run: Path) -> int:
    [(_, value)] = values(run, "tensor")[hparams.SESSION_END_INFO_TAG]
    content = value.metadata.plugin_data.content
    return hparams.parse_session_end_info_plugin_data(content).status


@pytest.mark.parametrize("lost", [True, False])
def test_F6_the_board_is_rebuilt_with_equal_scalars(run: Path, gptexp: Any, lost: bool) -> None:
    original, before = board(run, pictures=False), event_file(run)
    whole, pictured = scalars(run), images(run)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    del files[before]
    if lost:
        before.unlink()
    result = gptexp("export", run, "--to", "tensorboard")
    assert (result.code, result.err) == (0, "")
    assert board(run, pictures=False) == original
    assert scalars(run) == whole, "times of training come from the journals too"
    assert event_file(run) != before
    if not lost:
        assert images(run) == pictured, "no journal could give them back"
        assert any(tag.startswith("final/") for tag in pictured)
    assert end(run) == api_pb2.STATUS_SUCCESS
    assert {path: path.read_bytes() for path in files} == files, "no other file is touched"


def test_F6_nan_points_are_rebuilt(small: Small, tmp_path: Path, gptexp: Any) -> None:
    config = small("logger=tensorboard")
    put(config, "optim.lr", 1e30)
    run = run_experiment(config, tmp_path).path
    written = scalars(run)
    assert written == expected_curves(run)
    path = run / "metrics.jsonl"
    flags = {"val/loss": "nan", "train/loss": "inf"}
    line = {"step": 9, "tokens": 9, "epoch": 1.0, "val/loss": None, "train/loss": None}
    with path.open("a") as file:
        file.write(json.dumps({**line, "nonfinite": flags}) + "\n")
    assert gptexp("export", run, "--to", "tensorboard").code == 0
    rebuilt = scalars(run)
    assert rebuilt == expected_curves(run) and rebuilt != written
    assert rebuilt["val/loss"][-1] == (9, "nan")
    assert rebuilt["train/loss"][-1] == (9, math.inf)
    assert end(run) == api_pb2.STATUS_FAILURE


@pytest.mark.parametrize(
    ("prepare", "to", "code", "line"),
    [
        (None, "excel", 2, r"--to: 'excel' is not known. Fix: one of tensorboard, wandb"),
        ("no run", "tensorboard", 2, "samples: holds no runs. Fix: name a folder such as"),
        ("a file", "tensorboard", 2, "config.yaml: holds no metrics.jsonl. Fix: name a run"),
        ("no folder", "tensorboard", 2, "nowhere: not there, and no run goes by that"),
        ("no journal", "tensorboard", 2, "holds no metrics.jsonl. Fix: name a run, outputs/NAME"),
        ("in use", "tensorboard", 6, "in use by process 7 on there"),
        ("no config", "tensorboard", 2, "config.yaml: No such file or directory. Fix: restore it"),
        ("broken yaml", "tensorboard", 2, "config.yaml: line 2: "),
        ("a list", "tensorboard", 2, "config.yaml: no keys and values. Fix: restore it"),
        ("another key", "tensorboard", 2, "n_embdd"),
    ],
)
def test_F6_what_cannot_be_exported_is_one_line(
    run: Path, gptexp: Any, prepare: str | None, to: str, code: int, line: str
) -> None:
    where, lock = run, FileLock(run / ".lock")
    match prepare:
        case "no run":
            where = run / "samples"
            where.mkdir()
        case "a file":
            where = run / "config.yaml"
        case "no folder":
            where = run / "nowhere"
        case "no journal":
            (run / "metrics.jsonl").unlink()
        case "in use":
            (run / "status.json").write_text('{"state": "running", "pid": 7, "host": "there"}')
            lock.acquire()
        case "no config":
            (run / "config.yaml").unlink()
        case "broken yaml":
            (run / "config.yaml").write_text("a: [1\nb: {")
        case "a list":
            (run / "config.yaml").write_text("- 1\n")
        case "another key":
            config = run / "config.yaml"
            config.write_text(config.read_text().replace("n_embd:", "n_embdd:"))
    before = event_file(run).read_bytes()
    result = gptexp("export", where, "--to", to)
    lock.release()
    [problem] = result.errors
    assert line in problem and ". Fix: " in problem
    assert (result.code, result.out) == (code, "")
    assert event_file(run).read_bytes() == before
    assert not (run / "nowhere").exists()


def test_F6_a_dashboard_that_fails_is_one_line(
    run: Path, gptexp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptexp.tracking import tensorboard

    def fail(*_: object) -> None:
        raise OSError("no\nroom")

    monkeypatch.setattr(tensorboard.TensorBoard, "scalars", fail)
    result = gptexp("export", run, "--to", "tensorboard")
    [problem] = result.errors
    assert problem == f"{run}: tensorboard failed: no. Fix: see to that, and again"
    assert result.code == 1


def uploaded(run: Path, monkeypatch: pytest.MonkeyPatch, gptexp: Any) -> tuple[Any, Any, Result]:
    """What W&B would be opened with, and handed as the best checkpoint."""
    seen: list[Any] = []

    class Account:
        def scalars(self, *_: Any) -> None: ...

        sample = close = scalars

        def final(self, final: Any) -> None:
            seen.append(final.checkpoint)

    def opened(cfg: Any, _: Any) -> Account:
        seen.append(cfg)
        return Account()

    monkeypatch.setattr(dashboards, "opened", opened)
    result = gptexp("export", run, "--to", "wandb")
    return (*seen, *[None] * (2 - len(seen)), result)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PermissionError(13, "Permission denied", "x/events"), 4, "x/events: Permission denied. "),
        (OSError(28, "No space left on device"), 4, "No space left on device; "),
        (RuntimeError("odd"), 1, "tensorboard failed: odd. "),
    ],
)
def test_F6_a_disk_that_refuses_an_export_is_told_as_storage(
    run: Path, gptexp: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(dashboards, "opened", refuse)
    result = gptexp("export", run, "--to", "tensorboard")
    assert result.code == code
    [shown] = result.errors
    assert line in shown


def test_an_export_is_labelled_by_what_varies_beside_it(run: Path, tmp_path: Path) -> None:
    assert dashboards.label_beside(run) == ""
    shutil.copytree(run, run.with_name(f"{run.name}.old1"))
    assert dashboards.label_beside(run) == "", "moved aside, it counts for nothing"
    for layers, seed in ((2, 0), (1, 1)):
        other = write_run(tmp_path / "elsewhere", seed, model__n_layer=layers)
        config = (run / "config.yaml").read_text().replace("n_layer: 1", f"n_layer: {layers}")
        put_text(other, "config.yaml", config.replace("seed: 0", f"seed: {seed}"))
        (other / "summary.json").unlink()
        shutil.move(other, run.parent)
    assert dashboards.label_beside(run) == "n_layer=1 s0"


@pytest.mark.parametrize("name", ["/etc/hostname", "../../secret.txt", "../config.yaml", "x.pt"])
def test_I3_no_other_file_of_the_machine_is_handed_to_a_dashboard(
    run: Path, gptexp: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (run.parent / "secret.txt").write_text("secret")
    entry = run / "checkpoints" / "best.json"
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "file": name}))
    _, handed, result = uploaded(run, monkeypatch, gptexp)
    assert (result.code, handed) == (0, None)


@pytest.mark.parametrize("damage", ["a link", "another file"])
def test_I3_a_checkpoint_that_is_not_what_its_entry_says_is_handed_to_no_dashboard(
    run: Path, gptexp: Any, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    [best] = (run / "checkpoints").glob("*.pt")
    data = best.read_bytes()
    best.unlink()
    if damage == "a link":
        (run.parent / "elsewhere.pt").write_bytes(data)
        best.symlink_to(run.parent / "elsewhere.pt")
    else:
        best.write_bytes(data[::-1])
    _, handed, result = uploaded(run, monkeypatch, gptexp)
    assert handed is None
    assert result.code == 2
    assert best.name in result.errors[0]


def test_I9_the_exporter_and_not_the_run_says_where_to(
    run: Path, gptexp: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = run / "config.yaml"
    text = config.read_text().replace("entity: null", "entity: theirs")
    config.write_text(text.replace("project: gptexp", "project: theirs"))
    cfg, handed, result = uploaded(run, monkeypatch, gptexp)
    assert result.code == 0
    assert (cfg.entity, cfg.project) == (None, "gptexp")
    assert handed == next((run / "checkpoints").glob("*.pt"))
    assert "project gptexp of your default entity" in result.out
    monkeypatch.setenv("WANDB_ENTITY", "mine")
    monkeypatch.setenv("WANDB_PROJECT", "my-project")
    cfg, _, result = uploaded(run, monkeypatch, gptexp)
    assert (cfg.entity, cfg.project) == ("mine", "my-project")
    assert "project my-project of mine" in result.out
