"""trainer.compile=auto: decided once for a run, told by its manifest, and kept to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import left, only_run, stop_before_step
from judged_runs import Judge

from gptexp.config import Config, config_hash, from_dict, from_yaml, to_dict, to_yaml
from gptexp.experiment import auto_compile
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory
from gptexp.sweep.plan import Planner
from gptexp.training import compiling

Models = list[torch.nn.Module]


@pytest.fixture
def auto(small: Callable[..., Config]) -> Callable[..., Config]:
    """`auto("seed=1")`: a small run that is to be compiled if that pays."""
    return lambda *overrides: small("trainer.compile=auto", *overrides)


@pytest.fixture
def paying(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """`paying(True)`: compiling pays from now on, on a CPU too; at first it does."""
    monkeypatch.setattr(compiling, "PAYS_ON", ("cpu",))
    monkeypatch.setattr(compiling, "can_compile", lambda: True)

    def set_to(pays: bool) -> None:
        monkeypatch.setattr(compiling, "COSTS", 0.0 if pays else 1e9)

    set_to(True)
    return set_to


def environment(run: Path) -> dict[str, Any]:
    return json.loads((run / "manifest.json").read_text())["environment"]


def test_the_hashes_of_true_false_and_auto_are_three(small, auto) -> None:
    configs = [small(), small("trainer.compile=true"), auto()]
    assert len({config_hash(config, "data") for config in configs}) == 3
    for config in configs:
        assert from_yaml(to_yaml(config)) == from_dict(to_dict(config)) == config


def test_on_a_cpu_nothing_is_compiled_or_timed(auto, small, tmp_path, compiled, monkeypatch):
    monkeypatch.setattr(auto_compile, "speed_of", None)
    plain = run_experiment(small(), tmp_path).path
    run = run_experiment(auto(), tmp_path).path
    assert compiled == []
    assert environment(run)["compiled"] is False
    assert "compiled" not in environment(plain)
    assert left(run)[1:3] == left(plain)[1:3]


@pytest.mark.slow
def test_where_it_pays_the_run_is_compiled_and_says_so(auto, tmp_path, compiled, paying, caplog):
    caplog.set_level("INFO", "gptexp")
    run = run_experiment(auto(), tmp_path).path
    assert len(compiled) == 1
    assert environment(run)["compiled"] is True
    assert "on cpu, float32, 1 thread, compiled" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("pays", [True, False])
def test_a_resume_keeps_what_was_decided(auto, tmp_path, compiled: Models, paying, pays) -> None:
    paying(pays)
    straight = left(run_experiment(auto(), tmp_path / "straight").path)
    outputs = tmp_path / "outputs"
    stop_before_step(auto(), outputs, 9)
    paying(not pays)
    compiled.clear()
    resumed = run_experiment(auto(), outputs).path
    assert bool(compiled) is pays
    assert environment(resumed)["compiled"] is pays
    assert left(resumed) == straight


@pytest.mark.slow
def test_rerun_decides_anew(auto, tmp_path, compiled: Models, paying) -> None:
    run_experiment(auto(), tmp_path)
    paying(False)
    compiled.clear()
    run = run_experiment(auto("rerun=true"), tmp_path).path
    assert (compiled, environment(run)["compiled"]) == ([], False)


def test_on_another_kind_of_device_it_is_decided_anew(auto, tmp_path, paying, monkeypatch) -> None:
    identity = identify(auto(), tmp_path)
    told = {"environment": {"device": "cpu", "compiled": True}}
    monkeypatch.setattr(RunDirectory, "manifest", lambda _: told)
    paying(False)
    assert prepare(auto(), identity).trainer.compile is True
    told["environment"]["device"] = "cuda"
    assert prepare(auto(), identity).trainer.compile is False


def test_what_is_too_large_to_be_timed_is_left_to_the_first_step(
    auto, tmp_path, paying, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(auto_compile, "speed_of", fail)
    assert prepare(auto(), identify(auto(), tmp_path)).trainer.compile is False


@pytest.mark.slow
def test_a_run_made_again_is_compiled_as_the_run_was(
    auto, tmp_path, compiled, paying, judge: Judge
) -> None:
    run = run_experiment(auto(), tmp_path / "outputs").path
    paying(False)
    code, lines = judge(run, "full")
    assert code == 0, lines
    assert any("trainer.compile, whose kernels are built anew" in line for line in lines)
    plain = run_experiment(auto("seed=9"), tmp_path / "outputs").path
    paying(True)
    code, lines = judge(plain, "full")
    assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines
    assert not any("kernels" in line for line in lines)


@pytest.mark.slow
def test_a_shorter_run_that_was_not_compiled_is_not_extended(
    auto, tmp_path, compiled: Models, paying, caplog
) -> None:
    caplog.set_level("INFO", "gptexp")
    paying(False)
    run_experiment(auto("schedule=constant"), tmp_path)
    paying(True)
    longer = ["schedule=constant", "trainer.max_steps=16"]
    run = run_experiment(auto(*longer), tmp_path).path
    assert "is not extended: it was not compiled, which pays in this one" in caplog.text
    assert len(compiled) == 1
    assert "extended" not in json.loads((run / "manifest.json").read_text())
    again = run_experiment(auto(*longer[:1], "trainer.max_steps=20"), tmp_path).path
    assert json.loads((again / "manifest.json").read_text())["extended"]["step"] == 16


@pytest.mark.slow
def test_a_branch_is_decided_for_itself(auto, small, tmp_path, compiled, paying, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = run_experiment(small("trainer.compile=false"), Path("outputs")).path
    branch = run_experiment(
        auto(f"branch_from={base}", "trainer.max_steps=20"), Path("outputs")
    ).path
    assert environment(branch)["compiled"] is True
    assert len(compiled) == 1


def test_a_plan_takes_auto_as_it_is(auto, tmp_path) -> None:
    assert Planner(tmp_path).cost(auto()).state == "new"


def test_a_stopped_run_tells_its_decision_before_its_first_save(auto, tmp_path, compiled, paying):
    stop_before_step(auto(), tmp_path, 2)
    assert environment(only_run(auto(), tmp_path))["compiled"] is True
