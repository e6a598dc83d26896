"""Folders and files that lie about what they hold: one line each, and nothing is run or left.

What is tried: config.json with NaN, nested deep, of other kinds, of huge sizes, with more layers
than there are, as a link or a pipe; safetensors whose header is longer than the file, whose offsets
overlap or lead out of it, of huge shapes, of bytes, of other shapes, with NaN, as a link or a pipe;
indexes that name other folders, numbers or nothing; pickles in the place of each; the like in
Meta's folders, and archives that unpack to more than they hold.
"""

import io
import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from foreign_models import (
    PARAMS,
    WORDS,
    gpt2_folder,
    gpt2_tensors,
    llama_folder,
    llama_tensors,
    meta_folder,
    meta_tensors,
    nanogpt_file,
)
from safetensors.torch import save_file
from small_runs import ONE_LINE, problem_lines
from typer.testing import CliRunner

from gptexp.cli.app import app
from gptexp.errors import GptexpError
from gptexp.interchange import tensors
from gptexp.interchange.huggingface import import_folder
from gptexp.interchange.meta import read_meta
from gptexp.interchange.meta_llama import import_llama
from gptexp.interchange.nanogpt import import_checkpoint


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def one_line(call, *arguments):
    with pytest.raises(GptexpError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    [line] = problem_lines(caught.value)
    assert ONE_LINE.fullmatch(line) and len(line) < 700
    return line


def header(entries, data=b"", size=None):
    """A safetensors file with this header, which says that it has so many bytes."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


CONFIGS = {
    "not json": "{",
    "a list": "[]",
    "NaN": '{"model_type": "gpt2", "layer_norm_epsilon": NaN}',
    "nested": '{"model_type": "gpt2", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a number": '{"model_type": 7}',
    "huge": '{"model_type": "gpt2", "n_embd": 1e30}',
    "larger than can be": '{"model_type": "gpt2", "n_embd": 99999999999}',
    "negative": '{"model_type": "gpt2", "n_layer": -1}',
    "a text": '{"model_type": "gpt2", "n_layer": "2"}',
    "zero": '{"model_type": "llama", "rms_norm_eps": 0}',
    "scaled": '{"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8}}',
    "no base": '{"model_type": "llama", "rope_parameters": {"rope_theta": "x"}}',
    "a base of true": '{"model_type": "llama", "rope_parameters": {"rope_theta": true}}',
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=[*CONFIGS])
def test_a_config_that_cannot_be_is_one_line(text, tmp_path):
    folder = gpt2_folder(tmp_path / "model")
    (folder / "config.json").write_text(text)
    assert "config.json" in one_line(import_folder, folder, WORDS, tmp_path)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("key", ["n_layer", "n_embd", "n_positions", "vocab_size", "n_inner"])
def test_sizes_that_the_weights_have_not_are_one_line(key, tmp_path):
    folder = gpt2_folder(tmp_path / "model", **{key: 2**20})
    assert "weights" in one_line(import_folder, folder, WORDS, tmp_path)
    llama = llama_folder(tmp_path / "llama", num_hidden_layers=2**20)
    assert "1,048,576 layers" in one_line(import_folder, llama, WORDS, tmp_path)


FILES = {
    "empty": b"",
    "a long header": header({}, size=2**62),
    "huge shapes": header({"wte.weight": entry([2**40, 2**40], 0, 8)}, b"12345678"),
    "out of the file": header({"wte.weight": entry([2], 0, 8)}),
    "overlapping": header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, b"1" * 12),
    "negative": header({"a": entry([2], -8, 0)}, b"1" * 8),
    "no header": struct.pack("<Q", 4) + b"\xff" * 4,
    "nested": struct.pack("<Q", 20_000) + b"[" * 20_000,
    "another type": header({"a": entry([2], 0, 8, "F99")}, b"1" * 8),
}


@pytest.mark.parametrize("data", FILES.values(), ids=[*FILES])
def test_a_safetensors_file_that_lies_is_one_line(data, tmp_path):
    folder = gpt2_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(data)
    assert "model.safetensors" in one_line(import_folder, folder, WORDS, tmp_path)


CHANGES = {
    "nan": lambda w: w["ln_f.bias"].fill_(torch.nan),
    "missing": lambda w: w.pop("wpe.weight"),
    "more": lambda w: w.update({"x\n" * 300: torch.ones(1)}),
    "whole numbers": lambda w: w.update({"wte.weight": torch.ones(40, 8, dtype=torch.int8)}),
    "no numbers": lambda w: w.update({"wte.weight": torch.ones(0, 8)}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=[*CHANGES])
def test_weights_that_do_not_fit_are_one_line(change, tmp_path):
    weights = gpt2_tensors()
    change(weights)
    folder = gpt2_folder(tmp_path / "model", weights)
    assert "its weights do not fit" in one_line(import_folder, folder, WORDS, tmp_path)


INDEXES = {
    "another folder": '{"weight_map": {"wte.weight": "../other/model.safetensors"}}',
    "an absolute path": '{"weight_map": {"wte.weight": "/etc/model.safetensors"}}',
    "a hidden one": '{"weight_map": {"wte.weight": ".safetensors"}}',
    "a number": '{"weight_map": {"wte.weight": 7}}',
    "a list": '{"weight_map": {"wte.weight": ["a.safetensors"]}}',
    "none": "{}",
    "nothing": "[]",
    "not there": '{"weight_map": {"wte.weight": "model-1.safetensors"}}',
    "a pickle": '{"weight_map": {"wte.weight": "pytorch_model.bin"}}',
}


@pytest.mark.parametrize("text", INDEXES.values(), ids=[*INDEXES])
def test_an_index_names_files_of_its_folder_alone(text, tmp_path):
    gpt2_folder(tmp_path / "other")
    folder = gpt2_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    one_line(import_folder, folder, WORDS, tmp_path)


@pytest.mark.parametrize(
    "name",
    [*("config.json", "model.safetensors", "tokenizer.json"), "params.json", "consolidated.00.pth"],
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(name, kind, tmp_path):
    is_meta = name in ("params.json", "consolidated.00.pth")
    folder, path = tmp_path / "model", tmp_path / "model" / name
    (meta_folder if is_meta else gpt2_folder)(folder)
    if path.exists():
        path.rename(tmp_path / "moved")
    else:
        (tmp_path / "moved").write_text("{}")
    if kind == "link":
        path.symlink_to(tmp_path / "moved")
    else:
        (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    call = import_llama if is_meta else import_folder
    assert "not a regular file" in one_line(call, folder, WORDS, tmp_path)


def test_more_than_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    folder = gpt2_folder(tmp_path / "model")
    monkeypatch.setattr(tensors, "available_memory", lambda device: 1000)
    assert "GB of memory" in one_line(import_folder, folder, WORDS, tmp_path)


@pytest.mark.slow
def test_the_verb_ends_with_2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = {"huggingface": import_folder, "llama": import_llama, "nanogpt": import_checkpoint}
    for origin, call in calls.items():
        assert CliRunner().invoke(app, ["import", "none", "--from", origin]).exit_code != 0
        one_line(call, tmp_path / "none", WORDS)


@pytest.mark.slow
def test_pickles_are_not_run(tmp_path):
    trap = tmp_path / "trap"
    folder = gpt2_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(trap)))
    one_line(import_folder, folder, WORDS, tmp_path)
    for data in (pickle.dumps(Bomb(trap)), b"\x80\x04r\xff\xff\xff\xff.", b"", b"\x80\x04}."):
        (tmp_path / "meta.pkl").write_bytes(data)
        one_line(read_meta, tmp_path / "meta.pkl")
    for itos in ({0: "a", 2: "b"}, {0: "a", 1: "a"}, {0: "ab"}, {0: 5}, {}, {0: "\ud800"}):
        data = pickle.dumps({"itos": itos}, protocol=4)
        (tmp_path / "meta.pkl").write_bytes(data)
        one_line(read_meta, tmp_path / "meta.pkl")
    file = nanogpt_file(tmp_path / "ckpt.pt")
    (tmp_path / "meta.pkl").unlink()
    saved = torch.load(file, weights_only=True)
    lies = [{"model": Bomb(trap)}, {"model": {7: torch.ones(1)}}, {"model": None}]
    lies += [{"model": {"a": torch.ones(1).expand(2**40)}}, {"model": {"wte.weight": 5}}]
    lies += [{"model_args": {**saved["model_args"], "n_layer": n}} for n in (0, 2**20, "2", 1.5)]
    for lie in lies:
        torch.save({**saved, **lie}, file)
        one_line(import_checkpoint, file, WORDS, tmp_path)
    assert not trap.exists() and not (tmp_path / "imported").exists()


def test_two_files_with_the_same_name_of_a_tensor_are_one_line(tmp_path):
    folder = gpt2_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    for name in ("a.safetensors", "b.safetensors"):
        save_file(gpt2_tensors(), folder / name)
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "as another file of the folder does" in one_line(import_folder, folder, WORDS, tmp_path)


def test_tokens_that_do_not_fit_are_one_line_or_numbers(tmp_path, caplog):
    folder = gpt2_folder(tmp_path / "model")
    vocab = {chr(0x4E00 + i): i for i in range(41)}
    stored = {"normalizer": None, "model": {"type": "WordLevel", "vocab": vocab}}
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    assert "has 41 tokens, and the model 40" in one_line(import_folder, folder, WORDS, tmp_path)
    caplog.set_level("INFO")
    for odd in ({}, {"normalizer": None, "model": {"vocab": {"a": []}, "merges": [7]}}):
        (folder / "tokenizer.json").write_text(json.dumps(odd))
        import_folder(folder, WORDS, tmp_path)
        assert "by their numbers" in caplog.text


PARAMETERS = {
    "not json": "{",
    "a list": "[]",
    "nothing": "{}",
    "nested": '{"x": ' + "[" * 100_000,
    "a text": {"norm_eps": "1e-5"},
    "NaN": '{"dim": 8, "norm_eps": NaN}',
    "zero": {"n_heads": 0},
    "negative": {"vocab_size": -2},
    "half a layer": {"n_layers": 1.5},
    "true": {"dim": True},
    "null": {"dim": None},
    "larger than can be": {"dim": 2**70},
    "other widths": {"dim": 2**20},
    "more layers": {"n_layers": 2**20},
    "more rows": {"vocab_size": 2**24},
    "a wide MLP": {"hidden_dim": 2**24},
    "a factor without end": {"ffn_dim_multiplier": 1e9},
    "a multiple without end": {"multiple_of": 2**24},
    "angles for more positions than memory": {"max_seq_len": 2**24},
    "no base": {"rope_theta": 0},
}


@pytest.mark.parametrize("said", PARAMETERS.values(), ids=[*PARAMETERS])
def test_params_that_cannot_be_are_one_line(said, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "available_memory", lambda device: 10**9)
    folder = meta_folder(tmp_path / "model")
    if isinstance(said, dict):
        said = json.dumps({**PARAMS, **said})
    (folder / "params.json").write_text(said)
    one_line(import_llama, folder, WORDS, tmp_path)
    assert not (tmp_path / "imported").exists()


def test_a_config_larger_than_any_is_not_read(tmp_path):
    for folder, name, call in (
        (meta_folder(tmp_path / "meta"), "params.json", import_llama),
        (gpt2_folder(tmp_path / "gpt2"), "config.json", import_folder),
    ):
        with (folder / name).open("wb") as file:
            file.truncate(2**30)
        assert "larger than" in one_line(call, folder, WORDS, tmp_path)


def zipped(compression=zipfile.ZIP_DEFLATED, **files):
    """An archive like torch's, of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", data)
    return buffer.getvalue()


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def changed(**weights):
    return saved({**meta_tensors(llama_tensors()), **weights})


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch trap",)


CONSOLIDATED = {
    "empty": b"",
    "a bomb": zipped(data_pkl=pickle.dumps({}), zeros=bytes(10**7)),
    "a command": pickle.dumps(Command()),
    "a command in an archive": zipped(zipfile.ZIP_STORED, data_pkl=pickle.dumps(Command())),
    "a command beside the weights": changed(x=Command()),
    "a list": saved([torch.ones(2)]),
    "numbers": changed(norm=5),
    "no names": saved({7: torch.ones(2)}),
    "a number seen as many": changed(**{"norm.weight": torch.ones(1).expand(2**40)}),
    "a number seen as a matrix": changed(**{"output.weight": torch.ones(1).expand(40, 8)}),
    "no memory": changed(**{"norm.weight": torch.ones(8, device="meta")}),
    "sparse": changed(**{"norm.weight": torch.eye(8).to_sparse()}),
    "other shapes": changed(**{"layers.0.attention.wk.weight": torch.ones(8, 8)}),
    "complex": changed(**{"norm.weight": torch.ones(8, dtype=torch.complex64)}),
    "quantised": changed(**{"layers.1.feed_forward.w2.weight": torch.ones(8, 20).char()}),
    "NaN": changed(**{"norm.weight": torch.full((8,), torch.nan)}),
    "no table": changed(**{"tok_embeddings.weight": torch.tensor(1.0)}),
    "an expert": changed(**{"layers.0.feed_forward.experts.0.w1.weight": torch.ones(1)}),
    "cut short": changed()[:-100],
}


@pytest.mark.parametrize("data", CONSOLIDATED.values(), ids=[*CONSOLIDATED])
def test_metas_weights_that_lie_are_one_line(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said in ({}, {"vocab_size": -1}):
        folder = meta_folder(tmp_path / "model", {}, **said)
        (folder / "consolidated.00.pth").write_bytes(data)
        one_line(import_llama, folder, WORDS, tmp_path)
        (folder / "consolidated.00.pth").rename(folder / "consolidated.safetensors")
        one_line(import_llama, folder, WORDS, tmp_path)
    assert not (tmp_path / "trap").exists() and not (tmp_path / "imported").exists()
