"""`gptexp tokenize`: the same bytes by any number of processes, killed or not, and text again."""

import json
import signal
import struct
from pathlib import Path

import numpy as np
import pytest
from run_directories import write_run
from small_runs import cached

from gptexp import assets
from gptexp.data import sources, tokenize
from gptexp.data.token_manifest import read_token_manifest
from gptexp.files import sha256
from gptexp.tokenizers import merges
from gptexp.tokenizers.build import tokenizer_from_dict

WORDS = "the cat sat on the mat, and the dog — who had a hat — sat on the cat.\n"
PUBLISHED = merges.published
MERGES = "Ġ t\nh e\nĠt he\na t\nĠ s\nĠs at"


@pytest.fixture(autouse=True)
def _small(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 256)
    monkeypatch.setattr(merges, "published", lambda: MERGES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(WORDS * 40)
    lines = (json.dumps({"text": f"{number}: {WORDS.strip()}"}) for number in range(40))
    (tmp_path / "b.jsonl").write_text("\n".join(lines))


def tokens(folder: str, split: str = "train") -> np.ndarray:
    manifest = read_token_manifest(Path(folder))
    parts = []
    for shard in manifest.of_split(split):
        path = Path(folder) / shard.file
        assert (path.stat().st_size, sha256(path)) == (shard.bytes, shard.sha256)
        if shard.dtype == "uint32":
            parts.append(np.load(path))
        else:
            assert struct.unpack("<3i", path.read_bytes()[:12]) == (20240520, 1, shard.tokens)
            parts.append(np.fromfile(path, "<u2", offset=1024))
        assert len(parts[-1]) == shard.tokens
    return np.concatenate(parts)


def text(folder: str, split: str = "train") -> str:
    return tokenizer_from_dict(read_token_manifest(Path(folder)).tokenizer).decode(
        tokens(folder, split)
    )


def digests(folder: str) -> list[str]:
    return [shard.sha256 for shard in read_token_manifest(Path(folder)).shards]


@pytest.mark.parametrize("kind", [["char"], ["byte"], ["bpe", "--vocab-size", 270], ["gpt2"]])
def test_shards_of_each_tokenizer_decode_to_the_text(gptexp, kind):
    words = ["a.txt", "--to", "out", "--tokenizer", *kind, "--workers", 1]
    result = gptexp("tokenize", *words, "--shard-tokens", 500, "--no-end-of-text")
    assert (result.code, result.err) == (0, "")
    assert text("out") == WORDS * 36 and text("out", "val") == WORDS * 4
    shards = read_token_manifest(Path("out")).of_split("train")
    assert len(shards) > 1 and {shard.tokens for shard in shards[:-1]} == {500}


def test_a_document_of_gpt2_ends_in_its_token_and_others_in_a_line_break(gptexp):
    for kind in ("gpt2", "byte"):
        words = ["a.txt", "b.jsonl", "--to", kind, "--tokenizer", kind, "--val-fraction", 0]
        assert gptexp("tokenize", *words, "--workers", 1).code == 0
    manifest = read_token_manifest(Path("gpt2"))
    assert manifest.end_of_text == manifest.vocab_size - 1
    assert np.count_nonzero(tokens("gpt2") == manifest.end_of_text) == 41
    assert text("gpt2").split("<|endoftext|>")[:2] == [WORDS * 40, f"0: {WORDS.strip()}"]
    assert read_token_manifest(Path("byte")).end_of_text is None
    lines = "".join(f"{number}: {WORDS}" for number in range(40))
    assert text("byte") == WORDS * 40 + lines


def test_a_large_vocabulary_is_of_four_bytes_a_token(gptexp, monkeypatch):
    monkeypatch.setattr(tokenize, "SMALL", 200)
    assert (
        gptexp("tokenize", "a.txt", "--to", "out", "--tokenizer", "byte", "--workers", 1).code == 0
    )
    assert [shard.file for shard in read_token_manifest(Path("out")).shards] == [
        "train_000000.npy",
        "val_000000.npy",
    ]
    assert text("out") == WORDS * 36


@pytest.mark.slow
def test_any_number_of_processes_writes_the_same_bytes(gptexp, monkeypatch):
    monkeypatch.setattr(sources, "PIECE", 1000)
    for workers in (1, 2):
        words = ["b.jsonl", "--tokenizer", "byte", "--to", workers, "--workers", workers]
        assert gptexp("tokenize", *words, "--shard-tokens", 700).code == 0
    assert len(digests("1")) > 3 and digests("1") == digests("2")


@pytest.mark.slow
def test_an_error_of_another_process_is_the_same_line(gptexp):
    Path("b.jsonl").write_text('{"text": "a"}\n' * 99 + "{}\n")
    words = ["b.jsonl", "--tokenizer", "byte", "--to", "out", "--workers", 2, "--val-fraction", 0]
    result = gptexp("tokenize", *words)
    assert result.code == 2
    assert "b.jsonl:100: no text. Fix: name the one" in result.errors[0]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_killed_one_goes_on_behind_its_last_whole_shard(gptexp, monkeypatch, after):
    words = ["tokenize", "a.txt", "b.jsonl", "--tokenizer", "char", "--shard-tokens", 900]
    assert gptexp(*words, "--to", "whole", "--workers", 1).code == 0
    written, write = [], tokenize.write_shard

    def killed(folder, number, split, *rest):
        if len(written) == after:
            raise MemoryError
        written.append(write(folder, number, split, *rest))
        return written[-1]

    monkeypatch.setattr(tokenize, "write_shard", killed)
    assert gptexp(*words, "--to", "out", "--workers", 1).code != 0
    assert not Path("out/tokens.json").exists() and len(written) == after
    before = [Path("out", shard.file).stat().st_mtime_ns for shard in written]
    monkeypatch.setattr(tokenize, "write_shard", write)
    if after:
        other = gptexp(*words, "--to", "out", "--workers", 1, "--val-fraction", 0.5)
        assert other.code == 2 and "holds other tokens" in other.errors[0]
    assert gptexp(*words, "--to", "out", "--workers", 1).code == 0
    assert Path("out/tokens.json").read_text() == Path("whole/tokens.json").read_text()
    assert digests("out") == digests("whole")
    assert before == [Path("out", shard.file).stat().st_mtime_ns for shard in written]
    assert sorted(path.name for path in Path("out").iterdir() if path.name[0] != ".") == sorted(
        path.name for path in Path("whole").iterdir() if path.name[0] != "."
    )


def test_ctrl_c_keeps_whole_shards_and_says_how_to_go_on(gptexp, monkeypatch):
    write = tokenize.write_shard

    def interrupted(*args):
        shard = write(*args)
        signal.raise_signal(signal.SIGINT)
        return shard

    monkeypatch.setattr(tokenize, "write_shard", interrupted)
    words = ["tokenize", "a.txt", "--tokenizer", "byte", "--shard-tokens", 900, "--to", "out"]
    result = gptexp(*words, "--workers", 1)
    assert result.code == 130
    assert result.err == (
        "gptexp: interrupted: whole shards are kept; the same command goes on behind them\n"
    )
    assert [path.name for path in Path("out").glob("*.bin")] == ["train_000000.bin"]
    assert not list(Path("out").glob(".*.tmp"))


def test_the_same_again_is_done_already_wherever_the_texts_are(gptexp):
    words = ["--tokenizer", "byte", "--to", "out", "--workers", 1]
    assert gptexp("tokenize", "a.txt", *words).code == 0
    Path("a.txt").rename("moved.txt")
    result = gptexp("tokenize", "moved.txt", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("done    already: out holds these tokens\n")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["--val-fraction", 0.2], "--val-fraction 0.1, and not 0.2"),
        (["--shard-tokens", 99], "--shard-tokens 100000000, and not 99"),
        (["--tokenizer", "char"], "--tokenizer byte, and not char"),
        (["b.jsonl"], "other texts"),
    ],
)
def test_a_folder_of_other_tokens_is_refused(gptexp, changed, words):
    command = ["tokenize", "a.txt", "--tokenizer", "byte", "--to", "out", "--workers", 1]
    assert gptexp(*command).code == 0
    before = digests("out")
    result = gptexp(*command, *changed)
    assert result.code == 2
    assert result.errors == [
        f"out: holds other tokens: {words}. Fix: name another folder: --to FOLDER"
    ]
    assert digests("out") == before


