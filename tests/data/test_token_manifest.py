"""tokens.json: written and read back, and nothing believed of a file that says what cannot be."""

import json
from dataclasses import asdict, replace

import pytest

from gptexp.data.token_manifest import (
    Shard,
    Source,
    TokenManifest,
    read_token_manifest,
    write_token_manifest,
)
from gptexp.errors import DamagedError

DIGEST = "a" * 64
MANIFEST = TokenManifest(
    format=1,
    tokenizer={"name": "byte"},
    vocab_size=256,
    end_of_text=None,
    options={"shard_tokens": 100, "val_fraction": 0.1},
    shards=[
        Shard("train_000000.bin", "train", "uint16", 90, 1204, DIGEST),
        Shard("val_000000.bin", "val", "uint16", 10, 1044, DIGEST),
    ],
    sources=[Source("a.txt", 100, DIGEST)],
)


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    write_token_manifest(tmp_path, MANIFEST)
    assert read_token_manifest(tmp_path) == MANIFEST
    assert [shard.tokens for shard in MANIFEST.of_split("val")] == [10]


def test_a_folder_without_one_has_none(tmp_path):
    assert read_token_manifest(tmp_path) is None


def changed(**values):
    """The manifest with other values; those of `shard` go into its first shard."""
    stored = asdict(MANIFEST)
    stored["shards"][0] |= values.pop("shard", {})
    return json.dumps(stored | values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "truncated"),
        ("[1]", "Expected"),
        (changed(tokenizer="TREE").replace('"TREE"', '{"a":' * 5000 + "1" + "}" * 5000), "nested"),
        (changed(format=2), "format"),
        (changed(vocab_size=0), "vocab_size"),
        (changed(vocab_size=70_000), "uint16, and the vocabulary has 70,000"),
        (changed(end_of_text=256), "end_of_text is 256"),
        (changed(end_of_text=-1), "end_of_text"),
        (changed(shards=[]), "no shards"),
        (changed(sources=[{"name": "a", "bytes": 1, "sha256": "b"}]), "sha256"),
        (changed(shard={"file": "../x.bin"}), "file"),
        (changed(shard={"file": "/etc/passwd"}), "file"),
        (changed(shard={"file": "a\\b"}), "file"),
        (changed(shard={"file": ".."}), "no file of tokens"),
        (changed(shard={"file": "tokens.json"}), "no file of tokens"),
        (changed(shard={"file": "val_000000.bin"}), "stands there 2 times"),
        (changed(shard={"tokens": -1}), "tokens"),
        (changed(shard={"tokens": float("nan")}), "damaged"),
        (changed(shard={"tokens": 10**30}), "tokens"),
        (changed(shard={"tokens": 603}), "too few for 603 tokens"),
        (changed(shard={"dtype": "object"}), "dtype"),
        (changed(shard={"split": "test"}), "split"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_fix(tmp_path, text, words):
    (tmp_path / "tokens.json").write_text(text)
    with pytest.raises(DamagedError, match=words) as caught:
        read_token_manifest(tmp_path)
    [problem] = caught.value.problems
    assert problem.subject == tmp_path / "tokens.json"
    assert "gptexp tokenize" in problem.fix and "\n" not in str(problem)


def test_a_value_that_json_has_no_word_for_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        options = {"val_fraction": float("nan")}
        write_token_manifest(tmp_path, replace(MANIFEST, options=options))
    assert not list(tmp_path.iterdir())
