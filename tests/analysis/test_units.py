"""Runs of several tokenizers side by side: bits per byte compare them, losses per token do not."""

import json

import pytest
from run_directories import valley, write_run

from gptexp.analysis.diff import report
from gptexp.analysis.find import find_run
from gptexp.analysis.paired import pair
from gptexp.analysis.records import collect
from gptexp.analysis.units import BITS, NATS, in_bits, unit

CHAR = {"best": 2.0, "bpb": 2.5}  # by the token the better one, by the byte the worse
BPE = {"best": 4.0, "bpb": 2.25, "tokenizer__name": "bpe", "tokenizer__vocab_size": 512}
NOTE = (
    "several tokenizers (bpe 512, char): best, val, final, height and test are nats per token, and "
    "compare within one of them alone; bpb, the best in bits per byte, compares them all"
)


@pytest.fixture
def both(tmp_path):
    """A folder of two runs on one text, in two tokenizers."""
    for seed in (0, 1):
        write_run(tmp_path / "a", seed, metrics=valley(2.0), **CHAR)
        write_run(tmp_path / "a", seed, metrics=valley(4.0), **BPE)
    return tmp_path / "a"


def heads(gptexp, *arguments):
    code, out, err = gptexp("table", *arguments)
    assert (code, err) == (0, "")
    rows, _, notes = out.rstrip("\n").partition("\n\n")
    return rows.splitlines()[0].split(), notes


def test_a_table_of_several_tokenizers_has_bits_per_byte_and_says_why(gptexp, both):
    names, notes = heads(gptexp, both)
    assert "bpb" in names and NOTE in notes
    names, notes = heads(gptexp, both, "--by", "tokenizer.name")
    assert "bpb" in names and NOTE in notes
    names, notes = heads(gptexp, both, "--where", "tokenizer.name=bpe")
    assert "bpb" not in names and "tokenizers" not in notes


def test_a_table_of_one_tokenizer_has_them_for_programs_alone(gptexp, rows, tmp_path):
    write_run(tmp_path / "b", 0, **CHAR)
    names, notes = heads(gptexp, tmp_path / "b")
    assert "bpb" not in names and "tokenizers" not in notes
    assert rows(tmp_path / "b")["rows"][0]["bpb"] == 2.5


def test_two_sizes_of_one_tokenizer_are_two_vocabularies(tmp_path):
    for size in (512, 1024):
        write_run(tmp_path / "c", 0, **{**BPE, "tokenizer__vocab_size": size})
    assert unit(collect([tmp_path / "c"])[0]) == BITS
    assert unit(collect([tmp_path / "c"])[0][:1]) == NATS


def test_the_best_of_several_tokenizers_is_that_of_the_fewest_bits(both):
    found = find_run(f"best:{both}")
    assert json.loads((found.path / "summary.json").read_text())["best"]["val_loss"] == 4.0
    assert found.why.endswith("the best of 4 at 2.2500 bits per byte, which compares their tokens")
    assert found.notes == ()


def test_two_folders_of_other_tokenizers_are_compared_in_bits_per_byte(tmp_path, gptexp):
    for seed in (0, 1):
        write_run(tmp_path / "a", seed, **CHAR)
        write_run(tmp_path / "b", seed, **BPE)
    found = pair(tmp_path / "a", tmp_path / "b")
    assert [pair.losses for pair in found.pairs] == [(2.5, 2.25)] * 2
    code, out, _ = gptexp("diff", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "b - a: -0.2500 ± 0.0000 bits per byte (95%, 2 pairs)" in out


def test_two_runs_of_other_tokenizers_part_in_bits_per_byte(tmp_path):
    a = write_run(tmp_path / "a", metrics=valley(2.0), **CHAR)
    b = write_run(tmp_path / "b", metrics=valley(4.0), **BPE)
    text, _ = report(a, b)
    assert "val/bpb" in text and "val/loss" not in text
    assert "losses per token are not compared: the runs have other tokens" in text


def test_a_run_in_bits_has_the_height_of_its_cliff_in_bits(tmp_path):
    run = write_run(tmp_path / "a", best=2.0, test=2.5, bpb=3.0)
    [found], _ = collect([run])
    bits = in_bits(found)
    assert (bits.best, bits.final, bits.height, bits.test) == (3.0, 3.0, 0.0, 3.0)
    nothing = write_run(tmp_path / "a", 1, best=None)
    [found], _ = collect([nothing])
    assert (in_bits(found).best, in_bits(found).height) == (None, None)


SHARES = ({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 3.0})


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ([{"data__parts": shares} for shares in SHARES[:2]], None),
        ([{"data__parts": shares} for shares in SHARES], "several shares of a mix: losses are"),
        ([{"data__val_fraction": x} for x in (0.1, 0.2)], "several values of data.val_fraction"),
        ([{"data__documents": x} for x in (True, False)], "several values of data.documents"),
        ([{"data__val_fraction": 0.1}, {"data__val_fraction": 0.2, "data_sha256": "f" * 64}], None),
    ],
)
def test_runs_that_are_judged_otherwise_are_told_apart(gptexp, tmp_path, keys, note):
    for seed, own in enumerate(keys):
        write_run(tmp_path / "a", seed, **own)
    notes = [heads(gptexp, tmp_path / "a")[1], heads(gptexp, tmp_path / "a", "--by", "seed")[1]]
    said = [told.what for told in find_run(f"best:{tmp_path / 'a'}").notes]
    if note is None:
        assert not any("several values" in line or "shares" in line for line in [*notes, *said])
    else:
        assert all(note in line for line in [*notes, *said])
