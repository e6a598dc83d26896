"""Claim 12: microGPT's JSON written from a run."""

import json
import os
from pathlib import Path

import pytest
import torch
from small_runs import ONE_LINE, only, problem_lines, refusal
from typer.testing import CliRunner

import gptexp
from gptexp import reference
from gptexp.cli.app import app
from gptexp.errors import ConfigError
from gptexp.experiment.run import run_experiment
from gptexp.interchange.convert import export_run
from gptexp.interchange.outgoing import export_weights
from gptexp.runs import checkpoint

CHARS = "abcdelnou"


def test_an_export_holds_the_best_weights_under_microgpt_s_names(trained, tmp_path):
    path = export_run(trained, tmp_path / "out.json")
    stored = json.loads(path.read_text())
    assert list(stored) == ["config", "training", "chars", "state_dict"]
    assert stored["config"] == {"n_embd": 16, "n_head": 4, "n_layer": 1, "block_size": 16}
    assert stored["chars"] == sorted(CHARS)
    run = gptexp.load(trained)
    assert stored["training"]["num_steps"] == run.step
    logged = [line["train/loss"] for line in run.metrics if "train/loss" in line]
    assert stored["training"]["final_loss"] in logged
    table = torch.tensor(stored["state_dict"]["wte"])
    assert torch.equal(table, run.model.token_table.weight)
    assert len(stored["state_dict"]["lm_head"]) == len(CHARS) + 1


def test_an_export_is_called_by_its_sizes_and_steps(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = gptexp.load(trained).step
    assert str(export_run(trained)) == f"model_e16_h4_l1_s{step}.json"
    export_run(trained)  # the same again is no conflict
    (tmp_path / "other.json").write_text("{}")
    assert "differs" in refusal(export_run, trained, tmp_path / "other.json")
    assert (tmp_path / "other.json").read_text() == "{}"


def test_the_scalar_engine_computes_from_an_export_what_the_run_does(trained, tmp_path):
    stored = json.loads(export_run(trained, tmp_path / "out.json").read_text())
    scalar = reference.Model(stored["state_dict"], stored["config"]["n_head"])
    tokens = reference.encode("abel", "".join(stored["chars"]))
    run = gptexp.load(trained)
    logits = run.model.double()(torch.tensor([tokens[:-1]]))[0]
    theirs = torch.tensor([[v.data for v in row] for row in scalar.forward_uncached(tokens[:-1])])
    torch.testing.assert_close(logits, theirs.double(), rtol=0, atol=1e-6)


def test_an_export_never_overwrites_what_is_no_text(trained, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert "differs" in refusal(export_run, trained, path)
    assert "differs" in refusal(export_run, trained, tmp_path)
    assert "Fix: " in refusal(export_run, trained, tmp_path / "no" / "x.json")


@pytest.mark.parametrize("kind", ["a pipe", "a device without end"])
def test_I2_no_file_is_neither_compared_nor_replaced(trained, tmp_path, kind):
    path = Path("/dev/zero") if kind == "a device without end" else tmp_path / "x.json"
    if kind == "a pipe":
        os.mkfifo(path)
    assert "is there already, and differs" in refusal(export_run, trained, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.norm", "layernorm"),
        ("model.activation", "gelu"),
        ("model.final_norm", "true"),
        ("model.bias", "true"),
        ("model.tie_head", "true"),
        ("model.position", "none"),
        ("tokenizer", "byte"),
        ("data.documents", "false"),
    ],
)
def test_what_microgpt_does_not_know_is_not_exported(composed, words, tmp_path, key, value):
    given = ["experiment=microgpt", "trainer.max_steps=1", *words, f"{key}={value}"]
    given += ["data.shuffle=false", "model.block_size=4"] if key == "data.documents" else []
    outcome = run_experiment(composed(*given), tmp_path / "outputs")
    line = refusal(export_run, outcome.path, tmp_path / "out.json")
    assert (key if "." in key else f"{key}.name") in line
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["import", "x.json", "--from", "keras"],
        ["export", "RUN", "--to", "keras"],
        ["export", "RUN", "--to", "tensorboard", "--file", "x.json"],
    ],
)
def test_what_a_verb_does_not_know_is_refused(given):
    result = CliRunner().invoke(app, given)
    assert isinstance(result.exception, ConfigError)
    assert ONE_LINE.fullmatch(only(problem_lines(result.exception)))


@pytest.mark.parametrize("part", ["config", "tokenizer", "blocks.0.attention.qkv.weight"])
def test_a_checkpoint_whose_parts_are_none_of_a_run_is_refused(trained, tmp_path, part):
    state = checkpoint.read(next(trained.glob("checkpoints/*.pt")))
    if part in state:
        del state[part]
    else:
        state["model"][part] = torch.zeros(2, 16)
    torch.save(state, path := tmp_path / "other.pt")
    assert "other.pt: " in refusal(export_run, path, tmp_path / "out.json")
    assert "other.pt: " in refusal(export_weights, path, "nanogpt", tmp_path / "out")
