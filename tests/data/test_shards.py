"""Token files: found, and refused in a line where they are not what they say."""

import os

import numpy as np
import pytest
from small_runs import only, problem_lines
from token_folders import npy, raw, settings, with_header

from gptexp.data import shards
from gptexp.data.read import corpus_digest
from gptexp.data.shards import find_token_files
from gptexp.errors import DataError

pytestmark = pytest.mark.usefixtures("own_cache")

TOKENS = [5, 0, 65535, 464, 20]


def read(shard):
    with shard.opened() as opened:
        return opened.read(0, shard.tokens).tolist()


def tokens_of(path, **changes):
    return [read(shard) for shard in find_token_files(settings(path, **changes)).shards]


def refusal(path, **changes):
    with pytest.raises(DataError) as refused:
        find_token_files(settings(path, **changes))
    return only(problem_lines(refused.value))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: raw(path / "a.bin", TOKENS),
        lambda path: with_header(path / "a.bin", TOKENS),
        lambda path: with_header(path / "a.bin", TOKENS, "<u4", 20240801, 7),
        lambda path: npy(path / "a.npy", TOKENS),
        lambda path: npy(path / "a.npy", TOKENS, "<u4"),
    ],
    ids=["nanoGPT", "llm.c", "llm.c-llama3", "npy-uint16", "npy-uint32"],
)
def test_each_format_gives_its_tokens_back(tmp_path, write):
    path = write(tmp_path)
    assert tokens_of(path) == tokens_of(tmp_path) == tokens_of(tmp_path / "a.*") == [TOKENS]


def test_shards_are_in_the_order_of_their_names_with_the_splits_that_these_tell(tmp_path):
    for name in ("fineweb_val_000000", "fineweb_train_000002", "fineweb_train_000001"):
        raw(tmp_path / f"{name}.bin", [int(name[-1])])
    (tmp_path / "meta.pkl").write_bytes(b"of nanoGPT, and never read")
    found = find_token_files(settings(tmp_path)).shards
    assert [(shard.split, read(shard)) for shard in found] == [
        ("train", [1]),
        ("train", [2]),
        ("val", [0]),
    ]
    [alone] = find_token_files(settings(tmp_path / "fineweb_val_000000.bin")).shards
    assert alone.split is None, "of one kind alone, the end is for validation"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b"abc"), "3 bytes, and 2 are a token"),
        (lambda path: path.write_bytes(b""), "holds no token"),
        (lambda path: with_header(path, []), "holds no token"),
        (lambda path: with_header(path, TOKENS, told=6), "says 6 tokens, and it holds 5"),
        (lambda path: with_header(path, TOKENS, told=-6), "says -6 tokens, and it holds 5"),
        (lambda path: with_header(path, TOKENS, version=2), "version 2, not 1"),
        (lambda path: with_header(path, TOKENS, magic=20240521), "magic 20240521 is not known"),
        (lambda path: with_header(path, TOKENS, "<u4", 20240801, 1), "version 1, not 7"),
        (lambda path: path.mkdir(), "a link, a pipe, a device or a folder"),
        (lambda path: os.mkfifo(path), "a link, a pipe, a device or a folder"),
        (
            lambda path: path.symlink_to(path.parent / "else"),
            "a link, a pipe, a device or a folder",
        ),
    ],
)
def test_a_bin_that_is_not_what_it_says_is_one_line(tmp_path, write, words):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.bin")
    line = refusal(tmp_path / "in")
    assert words in line and "a.bin" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((2, 3), np.uint16), "an array of uint16 with 2 axes"),
        (np.zeros(3, np.float32), "an array of float32 with one axis"),
        (np.array([{}, None]), "an array of object with one axis"),
        (b"\x93NUMPY\x01\x00\x04\x00{[({", "none of a .npy file"),
        (b"no array", "none of a .npy file"),
        (b"\x93NUMPY\x09\x00", "none of a .npy file"),
    ],
)
def test_a_npy_of_anything_else_is_one_line_and_nothing_is_unpickled(tmp_path, content, words):
    path = tmp_path / "a.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    assert words in refusal(path)


