"""Runs written for other programs, and what comes back of them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from foreign_models import MODELS, WORDS, exportable, gpt2_folder, llama_folder
from safetensors.torch import load_file
from small_runs import refusal
from typer.testing import CliRunner

import gptexp
from gptexp.cli.app import app
from gptexp.config import GPTConfig
from gptexp.interchange.gpt2 import GPT2
from gptexp.interchange.huggingface import import_folder
from gptexp.interchange.llama import LLAMA
from gptexp.interchange.nanogpt import NANOGPT, import_checkpoint
from gptexp.interchange.outgoing import export_weights
from gptexp.tokenizers.build import tokenizer_config

__all__ = ["exportable"]


def same_model(one, two):
    one, two = gptexp.load(one), gptexp.load(two)
    assert two.tokenizer.to_dict() == one.tokenizer.to_dict()
    ids = torch.arange(12)[None]
    torch.testing.assert_close(two.model(ids), one.model(ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("words", MODELS.values(), ids=[*MODELS])
def test_an_import_of_an_export_is_the_same_model(words, exportable, tmp_path):
    run = exportable(*words)
    folder = export_weights(run, "huggingface", tmp_path / "out")
    same_model(run, import_folder(folder, WORDS, tmp_path / "back"))


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_tokens_come_back(tokenizer, exportable, tmp_path):
    size = ["tokenizer.vocab_size=262"] if tokenizer == "bpe" else []
    run = exportable(f"tokenizer={tokenizer}", *size)
    folder = export_weights(run, "huggingface", tmp_path / "out")
    back = import_folder(folder, WORDS, tmp_path / "back")
    same_model(run, back)
    loaded = gptexp.load(back)
    assert tokenizer_config(loaded.tokenizer) == loaded.config.tokenizer


@pytest.mark.parametrize("bias", ["true", "false"])
def test_nanogpts_checkpoint_comes_back(bias, exportable, tmp_path):
    run = exportable(f"model.bias={bias}")
    folder = export_weights(run, "nanogpt", tmp_path / "out")
    back = import_checkpoint(folder, WORDS, tmp_path / "back")
    same_model(run, back)
    assert gptexp.load(back).step == gptexp.load(run).step


def test_a_folder_keeps_the_order_of_rows_that_it_had(tmp_path):
    """Rotary halves to pairs and back, four matrices turned and back: bit for bit."""
    for make in (gpt2_folder, llama_folder):
        first = make(tmp_path / make.__name__)
        run = import_folder(first, WORDS, tmp_path / "runs")
        again = export_weights(run, "huggingface", tmp_path / f"{make.__name__}-again")
        theirs, ours = (load_file(f / "model.safetensors") for f in (first, again))
        theirs = {name.removeprefix("transformer."): tensor for name, tensor in theirs.items()}
        ours = {name.removeprefix("transformer."): tensor for name, tensor in ours.items()}
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
        before, after = (json.loads((f / "config.json").read_text()) for f in (first, again))
        assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        (family, key, value)
        for key, value in {
            "qk_norm": True,
            "window": [4],
            "embd_norm": True,
            "final_norm": False,
        }.items()
        for family in (GPT2, LLAMA, NANOGPT)
    ],
)
def test_a_switch_that_a_program_lacks_is_named(family, key, value, composed):
    model = composed("model=laptop", *MODELS["llama" if family is LLAMA else "gpt2"]).model
    model.activation, model.norm_eps = type(model.activation)(model.activation.value), 1e-5
    if family is NANOGPT:
        model = composed("model=laptop").model
    assert isinstance(model, GPTConfig)
    assert not [*family.lacking(model)]
    setattr(model, key, value)
    [what] = family.lacking(model)
    assert what.startswith(f"model.{key} is ")


def test_what_stands_there_already_is_not_written_over(exportable, tmp_path):
    run, path = exportable(), tmp_path / "out"
    path.mkdir()
    assert export_weights(run, "nanogpt", path) == path
    assert "is there already" in refusal(export_weights, run, "nanogpt", path)
    assert "model.activation is gelu, none of" in refusal(
        lambda: export_weights(exportable("model.position=rope"), "huggingface", tmp_path / "no")
    )
    assert not (tmp_path / "no").exists()


def test_the_verb_names_the_folder_by_the_run(exportable, tmp_path, monkeypatch):
    run = exportable()
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["export", str(run), "--to", "huggingface"])
    assert shown.output.splitlines()[-1] == f"wrote {run.name}-huggingface"


@pytest.mark.slow(minutes=0.2)
@pytest.mark.skipif("NANOGPT_DIR" not in os.environ, reason="needs a checkout of nanoGPT")
def test_nanogpts_sample_loads_an_export(exportable, tmp_path):
    folder = export_weights(exportable("model.bias=false"), "nanogpt", tmp_path / "out")
    pytest.importorskip("tiktoken")
    words = [sys.executable, "sample.py", f"--out_dir={folder}", "--device=cpu", "--start=To"]
    words += ["--num_samples=1", "--max_new_tokens=8", "--dtype=float32"]
    nanogpt = os.environ["NANOGPT_DIR"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=nanogpt).stdout
    assert "Loading meta" in said
    assert "\nTo" in said