def test_files_that_nobody_knows_are_not_written_over(gptexp):
    Path("out").mkdir()
    Path("out/train_000000.bin").write_bytes(b"mine")
    result = gptexp("tokenize", "a.txt", "--tokenizer", "byte", "--to", "out", "--workers", 1)
    assert result.code == 2
    assert result.errors[0].startswith("out: holds train_000000.bin, and no tokens.json")
    assert Path("out/train_000000.bin").read_bytes() == b"mine"


@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_a_shard_that_changed_is_found_and_the_fix_works(gptexp, damage):
    words = ["tokenize", "a.txt", "--tokenizer", "byte", "--to", "out", "--workers", 1]
    assert gptexp(*words).code == 0
    shard, good = Path("out/train_000000.bin"), digests("out")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"\1") if damage == "flip" else shard.unlink()
    result = gptexp(*words)
    assert result.code == 2
    assert result.errors[0].endswith(
        "Fix: delete tokens.* and all train_* and val_* files in the folder"
    )
    for pattern in ("tokens.*", "train_*", "val_*"):
        for path in Path("out").glob(pattern):
            path.unlink()
    assert gptexp(*words).code == 0 and digests("out") == good


def test_a_damaged_record_of_how_far_it_is_is_one_line(gptexp):
    Path("out").mkdir()
    Path("out/tokens.part.json").write_text('{"manifest": ' + "[" * 9000)
    result = gptexp("tokenize", "a.txt", "--tokenizer", "byte", "--to", "out", "--workers", 1)
    assert result.code == 2 and "tokens.part.json: damaged" in result.errors[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--tokenizer", "bpe"], "--vocab-size: how many tokens?"),
        (["--tokenizer", "bpe", "--vocab-size", 10], "--vocab-size: 10, and the bytes are 256"),
        (["--tokenizer", "byte", "--vocab-size", 300], "--vocab-size: 300, and only bpe"),
        (["--val-fraction", 1], "--val-fraction: 1 is not in [0, 1)"),
        (["--val-fraction", "nan"], "--val-fraction: nan is not in [0, 1)"),
        (["--tokenizer", "word"], "--tokenizer: 'word' is neither a tokenizer nor a run"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_made(gptexp, words, line):
    result = gptexp("tokenize", "a.txt", "--to", "out", *words)
    assert result.code == 2 and result.errors[0].startswith(line)
    assert not Path("out").exists()


def test_a_text_that_is_not_there_leaves_no_folder_behind(gptexp):
    result = gptexp("tokenize", "gone.txt", "--to", "out", "--tokenizer", "byte")
    assert result.code == 2 and result.errors[0].startswith("gone.txt: not there")
    assert not Path("out").exists()


@pytest.mark.parametrize("again", ["a.txt", "copy.txt"])
def test_a_text_that_comes_twice_is_told_while_some_of_it_is_held_out(gptexp, again):
    Path("copy.txt").write_text(Path("a.txt").read_text())
    words = ["tokenize", "a.txt", again, "--to", "out", "--tokenizer", "byte"]
    told = "a.txt: comes again, 1 repeat in all"
    assert told in gptexp(*words).err
    assert "comes again" not in gptexp(*words, "--to", "all", "--val-fraction", 0).err
    assert "comes again" not in gptexp("tokenize", "a.txt", "b.jsonl", "--to", "once").err


def test_more_byte_pairs_than_the_text_has_are_refused_with_how_many_there_are(gptexp):
    words = ["tokenize", "a.txt", "--to", "out", "--tokenizer", "bpe", "--workers", 1]
    result = gptexp(*words, "--vocab-size", 5000)
    assert result.code == 2
    fix = result.errors[0].split("--vocab-size ")[1].split(",")[0]
    assert gptexp(*words, "--vocab-size", fix).code == 0


def test_a_run_gives_its_own_tokenizer_and_refuses_what_it_does_not_know(gptexp, small, once):
    run = once(small(), Path("outputs"))
    known = Path(small().data.path).read_text()
    Path("known.txt").write_text(known)
    words = ["--tokenizer", run, "--workers", 1, "--val-fraction", 0, "--to"]
    assert gptexp("tokenize", "known.txt", *words, "out").code == 0
    assert text("out") == known
    Path("new.txt").write_text(known + "\u20ac")
    result = gptexp("tokenize", "new.txt", *words, "other")
    assert result.code == 2
    assert result.errors[0].startswith("new.txt: the character vocabulary does not have")
    assert gptexp("tokenize", "known.txt", *words, "other").code == 0  # nothing stands there yet


def test_a_folder_that_another_process_writes_in_is_refused(gptexp):
    from filelock import FileLock

    Path("out").mkdir()
    with FileLock("out/.lock"):
        result = gptexp("tokenize", "a.txt", "--tokenizer", "byte", "--to", "out")
    assert result.code == 6 and "another process writes there" in result.errors[0]


@pytest.mark.slow
def test_pieces_of_gpt2_have_the_tokens_of_the_whole_text(gptexp, monkeypatch):
    if not (assets.cache_folder() / merges.GPT2.filename).exists():
        pytest.skip("GPT-2's merges are not in the cache")
    monkeypatch.setattr(merges, "published", PUBLISHED)
    whole = "Hello world\n" + cached("tinyshakespeare", "python run.py")[:50_000]
    Path("a.txt").write_text(whole)
    words = ["a.txt", "--to", "out", "--val-fraction", 0, "--workers", 1, "--no-end-of-text"]
    assert gptexp("tokenize", *words).code == 0
    found = tokens("out")
    assert found[:2].tolist() == [15496, 995]
    tokenizer = tokenizer_from_dict(read_token_manifest(Path("out")).tokenizer)
    assert np.array_equal(found, tokenizer.encode(whole))


def test_the_tokenizer_of_one_of_several_runs_asks_which(gptexp, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs", seed)
    result = gptexp("tokenize", "a.txt", "--to", "out", "--tokenizer", tmp_path / "runs")
    assert result.code == 2 and "holds 2 runs" in result.errors[0]