def test_a_npy_that_is_cut_off_is_one_line(tmp_path):
    path = npy(tmp_path / "a.npy", TOKENS)
    path.write_bytes(path.read_bytes()[:-3])
    assert "says 5 tokens, and it holds 3.5" in refusal(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere", "is not there"),
        ("empty", "a folder without token files"),
        ("*.bin", "is not there"),
        ("a.txt", "no token file by its name, which ends in .txt"),
        ("a\0b", "is not"),
    ],
)
def test_a_path_without_token_files_is_one_line(tmp_path, path, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("words")
    assert words in refusal(f"{tmp_path}/{path}")


def test_a_name_without_a_split_among_others_with_one_is_one_line(tmp_path):
    raw(tmp_path / "train.bin", TOKENS)
    raw(tmp_path / "more.bin", TOKENS)
    assert "neither train nor val is in its name" in refusal(tmp_path)


# Digests


def test_the_digest_is_of_what_the_files_hold_and_not_of_their_place(tmp_path):
    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
        raw(tmp_path / folder / "train.bin", TOKENS if folder != "three" else TOKENS[::-1])
        raw(tmp_path / folder / "val.bin", [1, 2])
    one, two, three = (corpus_digest(settings(tmp_path / name)) for name in ("one", "two", "three"))
    assert one == two != three
    (tmp_path / "two" / "val.bin").rename(tmp_path / "two" / "was")
    (tmp_path / "two" / "train.bin").rename(tmp_path / "two" / "val.bin")
    (tmp_path / "two" / "was").rename(tmp_path / "two" / "train.bin")
    assert corpus_digest(settings(tmp_path / "two")) != one


def test_a_shard_is_read_whole_once_and_again_when_it_is_another(tmp_path, monkeypatch):
    path = raw(tmp_path / "a.bin", TOKENS)
    first = corpus_digest(settings(path))
    learned = []
    learn = shards._learn
    monkeypatch.setattr(shards, "_learn", lambda shard: learned.append(shard) or learn(shard))
    monkeypatch.setattr(shards, "_CONTENTS", {})  # as in another process
    assert corpus_digest(settings(path)) == first and not learned
    raw(path, [1, *TOKENS[1:]])
    assert corpus_digest(settings(path)) != first and len(learned) == 1, "its time is another"


@pytest.mark.parametrize("content", [b"", b"{", b'{"sha256": 5, "largest": 1}', b"[" * 10**5])
def test_what_is_kept_of_a_shard_and_damaged_is_found_anew(tmp_path, monkeypatch, content):
    path = raw(tmp_path / "a.bin", TOKENS)
    first = corpus_digest(settings(path))
    [kept] = (tmp_path / "user-cache" / "gptexp" / "shards").iterdir()
    kept.write_bytes(content)
    monkeypatch.setattr(shards, "_CONTENTS", {})
    assert corpus_digest(settings(path)) == first
    assert kept.read_bytes() != content


def test_a_shard_that_changed_since_it_was_found_is_one_line(tmp_path):
    path = raw(tmp_path / "a.bin", TOKENS)
    files = find_token_files(settings(path))
    for content, words in [([*TOKENS, 1], ", from 10 bytes to 12. "), (TOKENS[::-1], ". ")]:
        raw(path, content)
        for look in (files.digest, lambda: read(files.shards[0])):
            with pytest.raises(DataError) as refused:
                look()
            line = only(problem_lines(refused.value))
            assert f"a.bin: changed while it was in use{words}Fix: restore it" in line


def test_a_shard_that_is_cut_while_it_is_open_is_one_line(tmp_path):
    path = raw(tmp_path / "a.bin", range(50_000))
    [shard] = find_token_files(settings(path)).shards
    with shard.opened() as opened:
        os.truncate(path, 50_001)
        with pytest.raises(DataError, match="from 100,000 bytes to 50,001"):
            opened.read(0, 50_000)
