"""What stands in a directory is of another config: refused before anything is replaced."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interruptions import Small, before, finish, left, only_run, stop_before_step
from small_runs import ONE_LINE, put
from small_stores import contents, names

from gptexp.config import Config, from_yaml, to_yaml
from gptexp.experiment.run import run_experiment
from gptexp.runs.checkpoint import State, Store
from gptexp.training.trainer import Trainer


@pytest.fixture
def stopped(small: Small, tmp_path: Path) -> Path:
    """The directory of a run that was killed at step 6 of 12 and can go on from 4."""
    stop_before_step(small(), tmp_path, 6)
    return only_run(small(), tmp_path)


@pytest.fixture
def refused_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[Config], list[str]]:
    """The lines with which a config is refused; it takes no step and replaces no checkpoint."""

    def call(config: Config) -> list[str]:
        steps: list[int] = []
        saved = checkpoints(tmp_path)
        caplog.clear()
        with monkeypatch.context() as patch:
            before(Trainer, "train_step", lambda self: steps.append(self.step), patch)
            outcome = run_experiment(config, tmp_path)
        assert (outcome.exit_code, steps) == (2, []), outcome
        assert checkpoints(tmp_path) == saved
        lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert outcome.error == lines[0]
        assert all(ONE_LINE.fullmatch(line) for line in lines), lines
        return lines

    return call


def checkpoints(outputs: Path) -> list[dict[str, bytes]]:
    return [contents(folder) for folder in sorted(outputs.rglob("checkpoints"))]


def kept(run: Path) -> dict[str, bytes]:
    """Of all files but those that tell of the attempt."""
    told = ("status.json", "run.log")
    return {name: data for name, data in contents(run).items() if name not in told}


def change(run: Path, edit: Callable[[State], None]) -> None:
    """Edit the state of the newest checkpoint, with its entries made to agree."""
    store = Store(run / "checkpoints")
    state = store.latest().state
    edit(state)
    store.save(state, state["step"], state["best_step"])


def test_C6_a_resume_from_another_configs_checkpoint_lists_the_hashed_keys_that_differ(
    small: Small, stopped: Path, tmp_path: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    other = small("optim.lr=0.5", "model.bias=false", "trainer.log_interval=1", "name=elsewhere")
    run = run_experiment(other, tmp_path).path
    shutil.rmtree(stopped / "checkpoints")
    shutil.copytree(run / "checkpoints", stopped / "checkpoints")
    head, *rows = refused_run(small())
    assert head.startswith(f"{stopped}: its checkpoints belong to another config. Fix: rerun=true")
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "model.bias: checkpoint false, config true",
        "optim.lr: checkpoint 0.5, config 0.001",
    ]


def test_C6_a_resume_from_a_checkpoint_of_another_text_says_so(
    small: Small, stopped: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    change(stopped, lambda state: state.update(config_hash="0" * 64))
    [line] = refused_run(small())
    assert "belong to another text, or to other weights of init_from. Fix: rerun=true" in line


def test_C6_a_resume_where_the_code_orders_the_vocabulary_otherwise_is_refused(
    small: Small, stopped: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    def turn(state: State) -> None:
        state["tokenizer"]["characters"] = state["tokenizer"]["characters"][::-1]

    change(stopped, turn)
    head, row = refused_run(small())
    assert "its checkpoints belong to another version of the code. Fix: rerun=true" in head
    assert "the same ones in another order" in row


def test_C7_a_resume_with_another_optimizers_state_trains_no_step(
    small: Small, stopped: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    change(stopped, lambda state: state.update(optimizer=other_state(state["optimizer"])))
    [line] = refused_run(small())
    assert line.startswith("optim: the checkpoint has dampening, momentum, nesterov, which AdamW ")


def other_state(state: dict[str, Any]) -> dict[str, Any]:
    """As SGD would have left it: torch's load_state_dict takes it for AdamW's."""
    groups = [
        {"lr": 0.1, "momentum": 0, "dampening": 0, "nesterov": False, "params": group["params"]}
        for group in state["param_groups"]
    ]
    return {"state": {}, "param_groups": groups}


def edit(run: Path, key: str, value: str) -> None:
    path = run / "config.yaml"
    changed, count = re.subn(rf"(?m)^(  {key}): .*$", rf"\1: {value}", path.read_text())
    assert count == 1
    path.write_text(changed)


@pytest.mark.slow
def test_C8_an_edited_config_yaml_is_refused_with_the_keys_until_it_is_restored(
    small: Small, stopped: Path, tmp_path: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    original = (stopped / "config.yaml").read_bytes()
    edit(stopped, "lr", "1e-2")
    edit(stopped, "n_layer", "4")
    files = kept(stopped)
    head, *rows = refused_run(small())
    assert head.startswith(f"{stopped}/config.yaml: was edited: model.n_layer, optim.lr. Fix: ")
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "model.n_layer: config.yaml 4, command 1",
        "optim.lr: config.yaml 0.01, command 0.001",
    ]
    assert kept(stopped) == files
    (stopped / "config.yaml").write_bytes(original)
    assert finish(small(), tmp_path) == finish(small(), tmp_path / "straight")


def test_a_refused_resume_takes_back_no_later_checkpoint(
    small: Small, stopped: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    """A run that goes on from step 4 would remove these."""
    (stopped / "checkpoints/step-8.pt").write_bytes(b"half a checkpoint")
    (stopped / "checkpoints/best.json").write_text("{")
    edit(stopped, "lr", "1e-2")
    refused_run(small())
    assert "step-8.pt" in names(stopped / "checkpoints")


def test_C8_rerun_moves_the_edited_file_aside(small: Small, stopped: Path, tmp_path: Path) -> None:
    edit(stopped, "lr", "1e-2")
    edited = (stopped / "config.yaml").read_bytes()
    assert run_experiment(put(small(), "rerun", True), tmp_path).state == "done"
    assert (stopped.with_name(f"{stopped.name}.old1") / "config.yaml").read_bytes() == edited


def test_C8_where_only_unhashed_keys_differ_those_of_the_command_win(
    small: Small, stopped: Path, tmp_path: Path
) -> None:
    edit(stopped, "keep", "all")
    edit(stopped, "log_interval", "7")
    edit(stopped, "path", "/elsewhere/text.txt")  # files count by their content
    config = small("trainer.log_interval=2")
    assert run_experiment(config, tmp_path).state == "done"
    assert (stopped / "config.yaml").read_text() == to_yaml(config)


def test_C8_a_finished_run_is_returned_whatever_its_config_yaml_says(
    small: Small, tmp_path: Path
) -> None:
    run = run_experiment(small(), tmp_path).path
    edit(run, "lr", "1e-2")
    files = kept(run)
    assert run_experiment(small(), tmp_path).state == "already done"
    assert kept(run) == files


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no keys and values"),
        (b"- 1\n", "no keys and values"),
        (b"name: [a\n", "line 2: "),
        (b"\0\0\0\0", "not YAML"),
        (b"\xff\xfe", "not readable: 'utf-8' codec"),
        (b"name: x\n", "model: no such key, or no such choice"),
    ],
)
def test_C8_a_config_yaml_that_cannot_be_read_is_one_line_and_stays(
    small: Small,
    stopped: Path,
    refused_run: Callable[[Config], list[str]],
    data: bytes,
    what: str,
) -> None:
    (stopped / "config.yaml").write_bytes(data)
    files = kept(stopped)
    [line] = refused_run(small())
    assert line.startswith(f"{stopped}/config.yaml: {what}")
    assert line.endswith("Fix: restore it, or delete it to have it written anew")
    assert kept(stopped) == files


def test_C8_a_deleted_config_yaml_is_written_anew(
    small: Small, stopped: Path, tmp_path: Path
) -> None:
    (stopped / "config.yaml").unlink()
    run_experiment(small(), tmp_path)
    assert from_yaml((stopped / "config.yaml").read_text()) == small()
    assert left(stopped) == finish(small(), tmp_path / "straight")
