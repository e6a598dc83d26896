"""What belongs to another config is refused with what differs, and before anything is replaced."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from interruptions import Small, before, finish, left, only_run, stop_before_step
from small_runs import ONE_LINE, problem_lines, put

from gptexp.config import Config, from_yaml, to_yaml
from gptexp.errors import CheckpointError, ConfigError, GptexpError
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.inference.load import read_checkpoint
from gptexp.optim.build import build_optimizer, load_optimizer
from gptexp.runs.checkpoint import State, Store
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def _messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """`caplog` sees the package's messages, whether or not the screen was set up before."""
    monkeypatch.setattr(logging.getLogger("gptexp"), "propagate", True)


@pytest.fixture
def stopped(small: Small, tmp_path: Path) -> Path:
    """The directory of a run that was killed at step 6 of 12 and can go on from 4."""
    stop_before_step(small(), tmp_path, 6)
    return only_run(small(), tmp_path)


@pytest.fixture
def refused_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[[Config], list[str]]:
    """The lines with which a config is refused; it takes no step and replaces no file."""

    def call(config: Config) -> list[str]:
        steps: list[int] = []
        caplog.clear()
        with monkeypatch.context() as patch:
            before(Trainer, "train_step", lambda self: steps.append(self.step), patch)
            outcome = run_experiment(config, tmp_path)
        assert (outcome.exit_code, steps) == (2, []), outcome
        lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert outcome.error == lines[0]
        assert all(ONE_LINE.fullmatch(line) for line in lines), lines
        return lines

    return call


def contents(run: Path) -> dict[str, bytes]:
    """Of all files but those that tell of the attempt."""
    files = [p for p in run.rglob("*") if p.is_file() and p.name not in ("status.json", "run.log")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def change(run: Path, edit: Callable[[State], None]) -> None:
    """Edit the state of the newest checkpoint, with its entries made to agree."""
    store = Store(run / "checkpoints")
    state = store.latest().state
    edit(state)
    store.save(state, state["step"], state["best_step"])


# --- C6: init_from


def refusal(config: Config, outputs: Path) -> list[str]:
    """The lines with which preflight refuses a config."""
    with pytest.raises(GptexpError) as refused:
        prepare(config, identify(config, outputs))
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(refused.value))
    return problem_lines(refused.value)


@pytest.fixture
def trained(small: Small, tmp_path: Path) -> Path:
    return run_experiment(small("trainer.max_steps=2"), tmp_path / "first").directory


# Shapes tell of some of these alone; the others change what the same weights compute.
ARCHITECTURE = {
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 32,
    "block_size": 16,
    "bias": False,
    "norm": "rmsnorm",
    "norm_gain": False,
    "embd_norm": True,
    "final_norm": False,
    "activation": "relu",
    "position": "none",
    "tie_head": False,
}


def test_C6_init_from_another_architecture_names_the_key_and_both_values(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    stored = yaml.safe_load((trained / "config.yaml").read_text())["model"]
    for key, value in ARCHITECTURE.items():
        theirs, ours = json.dumps(stored[key]).strip('"'), json.dumps(value).strip('"')
        assert theirs != ours, f"{key} is to be another"
        config = put(small(), "init_from", str(trained))
        kind = type(getattr(config.model, key))  # an enum, for some
        put(config, f"model.{key}", kind(value))
        head, row = refusal(config, tmp_path)
        assert head.startswith(f"init_from: {trained} has another architecture")
        assert f"vocabulary: model.{key}. Fix: " in head
        assert row == (
            f"model.{key}: checkpoint {theirs}, config {ours}. Fix: model.{key}={theirs}"
        )


def test_C6_all_keys_that_differ_are_one_table(small: Small, trained: Path, tmp_path: Path) -> None:
    config = small("model.n_embd=32", "model.n_layer=2", "tokenizer=byte", "optim.lr=0.5")
    head, *rows = refusal(put(config, "init_from", str(trained)), tmp_path)
    assert ": model.n_layer, model.n_embd, tokenizer. Fix: " in head
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "model.n_layer: checkpoint 1, config 2",
        "model.n_embd: checkpoint 16, config 32",
        "tokenizer: checkpoint 16 characters, config 256 bytes",
    ]


