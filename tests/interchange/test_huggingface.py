"""GPT-2's folders read into run directories: the same logits, and a run like any other."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from foreign_models import CARD, WORDS, drawn, gpt2_folder, gpt2_logits, gpt2_tensors
from safetensors.torch import save_file
from small_runs import refusal
from typer.testing import CliRunner

import gptexp
from gptexp.analysis import records
from gptexp.cli.app import app
from gptexp.errors import CheckpointError, ConfigError, DataError
from gptexp.experiment import verify
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.inherit import inherited
from gptexp.experiment.run import run_experiment
from gptexp.experiment.verdict import Finding
from gptexp.interchange import vocabulary
from gptexp.interchange.huggingface import import_folder
from gptexp.runs.journal import read_journal
from gptexp.tokenizers.bpe import BytePairTokenizer

IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 39, 0])


def logits(run):
    with torch.no_grad():
        return gptexp.load(run).model(IDS[None])[0]


@pytest.fixture
def numbers(tmp_path):
    """The words that choose a file of tokens."""
    path = tmp_path / "numbers.bin"
    (np.arange(400) ** 2 % 40).astype("<u2").tofile(path)
    return ["data=tokens", f"data.path={path}", "data.vocab_size=40"]


def test_gpt2s_merges_are_the_same_tokenizer_from_a_folder_as_published(tmp_path, monkeypatch):
    lines = "Ġ t\nh e\n"
    sha256 = hashlib.sha256(f"{vocabulary.HEAD}\n{lines}".encode()).hexdigest()
    monkeypatch.setattr(vocabulary.merges, "GPT2", replace(vocabulary.merges.GPT2, sha256=sha256))
    published = BytePairTokenizer("gpt2", lines)
    (tmp_path / "merges.txt").write_text(f"{vocabulary.HEAD}\n{lines}")
    assert vocabulary.read_vocabulary(tmp_path, 259).to_dict() == published.to_dict()
    model = {"vocab": published.ids, "merges": [["Ġ", "t"], ["h", "e"]]}
    cut = {"type": "ByteLevel", "add_prefix_space": False}
    stored = {"normalizer": None, "model": model, "pre_tokenizer": cut}
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    assert vocabulary.read_vocabulary(tmp_path, 259).to_dict() == published.to_dict()


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_gpt2_predicts_what_its_formulas_say(prefix, tmp_path):
    tensors = gpt2_tensors()
    named = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    masks = {f"{prefix}h.{i}.attn.bias": torch.ones(1, 1, 12, 12) for i in range(2)}
    run = import_folder(gpt2_folder(tmp_path / "model", named | masks), WORDS, tmp_path)
    torch.testing.assert_close(logits(run), gpt2_logits(tensors, IDS), rtol=0, atol=1e-5)


def test_weights_in_several_files_and_an_own_head_are_read(tmp_path):
    tensors = gpt2_tensors() | drawn({"lm_head.weight": [40, 8]}, seed=1)
    folder = gpt2_folder(tmp_path / "model", {}, tie_word_embeddings=False)
    (folder / "model.safetensors").unlink()
    files = {name: f"model-{len(name) % 2 + 1}-of-2.safetensors" for name in tensors}
    for file in {*files.values()}:
        save_file({name: tensors[name] for name in files if files[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    run = import_folder(folder, WORDS, tmp_path)
    torch.testing.assert_close(logits(run), gpt2_logits(tensors, IDS), rtol=0, atol=1e-5)


def test_half_precision_comes_in_as_the_same_numbers(tmp_path):
    halves = {name: tensor.bfloat16() for name, tensor in gpt2_tensors().items()}
    run = import_folder(gpt2_folder(tmp_path / "model", halves), WORDS, tmp_path)
    loaded = gptexp.load(run).model.state_dict()
    assert torch.equal(loaded["token_table.weight"], halves["wte.weight"].float())


def test_a_name_that_is_given_is_that_of_the_folder(tmp_path, warnings):
    run = import_folder(gpt2_folder(tmp_path / "gpt2"), ["name=theirs"], tmp_path)
    assert run.parent.name == "theirs" and not warnings()


def test_an_import_without_a_text_has_no_losses_and_is_done(tmp_path):
    folder = gpt2_folder(tmp_path / "model")
    run = import_folder(folder, WORDS, tmp_path / "outputs")
    assert run.parent == tmp_path / "outputs" / "imported"
    [row], notes = records.collect([run])
    assert (row.state, row.best, row.final, notes) == ("done", None, None, [])
    assert row.params == sum(tensor.numel() for tensor in gpt2_tensors().values())
    assert read_journal(run / "metrics.jsonl") == [
        {"step": 0, "tokens": 0, "epoch": 0.0, "seconds": 0.0}
    ]
    stored = json.loads((run / "summary.json").read_text())
    assert stored["best"] is None and stored["config"]["data"]["name"] == "none"
    assert import_folder(folder, WORDS, tmp_path / "outputs") == run
    other = gpt2_folder(tmp_path / "other", gpt2_tensors(seed=1))
    assert import_folder(other, WORDS, tmp_path / "outputs") != run


def test_an_import_without_a_text_says_so_where_one_is_asked_for(tmp_path, numbers, monkeypatch):
    run = import_folder(gpt2_folder(tmp_path / "model"), WORDS, tmp_path / "outputs")
    fix = "data=text data.path=FILE"
    assert refusal(evaluate_run, run, None, []).endswith(f"Fix: {fix}")
    assert "nats per token" in evaluate_run(run, None, numbers)
    call = CliRunner()
    shown = call.invoke(app, ["reproduce", str(run)])
    assert shown.exit_code == 0, shown.output
    assert "nothing was evaluated" in shown.output
    full = ["reproduce", str(run), "--level", "full"]
    assert call.invoke(app, full).exit_code == 2
    monkeypatch.setattr(verify, "is_import", lambda record: False)  # as a stranger's run may say
    monkeypatch.setattr(verify, "check_config", lambda record: Finding("config.yaml", "whole"))
    assert "imported, and not trained here" in call.invoke(app, full).output
    assert call.invoke(app, ["table", str(run)]).exit_code == 0


def test_an_import_with_a_text_is_judged_on_it(tmp_path, numbers):
    words = [*WORDS, *numbers, "name=mine"]
    run = import_folder(gpt2_folder(tmp_path / "model"), words, tmp_path / "outputs")
    assert run.parent.name == "mine"
    [row], _ = records.collect([run])
    assert evaluate_run(run, None, []).startswith(f"val     {row.best:.4f}")


def test_training_starts_from_an_import(tmp_path, numbers, composed):
    run = import_folder(gpt2_folder(tmp_path / "model"), WORDS, tmp_path / "outputs")
    words = [*WORDS, f"init_from={run}", *numbers]
    words += ["trainer.max_steps=8", "trainer.eval_interval=4", "optim.lr=0.01"]
    outcome = run_experiment(inherited(composed(*words), words), tmp_path / "outputs")
    lines = [line for line in read_journal(outcome.path / "metrics.jsonl") if "val/loss" in line]
    judged = gptexp.load(run)
    assert lines[0]["val/loss"] > lines[-1]["val/loss"]
    assert judged.config.model.n_layer == CARD["n_layer"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "snake"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("n_head", 3),
    ],
)
def test_what_no_switch_here_can_say_is_named(key, value, tmp_path):
    folder = gpt2_folder(tmp_path / "model", **{key: value})
    assert f"config.json: {key} is " in refusal(import_folder, folder, WORDS, tmp_path)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["model.n_layer=3"], ConfigError),
        (["tokenizer=byte"], ConfigError),
        (["init_from=there"], ConfigError),
        (["data=text", "data.path=none.txt"], ConfigError),
        (["data=tokens", "data.path=none.bin"], DataError),
    ],
)
def test_what_the_folder_says_itself_is_not_to_be_given(words, error, tmp_path):
    folder = gpt2_folder(tmp_path / "model")
    with pytest.raises(error):
        import_folder(folder, [*WORDS, *words], tmp_path)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("kind", ["mamba", "gemma2"])  # which has a softcap
def test_an_unknown_kind_of_model_is_named(kind, tmp_path):
    folder = gpt2_folder(tmp_path / "model", model_type=kind, final_logit_softcapping=30.0)
    with pytest.raises(CheckpointError, match=f"model_type is '{kind}'"):
        import_folder(folder, WORDS, tmp_path)
