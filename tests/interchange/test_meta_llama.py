"""Llama in Meta's own layout read into run directories."""

import pytest
import torch
from foreign_models import WORDS, llama_folder, llama_tensors, meta_folder, meta_tensors
from safetensors.torch import save_file
from small_runs import refusal

import gptexp
from gptexp.interchange.huggingface import import_folder
from gptexp.interchange.meta_llama import META, import_llama

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 39, 0]])


def logits(run):
    with torch.no_grad():
        return gptexp.load(run).model(IDS)


def test_it_is_the_model_that_hugging_faces_layout_has(tmp_path):
    run = import_llama(meta_folder(tmp_path / "meta"), WORDS, tmp_path)
    other = import_folder(llama_folder(tmp_path / "llama"), WORDS, tmp_path)
    assert torch.equal(logits(run), logits(other))
    ours, theirs = (gptexp.load(path).config.model for path in (run, other))
    assert ours == theirs


@pytest.mark.slow
def test_rows_of_queries_and_keys_are_in_an_order_of_their_own(tmp_path):
    """What the test above shows is not the same for any order."""
    tensors = meta_tensors(llama_tensors())
    name = "layers.0.attention.wk.weight"
    tensors[name] = llama_tensors()["model.layers.0.self_attn.k_proj.weight"]
    run = import_llama(meta_folder(tmp_path / "meta", tensors), WORDS, tmp_path)
    other = import_llama(meta_folder(tmp_path / "other"), WORDS, tmp_path)
    assert not torch.allclose(logits(run), logits(other), atol=1e-3)


def test_safetensors_half_precision_and_a_shared_table_are_read(tmp_path):
    tensors = {n: t.bfloat16() for n, t in meta_tensors(llama_tensors()).items()}
    del tensors["output.weight"]
    tensors["rope.freqs"] = torch.ones(2)
    folder = meta_folder(tmp_path / "meta", vocab_size=-1)
    (folder / "consolidated.00.pth").unlink()
    save_file(tensors, folder / "consolidated.safetensors")
    loaded = gptexp.load(import_llama(folder, WORDS, tmp_path)).model
    table = tensors["tok_embeddings.weight"].float()
    assert torch.equal(loaded.token_table.weight, table)
    assert loaded.head.weight is loaded.token_table.weight


@pytest.mark.parametrize(
    ("given", "width"),
    [
        ({"dim": 4096, "n_heads": 32, "multiple_of": 256}, 11008),  # Llama and Llama 2, 7B
        ({"dim": 5120, "n_heads": 40, "multiple_of": 256}, 13824),  # 13B
        ({"dim": 4096, "multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14336),  # Llama 3, 8B
        ({"dim": 8192, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28672),  # 70B
        ({"dim": 4096, "hidden_dim": 14336, "rope_theta": 1e6}, 14336),  # Mistral
    ],
)
def test_the_hidden_width_is_that_of_the_published_models(given, width):
    said = META.struct(**{"n_layers": 2, "n_heads": 32, **given})
    assert not [*META.unknown(said)]
    assert META.model(said)[0].mlp_width == width


def test_tokens_without_a_file_that_is_read_are_numbers(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = meta_folder(tmp_path / "meta")
    (folder / "tokenizer.model").write_bytes(b"\n")
    run = import_llama(folder, WORDS, tmp_path)
    assert "by their numbers: tokenizer.model is SentencePiece's or tiktoken's" in caplog.text
    assert gptexp.load(run).tokenizer.vocab_size == 40


def test_the_parts_of_several_devices_are_one_line(tmp_path):
    folder = meta_folder(tmp_path / "meta")
    (folder / "consolidated.01.pth").write_bytes(b"")
    assert "holds consolidated.01.pth" in refusal(import_llama, folder, WORDS, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_scaled_rope", True),
        ("sliding_window", 4096),
        ("head_dim", 3),
        ("n_heads", 3),
        ("n_heads", 8),
        ("n_kv_heads", 3),
        ("ffn_dim_multiplier", 1e-9),
    ],
)
def test_what_no_switch_here_can_say_is_named(key, value, tmp_path):
    folder = meta_folder(tmp_path / "meta", **{key: value})
    assert f"params.json: {key} " in refusal(import_llama, folder, WORDS, tmp_path)
