"""Runs written as GGUF files, as llama.cpp reads them."""

import sys

import pytest
import torch
from foreign_models import MODELS, exportable
from small_runs import refusal

import gptexp
from gptexp.interchange.outgoing import export_weights

__all__ = ["exportable"]

BYTE_PAIRS = ["tokenizer=bpe", "tokenizer.vocab_size=262"]
KINDS = {  # what llama.cpp has too
    "gpt2": [*MODELS["gpt2"], *BYTE_PAIRS],
    "plain": [*MODELS["plain"], "model.activation=gelu_tanh", *BYTE_PAIRS],
    "llama": [*MODELS["llama"], "model.bias=false", *BYTE_PAIRS],
    "all heads": [
        *MODELS["llama"],
        *("model.bias=false", "model.n_kv_head=null", "model.tie_head=true", *BYTE_PAIRS),
    ],
}


@pytest.fixture
def gguf():
    return pytest.importorskip("gguf")


def test_a_file_has_the_sizes_the_tokens_and_the_rows_as_they_are(gguf, exportable, tmp_path):
    run = exportable(*KINDS["llama"])
    path = export_weights(run, "gguf", tmp_path / "out" / "mine.gguf")
    reader, loaded = gguf.GGUFReader(path), gptexp.load(run)
    said = {key: field.contents() for key, field in reader.fields.items()}
    assert said["general.architecture"] == "llama"
    assert (said["llama.attention.head_count"], said["llama.attention.head_count_kv"]) == (2, 1)
    assert (said["llama.context_length"], said["llama.rope.freq_base"]) == (16, 500)
    assert said["tokenizer.ggml.tokens"] == [*loaded.tokenizer.ids]
    assert said["tokenizer.ggml.merges"] == loaded.tokenizer.merges.splitlines()
    end = said["tokenizer.ggml.eos_token_id"]
    assert loaded.tokenizer.decode([end]) == "\ufffd"  # a byte that no text has
    rows = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    keys = loaded.model.state_dict()["blocks.1.attention.qkv.weight"][8:12]
    assert torch.equal(rows["blk.1.attn_k.weight"], keys)
    assert len(rows) == 3 + 2 * 9


def test_biases_and_gains_that_a_model_lacks_are_there(gguf, exportable, tmp_path):
    path = export_weights(exportable(*KINDS["plain"]), "gguf", tmp_path / "mine.gguf")
    rows = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    assert not rows["blk.1.ffn_up.bias"].any() and (rows["output_norm.weight"] == 1).all()
    assert len(rows) == 5 + 2 * 12


def test_a_line_break_that_ends_documents_ends_a_text(gguf, exportable, tmp_path):
    documents = ["data=documents", f"data.path={tmp_path / 'text.txt'}", *KINDS["gpt2"]]
    run = exportable(*documents)
    reader = gguf.GGUFReader(export_weights(run, "gguf", tmp_path / "mine.gguf"))
    ids = gptexp.load(run).tokenizer.ids
    assert reader.fields["tokenizer.ggml.eos_token_id"].contents() == ids["Ċ"]
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (MODELS["gpt2"], "its tokens are"),
        ([*MODELS["gpt2"], "tokenizer=byte"], "its tokens are"),
        ([*MODELS["gpt2"], "model.activation=gelu"], "model.activation is gelu, not gelu_tanh"),
        ([*MODELS["llama"], "model.activation=geglu", "model.bias=false"], "not swiglu"),
        ([*MODELS["llama"], "model.bias=true"], "model.bias is true, not false"),
        ([*KINDS["gpt2"], "model.qk_norm=true"], "model.qk_norm is true, not false"),
    ],
)
def test_what_llama_cpp_does_not_have_is_named(words, said, exportable, tmp_path):
    run = exportable(*words)
    assert said in refusal(export_weights, run, "gguf", tmp_path / "mine.gguf")
    assert not (tmp_path / "mine.gguf").exists()


def test_a_file_is_not_written_over_and_the_library_is_asked_for(
    gguf, exportable, tmp_path, monkeypatch
):
    run, path = exportable(*KINDS["gpt2"]), tmp_path / "mine.gguf"
    path.write_text("mine")
    assert "is there already" in refusal(export_weights, run, "gguf", path)
    monkeypatch.setitem(sys.modules, "gguf", None)
    line = refusal(export_weights, run, "gguf", tmp_path / "other.gguf")
    assert line.startswith("gguf: ") and line.endswith("pip install -e '.[gguf]'")


@pytest.mark.slow(minutes=0.3)
@pytest.mark.parametrize("words", KINDS.values(), ids=[*KINDS])
def test_transformers_reads_a_file_and_predicts_the_same(words, exportable, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    transformers.logging.set_verbosity_error()
    run = exportable(*words)
    export_weights(run, "gguf", tmp_path / "mine.gguf")
    found = {"pretrained_model_name_or_path": tmp_path, "gguf_file": "mine.gguf"}
    config = transformers.AutoConfig.from_pretrained(**found)
    if config.model_type == "gpt2":  # whose context it does not read there, and takes for 1,024
        config.n_positions = 16
    model = transformers.AutoModelForCausalLM.from_pretrained(config=config, **found)
    loaded, text = gptexp.load(run), "that is  not\nthe question: be"
    theirs = transformers.AutoTokenizer.from_pretrained(**found)
    ids = theirs(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == loaded.tokenizer.encode(text).tolist()
    ids = ids[:, :8]
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids), model(ids).logits, rtol=0, atol=1e-5)
        row = ids
        for _ in range(8):
            row = torch.cat([row, loaded.model(row)[:, -1:].argmax(-1)], dim=1)
    greedy = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert greedy.tolist() == row.tolist()