def test_C6_what_leaves_the_meaning_of_weights_as_it_is_may_differ(
    small: Small, tmp_path: Path
) -> None:
    first = run_experiment(small("model.position=none", "trainer.max_steps=2"), tmp_path).directory
    config = small("model.position=none", "model.dropout=0", "model.init_std=0.5")
    config.model.name, config.model.block_size = "other", 16
    config.init_from = str(first)
    prepare(config, identify(config, tmp_path))


def test_C6_another_vocabulary_lists_the_characters_that_one_alone_has(
    small: Small, trained: Path, tmp_path: Path, text_file: Path
) -> None:
    config = put(small(), "init_from", str(trained))
    text_file.write_text(text_file.read_text().replace("q", "z").replace("\n", "\t") + "é")
    _, row = refusal(config, tmp_path)
    assert row.startswith(
        "tokenizer: checkpoint 16 characters, config 17 characters, only in the checkpoint "
        "'\\n' (U+000A), 'q' (U+0071), only in the config "
        "'\\t' (U+0009), 'z' (U+007A), 'é' (U+00E9). Fix: "
    )
    text_file.write_text("".join(chr(0x100 + i) for i in range(20)) * 100)
    _, row = refusal(config, tmp_path)
    assert "(U+0107) and 12 more. Fix: " in row


def forged(trained: Path, path: Path, **values: Any) -> str:
    torch.save({**read_checkpoint(trained), **values}, path)
    return str(path)


