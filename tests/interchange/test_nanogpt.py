"""nanoGPT's ckpt.pt and meta.pkl read into run directories."""

import os
import pickle
import string
import subprocess
import sys

import pytest
import torch
from foreign_models import WORDS, gpt2_logits, gpt2_tensors, nanogpt_file
from small_runs import refusal

import gptexp
from gptexp.interchange import vocabulary
from gptexp.interchange.meta import read_meta, write_meta
from gptexp.interchange.nanogpt import import_checkpoint
from gptexp.runs.journal import read_journal
from gptexp.tokenizers.bpe import BytePairTokenizer
from gptexp.tokenizers.char import CharTokenizer

IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 39, 0])
CHARACTERS = "\n " + string.ascii_letters[:38]  # forty of them


@pytest.fixture
def meta(tmp_path):
    path = tmp_path / "data" / "meta.pkl"
    path.parent.mkdir()
    path.write_bytes(write_meta(CharTokenizer(CHARACTERS)))
    return path


def expected(bias):
    weights = gpt2_tensors()
    if not bias:
        weights = {n: 0 * w if n.endswith("bias") else w for n, w in weights.items()}
    return weights


@pytest.mark.parametrize(("bias", "prefix"), [(True, ""), (False, "_orig_mod.")])
def test_a_checkpoint_predicts_what_its_formulas_say(bias, prefix, tmp_path, meta, monkeypatch):
    file = nanogpt_file(tmp_path / "out" / "ckpt.pt", bias, prefix=prefix)
    run = import_checkpoint(file.parent, WORDS, tmp_path, meta=meta)
    loaded = gptexp.load(run)
    assert loaded.config.model.bias is bias
    assert loaded.tokenizer.characters == CHARACTERS
    gelu = torch.nn.functional.gelu  # nanoGPT's is the exact one
    monkeypatch.setattr(torch.nn.functional, "gelu", lambda x, approximate: gelu(x))
    with torch.no_grad():
        logits = loaded.model(IDS[None])[0]
    wanted = gpt2_logits(expected(bias), IDS, eps=1e-5)
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


def test_steps_and_tokens_are_those_of_the_file(tmp_path, meta):
    run = import_checkpoint(nanogpt_file(tmp_path / "ckpt.pt"), WORDS, tmp_path, meta=meta)
    [line] = read_journal(run / "metrics.jsonl")
    assert (line["step"], line["tokens"]) == (30, 30 * 4 * 2 * 12)
    assert gptexp.load(run).step == 30


@pytest.mark.slow
def test_characters_come_from_beside_the_file_or_from_a_text(tmp_path, meta):
    file = nanogpt_file(tmp_path / "ckpt.pt")
    text = tmp_path / "text.txt"
    text.write_text(CHARACTERS * 3)
    by_text = import_checkpoint(file, WORDS, tmp_path, text=text)
    assert gptexp.load(by_text).tokenizer.characters == "".join(sorted(CHARACTERS))
    assert gptexp.load(import_checkpoint(file, WORDS, tmp_path)).tokenizer.vocab_size == 40
    (tmp_path / "meta.pkl").write_bytes(meta.read_bytes())
    beside = import_checkpoint(file, WORDS, tmp_path)
    assert gptexp.load(beside).tokenizer.characters == CHARACTERS
    text.write_text("too few")
    assert "characters, and the model 40 tokens" in refusal(
        lambda: import_checkpoint(file, WORDS, tmp_path, text=text)
    )


def test_rows_that_stand_for_no_token_are_left_out(tmp_path, meta, monkeypatch):
    file = nanogpt_file(tmp_path / "ckpt.pt", rows=64)
    run = import_checkpoint(file, WORDS, tmp_path, meta=meta)
    weights = gptexp.load(run).model.state_dict()
    assert len(weights["head.weight"]) == len(weights["token_table.weight"]) == 40
    monkeypatch.setattr(vocabulary, "GPT2_TOKENS", 60)
    monkeypatch.setattr(vocabulary, "MOST_PADDED", 64)
    monkeypatch.setattr(vocabulary.merges, "published", lambda: "Ġ t")
    assert isinstance(vocabulary.guessed(64), BytePairTokenizer)


@pytest.mark.parametrize("protocol", range(6))
def test_a_meta_file_of_any_protocol_is_read_or_refused(protocol, tmp_path):
    itos = dict(enumerate(CHARACTERS))
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps({"vocab_size": 40, "itos": itos}, protocol=protocol))
    if protocol == 0:  # in lines of text, which no prepare.py of nanoGPT wrote
        assert "not plain" in refusal(read_meta, path)
    else:
        assert read_meta(path).characters == CHARACTERS


MEASURED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from model import GPT, GPTConfig
torch.manual_seed(0)
arguments = dict(n_layer=2, n_head=2, n_embd=16, block_size=12, bias=False, vocab_size=40)
model = GPT(GPTConfig(dropout=0.0, **arguments))
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, 0, 0.3)
saved = {"model": model.state_dict(), "model_args": arguments, "iter_num": 1, "config": {}}
torch.save(saved, sys.argv[2])
ids = torch.arange(10 * 12 + 1) ** 2 % 40
_, loss = model(ids[:-1].view(10, 12), ids[1:].view(10, 12))
print("loss", loss.item())
"""


@pytest.mark.slow(minutes=0.2)
@pytest.mark.skipif("NANOGPT_DIR" not in os.environ, reason="needs a checkout of nanoGPT")
def test_nanogpts_own_loss_is_ours(tmp_path, meta):
    file = tmp_path / "ckpt.pt"
    words = [sys.executable, "-c", MEASURED, os.environ["NANOGPT_DIR"], str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    theirs = float(said.split()[-1])
    run = gptexp.load(import_checkpoint(file, WORDS, tmp_path, meta=meta))
    text = "".join(CHARACTERS[i * i % 40] for i in range(121))
    assert abs(run.evaluate(text).loss - theirs) < 1e-4