def test_C6_another_order_of_the_vocabulary_is_refused(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    state = read_checkpoint(trained)
    turned = {"name": "char", "characters": state["tokenizer"]["characters"][::-1]}
    config = put(small(), "init_from", forged(trained, tmp_path / "a.pt", tokenizer=turned))
    _, row = refusal(config, tmp_path)
    assert ", config 16 characters, the same ones in another order. Fix: " in row


def test_C6_other_parameters_under_the_same_config_are_a_table_too(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    weights = read_checkpoint(trained)["model"]
    weights["extra"] = torch.zeros(3)
    weights["head.weight"] = weights["head.weight"][:, :5]
    config = put(small(), "init_from", forged(trained, tmp_path / "a.pt", model=weights))
    _, *rows = refusal(config, tmp_path)
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "head.weight: checkpoint [16, 5], config [16, 16]",
        "extra: checkpoint [3], config none",
    ]


def test_C6_a_checkpoint_whose_config_cannot_be_read_is_refused(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    stored = read_checkpoint(trained)["config"]
    stored["model"]["n_loops"] = 3
    path = forged(trained, tmp_path / "a.pt", config=stored)
    line = refusal(put(small(), "init_from", path), tmp_path)
    assert line == [
        f"init_from: {path}: model.n_loops: no such key. Fix: use the gptexp that wrote it"
    ]


# --- C6: a resume


def test_C6_a_resume_from_another_configs_checkpoint_lists_the_hashed_keys_that_differ(
    small: Small, stopped: Path, tmp_path: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    other = small("optim.lr=0.5", "model.bias=false", "trainer.log_interval=1", "name=elsewhere")
    run = run_experiment(other, tmp_path).directory
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


# --- C7


OPTIMIZERS = {
    "adamw": ["optim=adamw"],
    "adam": ["optim=adam"],
    "sgd": ["optim=sgd"],
    "plain sgd": ["optim=sgd", "optim.momentum=0"],
    "betas": ["optim=adamw", "optim.beta2=0.9"],
    "decay": ["optim=adamw", "optim.weight_decay=0.3"],
}


def stepped(config: Config, width: int = 3) -> torch.optim.Optimizer:
    """An optimizer with moments, over a matrix and a vector."""
    network = torch.nn.Linear(width, 2)
    optimizer = build_optimizer(config.optim, network)
    network(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return optimizer


def check_left_alone(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> list[str]:
    """The lines with which `state` is refused; nothing of the optimizer changes."""
    was = str(optimizer.state_dict())
    with pytest.raises(CheckpointError) as refused:
        load_optimizer(optimizer, state)
    assert str(optimizer.state_dict()) == was
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(refused.value))
    return problem_lines(refused.value)


def test_C7_only_the_same_optimizer_is_taken_up(composed: Callable[..., Config]) -> None:
    configs = {name: composed(*overrides) for name, overrides in OPTIMIZERS.items()}
    for saved, stored in configs.items():
        state = stepped(stored).state_dict()
        for wanted, config in configs.items():
            optimizer = stepped(config)
            if saved != wanted:
                assert check_left_alone(optimizer, state)[0].startswith("optim: ")
            else:
                load_optimizer(optimizer, state)
                assert str(optimizer.state_dict()) == str(state)


def test_C7_the_refusal_says_what_differs(composed: Callable[..., Config]) -> None:
    adamw, sgd = stepped(composed()), stepped(composed("optim=sgd"))
    [line] = check_left_alone(sgd, adamw.state_dict())
    assert "the checkpoint has amsgrad, betas, " in line
    assert ", which SGD does not have. Fix: rerun=true" in line
    lines = check_left_alone(stepped(composed("optim.beta1=0.5")), adamw.state_dict())
    assert "betas of group 0: checkpoint (0.9, 0.999), config (0.5, 0.999). Fix: " in lines[0]
    lines = check_left_alone(adamw, stepped(composed(), width=4).state_dict())
    assert [line.partition(". Fix:")[0] for line in lines] == [
        "optim: exp_avg of parameter 0: checkpoint [2, 4], config [2, 3]",
        "optim: exp_avg_sq of parameter 0: checkpoint [2, 4], config [2, 3]",
    ]


def test_C7_other_groups_are_refused(composed: Callable[..., Config]) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(composed().optim, network)
    state = optimizer.state_dict()
    state["param_groups"][0]["params"].append(2)
    [line] = check_left_alone(optimizer, state)
    assert "groups of parameters: checkpoint [2, 1], config [1, 1]. Fix: " in line
    del state["param_groups"][0]
    [line] = check_left_alone(optimizer, state)
    assert "groups of parameters: checkpoint [1], config [1, 1]. Fix: " in line


def test_C7_a_setting_that_a_later_torch_adds_and_another_lr_are_no_obstacle(
    composed: Callable[..., Config],
) -> None:
    state = stepped(composed("optim.lr=0.25")).state_dict()
    for group in state["param_groups"]:
        del group["decoupled_weight_decay"]
    load_optimizer(stepped(composed()), state)


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


# --- C8


def edit(run: Path, key: str, value: str) -> None:
    path = run / "config.yaml"
    changed, count = re.subn(rf"(?m)^(  {key}): .*$", rf"\1: {value}", path.read_text())
    assert count == 1
    path.write_text(changed)


def test_C8_an_edited_config_yaml_is_refused_with_the_keys_until_it_is_restored(
    small: Small, stopped: Path, tmp_path: Path, refused_run: Callable[[Config], list[str]]
) -> None:
    original = (stopped / "config.yaml").read_bytes()
    edit(stopped, "lr", "1e-2")
    edit(stopped, "n_layer", "4")
    files = contents(stopped)
    head, *rows = refused_run(small())
    assert head.startswith(f"{stopped}/config.yaml: was edited: model.n_layer, optim.lr. Fix: ")
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "model.n_layer: config.yaml 4, command 1",
        "optim.lr: config.yaml 0.01, command 0.001",
    ]
    assert contents(stopped) == files
    (stopped / "config.yaml").write_bytes(original)
    assert finish(small(), tmp_path) == finish(small(), tmp_path / "straight")


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
    run = run_experiment(small(), tmp_path).directory
    edit(run, "lr", "1e-2")
    files = contents(run)
    assert run_experiment(small(), tmp_path).state == "already done"
    assert contents(run) == files


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
    files = contents(stopped)
    [line] = refused_run(small())
    assert line.startswith(f"{stopped}/config.yaml: {what}")
    assert line.endswith("Fix: restore it, or delete it to have it written anew")
    assert contents(stopped) == files


def test_C8_a_deleted_config_yaml_is_written_anew(
    small: Small, stopped: Path, tmp_path: Path
) -> None:
    (stopped / "config.yaml").unlink()
    run_experiment(small(), tmp_path)
    assert from_yaml((stopped / "config.yaml").read_text()) == small()
    assert left(stopped) == finish(small(), tmp_path / "straight")


def test_from_yaml_is_the_inverse_of_to_yaml_and_refuses_the_rest(small: Small) -> None:
    assert from_yaml(to_yaml(small())) == small()
    with pytest.raises(ConfigError, match=r"model\.n_embdd: no such key"):
        from_yaml(to_yaml(small()).replace("n_embd:", "n_embdd:"))
