"""Group B of the faults: texts that are no text. Splits, batches and windows."""

import errno
import hashlib
import itertools
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import problem_lines
from torch import Tensor

from gptexp import assets
from gptexp.config import ByteTokenizerConfig, DataConfig
from gptexp.data.corpus import Corpus, Splits
from gptexp.data.load import describe_text, split_text
from gptexp.data.read import corpus_digest, read_text
from gptexp.data.text import TextCorpus, bigrams
from gptexp.errors import DataError
from gptexp.experiment.run import run_experiment
from gptexp.tokenizers.build import build_tokenizer
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.tokenizers.char import CharTokenizer

CPU = torch.device("cpu")


def settings(path: Path | str = "text.txt", **changes: float) -> DataConfig:
    values = {"fraction": 1.0, "val_fraction": 0.1, "test_fraction": 0.0} | changes
    return DataConfig(name="text", asset=None, path=str(path), **values)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], str]:
    """`read(b"...")`: what a file with these bytes is read as."""

    def call(raw: bytes) -> str:
        path = tmp_path / "corpus.txt"
        path.write_bytes(raw)
        return read_text(settings(path))

    return call


def problem(call: Callable[..., object], *arguments: object) -> str:
    """The one line of the DataError that `call` raises."""
    with pytest.raises(DataError) as caught:
        call(*arguments)
    (line,) = problem_lines(caught.value)
    assert "\n" not in line
    assert "Fix: " in line
    return line


# B1 to B3, B5: the file


def test_B1_a_path_that_is_not_there(tmp_path):
    line = problem(read_text, settings(tmp_path / "no.txt"))
    assert line.startswith(f"data.path: {tmp_path / 'no.txt'} is not there")


def test_B1_a_path_that_is_a_folder(tmp_path):
    line = problem(read_text, settings(tmp_path))
    assert line.startswith(f"data.path: {tmp_path} is a folder")


def test_B1_an_empty_path(tmp_path):
    assert problem(read_text, settings("")).startswith("data.path: ")


def test_B1_a_path_that_cannot_be_read(tmp_path, monkeypatch):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert problem(read_text, settings(loop)).startswith(f"data.path: {loop} ")

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    line = problem(read_text, settings(tmp_path / "secret.txt"))
    assert str(tmp_path / "secret.txt") in line
    assert os.strerror(errno.EACCES) in line


def test_B1_the_digest_refuses_what_read_refuses(tmp_path):
    assert problem(corpus_digest, settings(tmp_path)).startswith("data.path: ")


def test_B1_a_run_of_a_missing_file_creates_nothing(small, tmp_path):
    outcome = run_experiment(small(f"data.path={tmp_path / 'no.txt'}"), tmp_path / "outputs")
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("raw", [b"", b"\xef\xbb\xbf", b" \t\r\n \n", "\u2003\u3000\n".encode()])
def test_B2_an_empty_text_or_one_of_white_space(read, tmp_path, raw):
    line = problem(read, raw)
    assert line.startswith(f"{tmp_path / 'corpus.txt'}: holds no text")
    assert f"{len(raw)} bytes" in line


@pytest.mark.parametrize(
    ("raw", "offset", "line_number"),
    [
        (b"\xe9t\xe9", 0, 1),
        (b"ab\ncd\nef\xe9", 8, 3),
        (b"\xef\xbb\xbfab\n\xff", 6, 2),
        ("🙂\n".encode() * 3 + b"a\x80", 16, 4),
        ("ab\n🙂".encode()[:-1], 3, 2),
        (b"ab\n\xed\xa0\x80", 3, 2),
        (b"ab\n\xc0\xafx", 3, 2),
    ],
    ids=["latin-1", "third line", "after a mark", "astral", "cut", "surrogate", "overlong"],
)
def test_B3_not_utf_8_names_offset_and_line_of_the_first_bad_byte(read, raw, offset, line_number):
    line = problem(read, raw)
    assert "not UTF-8" in line
    assert f"0x{raw[offset]:02x}" in line
    assert f"offset {offset}, line {line_number}." in line


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_B3_utf_16_and_its_kin_are_refused_at_their_first_bad_byte(read, encoding):
    line = problem(read, "To be\nor not".encode(encoding))
    with_mark = encoding in ("utf-16", "utf-32")
    offset = 0 if with_mark or encoding == "utf-16-be" else 1
    assert f"offset {offset}, line 1." in line
    assert ("UTF-16" in line) == with_mark


def test_B3_nul_bytes_are_not_text(read):
    line = problem(read, b"ab\nc\0d\0")
    assert "NUL" in line
    assert "offset 4, line 2." in line


def test_B3_the_first_bad_byte_is_named_when_there_are_several_kinds(read):
    assert "offset 1, line 1." in problem(read, b"a\xe9b\nc\0")
    assert "offset 1, line 1." in problem(read, b"a\0b\nc\xe9")


def test_B3_a_zip_is_not_text(read, tmp_path):
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as archive:
        archive.writestr("input.txt", "to be or not to be")
    raw = (tmp_path / "corpus.zip").read_bytes()
    assert f"offset {raw.index(0)}, line 1." in problem(read, raw)


def test_B5_a_byte_order_mark_and_the_line_ends_of_other_systems_read_as_plain_text(read):
    plain = "to be\n\nor not\n"
    raw = plain.encode()
    for same in (
        raw,
        b"\xef\xbb\xbf" + raw,
        raw.replace(b"\n", b"\r\n"),
        raw.replace(b"\n", b"\r"),
        b"\xef\xbb\xbfto be\r\n\ror not\n",
    ):
        text = read(same)
        assert text == plain
        assert CharTokenizer.of(text).characters == "\n benort"


def test_B5_only_the_mark_at_the_start_is_dropped_and_nothing_else_is_changed(read):
    text = "\ta\u2028b \ufeff\x0b\x0c\x85\u00a0e\u0301\n\n"
    assert read(text.encode()) == text
    assert read(b"\xef\xbb\xbf\xef\xbb\xbfa") == "\ufeffa"


def test_B5_the_rule_does_not_hang_on_the_system_s_line_ends(read, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    assert read(b"a\r\nb\n") == "a\nb\n"


# B4: lengths


@pytest.mark.parametrize(
    ("characters", "block_size", "expected"),
    [
        (100, 9, {}),
        (100, 10, {"val": 10}),
        (100, 89, {"val": 10}),
        (100, 90, {"train": 90, "val": 10}),
        (100, 5000, {"train": 90, "val": 10}),
    ],
)
def test_B4_a_split_shorter_than_block_size_and_one_names_itself_and_the_largest_that_fits(
    characters, block_size, expected
):
    text = "ab" * (characters // 2)

    def cut(size: int) -> Splits:
        return split_text(text, settings(), ByteTokenizer(), size)

    if not expected:
        cut(block_size)
        return
    with pytest.raises(DataError) as caught:
        cut(block_size)
    assert len(problem_lines(caught.value)) == len(expected)
    for line, (name, length) in zip(problem_lines(caught.value), expected.items(), strict=True):
        assert line.startswith(f"model.block_size: {block_size} needs {block_size + 1} tokens")
        assert f"{name} has {length}." in line
        assert "model.block_size=9 at most" in line


@pytest.mark.parametrize(
    ("text", "changes", "name"),
    [
        ("ab" * 500, {"val_fraction": 1e-9}, "val"),
        ("ab" * 500, {"val_fraction": 1e-3}, "val"),
        ("ab" * 500, {"fraction": 1e-9}, "train"),
        ("ab" * 500, {"test_fraction": 1e-9}, "test"),
        ("ab" * 500, {"val_fraction": 0.5, "test_fraction": 0.4999}, "train"),
    ],
)
def test_B4_an_empty_split_is_named_and_no_block_size_is_advised(text, changes, name):
    line = problem(split_text, text, settings(**changes), ByteTokenizer(), 8)
    assert f"{name} has " in line
    assert "model.block_size=" not in line
    assert "longer text" in line


def test_B4_a_text_of_one_character():
    with pytest.raises(DataError):
        split_text("a", settings(), ByteTokenizer(), 1)


# B6 to B9


def test_B6_the_vocabulary_is_that_of_the_whole_text_so_validation_is_never_unknown(composed):
    text = "ab" * 50 + "xyz" * 5
    tokenizer = build_tokenizer(composed().tokenizer, text)
    splits = split_text(text, settings(fraction=0.1), tokenizer, 4)
    assert tokenizer.decode(splits.val) == text[103:]


def test_B6_a_prompt_with_characters_unseen_in_training_names_them_and_their_code_points():
    line = problem(CharTokenizer.of("to be").encode, "to bé 🙂")
    assert "'é' (U+00E9)" in line
    assert "'🙂' (U+1F642)" in line


def test_B7_tokens_follow_the_text_even_at_the_same_length_and_time(small, text_file):
    config = small()
    before = text_file.stat()
    texts, digests, tokens = [], [], []
    for content in (text_file.read_text(), text_file.read_text().replace("be", "eb")):
        text_file.write_text(content)
        os.utime(text_file, ns=(before.st_atime_ns, before.st_mtime_ns))
        text = read_text(config.data)
        tokenizer = build_tokenizer(config.tokenizer, text)
        splits = split_text(text, config.data, tokenizer, 8)
        texts.append(text == content)
        digests.append(corpus_digest(config.data) == hashlib.sha256(content.encode()).hexdigest())
        tokens.append(tokenizer.decode(splits.train) == content[: len(splits.train)])
    assert text_file.stat().st_size == before.st_size
    assert all(texts + digests + tokens)


def test_B7_reading_leaves_no_file_beside_the_text(small, text_file):
    config = small()
    folder = sorted(text_file.parent.rglob("*"))
    corpus_digest(config.data)
    text = read_text(config.data)
    split_text(text, config.data, build_tokenizer(config.tokenizer, text), 8)
    assert sorted(text_file.parent.rglob("*")) == folder


def test_B8_data_that_changed_is_a_new_run_and_both_digests_are_shown(
    small, text_file, tmp_path, caplog
):
    config, outputs = small(), tmp_path / "outputs"
    first = run_experiment(config, outputs)
    before = corpus_digest(config.data)
    text_file.write_text(text_file.read_text() + "to be")
    logger = logging.getLogger("gptexp")
    logger.addHandler(caplog.handler)
    try:
        second = run_experiment(config, outputs)
    finally:
        logger.removeHandler(caplog.handler)
    assert (first.state, second.state) == ("done", "done")
    assert first.directory != second.directory
    shown = "".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert str(text_file) in shown
    assert before in shown
    assert corpus_digest(config.data) in shown
    assert first.directory.name in shown


def test_B9_an_asset_with_another_digest_is_refused_and_not_cached(tmp_path, monkeypatch):
    class Response:
        """What a server answers with."""

        def __enter__(self) -> "Response":
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self) -> bytes:
            return b"not Shakespeare"

    monkeypatch.setenv("GPTEXP_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(assets.urllib.request, "urlopen", lambda *_, **__: Response())
    config = DataConfig(
        name="s",
        asset="tinyshakespeare",
        path=None,
        fraction=1.0,
        val_fraction=0.1,
        test_fraction=0.0,
    )
    line = problem(read_text, config)
    assert hashlib.sha256(b"not Shakespeare").hexdigest()[:12] in line
    assert not list(tmp_path.rglob("*.txt"))


# Claim 1: the real corpus


def test_claim_1_tiny_shakespeare_has_65_characters_and_returns_exactly(shakespeare, composed):
    config = composed()
    tokenizer = build_tokenizer(config.tokenizer, shakespeare)
    assert len(shakespeare) == 1_115_394
    assert tokenizer.vocab_size == 65
    assert tokenizer.vocab_size**2 == 4225
    assert tokenizer.decode(tokenizer.encode(shakespeare)) == shakespeare
    splits = split_text(shakespeare, config.data, tokenizer, 256)
    assert (len(splits.train), len(splits.val)) == (1_003_854, 111_540)
    ids = tokenizer.encode(shakespeare)
    occurring = len(set(itertools.pairwise(shakespeare)))
    assert bigrams(ids, 65) == occurring
    line = describe_text(config.data, shakespeare, tokenizer, splits, 256)
    assert f"{occurring:,} of 4,225 bigrams occur" in line
    assert "65 characters" in line


def test_claim_1_the_digest_of_an_asset_is_known_without_reading_it(composed, monkeypatch):
    monkeypatch.setattr(assets, "read", None)
    assert corpus_digest(composed().data) == assets.known("tinyshakespeare").sha256


def test_bigrams_counts_different_pairs():
    assert bigrams(np.array([0, 1, 0, 1, 1]), 2) == 3
    assert bigrams(np.array([2, 2, 2]), 3) == 1


# Splits


def cut(text: str, **changes: float) -> Splits:
    return split_text(text, settings(**changes), ByteTokenizer(), 1)


def test_the_boundary_is_nanogpt_s_at_every_length():
    for n in range(20, 1200):
        splits = cut("a" * n)
        assert len(splits.train) == int(0.9 * n)
        assert len(splits.train) + len(splits.val) == n
        assert len(splits.test) == 0
    for n in (1_115_394, 999_999, 1_000_001):
        assert cut("a" * n).bounds == {
            "train": (0, int(0.9 * n)),
            "test": (int(0.9 * n), int(0.9 * n)),
            "val": (int(0.9 * n), n),
        }


def numbered(n: int) -> str:
    """A text in which every character says where it stands."""
    return "".join(chr(0x4E00 + i) for i in range(n))


def test_the_test_part_is_cut_from_the_end_of_the_training_part():
    text = numbered(1000)
    tokenizer = CharTokenizer.of(text)
    without = split_text(text, settings(), tokenizer, 1)
    splits = split_text(text, settings(test_fraction=0.2), tokenizer, 1)
    assert np.array_equal(splits.val, without.val)
    parts = [splits.train, splits.test, splits.val]
    assert tokenizer.decode(np.concatenate(parts)) == text
    assert [len(part) for part in parts] == [700, 200, 100]


@pytest.mark.parametrize("tokenizer_config", [None, ByteTokenizerConfig(name="byte")])
def test_fractions_are_nested_and_leave_validation_and_test_alone(composed, tokenizer_config):
    text = numbered(900) + "plain ascii " * 20
    tokenizer = build_tokenizer(tokenizer_config or composed().tokenizer, text)
    whole = split_text(text, settings(test_fraction=0.1), tokenizer, 1)
    for fraction in (0.01, 0.1, 1 / 3, 0.5, 0.999):
        part = split_text(text, settings(test_fraction=0.1, fraction=fraction), tokenizer, 1)
        assert len(part.train) == int(fraction * len(whole.train))
        assert np.array_equal(part.train, whole.train[: len(part.train)])
        assert np.array_equal(part.val, whole.val)
        assert np.array_equal(part.test, whole.test)
        assert part.bounds == whole.bounds


def test_bounds_are_where_the_splits_stand_in_the_text():
    text = "añ🙂" * 100
    splits = split_text(text, settings(test_fraction=0.2), ByteTokenizer(), 1)
    for name in ("train", "test", "val"):
        start, end = splits.bounds[name]
        assert ByteTokenizer().decode(getattr(splits, name)) == text[start:end]


def test_describe_counts_what_there_is():
    text = "abab" * 100
    tokenizer = CharTokenizer.of(text)
    splits = split_text(text, settings("x.txt", test_fraction=0.1), tokenizer, 1)
    line = describe_text(settings("x.txt", test_fraction=0.1), text, tokenizer, splits, 1)
    assert line == (
        "x.txt: 400 characters, 400 tokens of 2 characters; 320 train, 40 test, 40 val; "
        "2 of 4 bigrams occur"
    )


# Batches and windows


def corpus(train: int = 500, val: int = 65, block_size: int = 8, seed: int = 0) -> Corpus:
    """Tokens that say where they stand; validation goes on where training ends."""
    ids = np.arange(train + val)
    return TextCorpus(Splits(ids[:train], ids[:0], ids[train:], {}), block_size, seed, CPU)


def same(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_targets_are_inputs_shifted_by_one():
    inputs, targets = corpus().batch("train", 3, 5)
    assert inputs.shape == targets.shape == (5, 8)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(targets, inputs + 1)


def test_a_batch_is_a_function_of_seed_rank_and_step_alone():
    one, two = corpus(), corpus()
    wanted = {
        (rank, step): one.batch("train", step, 16, rank) for rank in range(3) for step in range(5)
    }
    torch.manual_seed(1)
    np.random.seed(1)
    for rank, step in reversed(wanted):
        torch.rand(3)
        two.batch("val", step, 7, rank)
        assert same(two.batch("train", step, 16, rank), wanted[rank, step])


def test_a_batch_draws_from_no_generator_of_others():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    corpus().batch("train", 0, 16)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


def test_another_seed_rank_or_step_is_another_batch():
    batches = [
        corpus(seed=seed).batch("train", step, 16, rank)
        for seed in range(3)
        for rank in range(3)
        for step in range(3)
    ]
    assert len({tuple(inputs[:, 0].tolist()) for inputs, _ in batches}) == len(batches)


def test_the_batches_of_a_seed_stay_what_they_are():
    """These change only if runs of older releases may no longer be repeated or resumed."""
    starts = [corpus(seed=seed).batch("train", step, 6)[0][:, 0].tolist() for seed, step in GOLDEN]
    assert dict(zip(GOLDEN, starts, strict=True)) == GOLDEN


GOLDEN = {
    (0, 0): [482, 354, 292, 263, 259, 433],
    (0, 1): [159, 432, 116, 344, 429, 120],
    (7, 1000): [23, 338, 53, 61, 438, 451],
}


@pytest.mark.parametrize("extra", [1, 2, 3])
def test_every_window_can_be_drawn_to_the_last_token_and_none_beyond(extra):
    small = corpus(train=8 + extra)
    starts = {int(start) for step in range(50) for start in small.batch("train", step, 4)[0][:, 0]}
    assert starts == set(range(extra))


def test_batches_are_drawn_evenly():
    drawn = torch.cat([corpus(train=18).batch("train", step, 100)[0][:, 0] for step in range(50)])
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10
    assert counts.min() > 420  # 500 expected, with a standard deviation of 21
    assert counts.max() < 580


@pytest.mark.parametrize("limit", [None, 1, 2, 9, 10, 17, 40, 1000])
@pytest.mark.parametrize("length", [2, 8, 9, 10, 16, 17, 18, 64, 65, 66])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_windows_cover_every_target_exactly_once_in_order(length, batch_size, limit):
    source = corpus(val=length)
    tokens = source.tokens["val"][:limit]
    windows = list(source.windows("val", batch_size, limit))
    inputs = [row for rows, _ in windows for row in rows]
    targets = [row for _, rows in windows for row in rows]
    joined = torch.cat([torch.empty(0, dtype=torch.int64), *targets])
    assert torch.equal(joined, tokens[1:])
    for x, y in zip(inputs, targets, strict=True):
        assert torch.equal(y, x + 1)
    sizes = [len(row) for row in targets]
    rest = (len(tokens) - 1) % 8
    assert sizes == [8] * ((len(tokens) - 1) // 8) + [rest] * (rest > 0)
    assert all(len(rows) <= batch_size for rows, _ in windows)
    assert all(len(rows) == batch_size for rows, _ in windows[:-2])


def test_a_split_reports_its_size():
    assert corpus(train=500, val=65).size("train") == 500
    assert corpus(train=500, val=65).size("test") == 0
    assert list(corpus().windows("test", 4)) == []


def test_B1_a_path_that_is_no_regular_file_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in problem(read_text, settings(tmp_path / "pipe"))


def test_B1_a_path_with_a_line_break_is_still_one_line(tmp_path):
    assert r"a\nb" in problem(read_text, settings(tmp_path / "a\nb"))


def test_B8_a_text_that_changes_while_a_run_starts_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("to be")
    digest = corpus_digest(settings(path))
    path.write_text("or not")
    assert "changed while the run was starting" in problem(
        lambda s: read_text(s, digest), settings(path)
    )


def test_B3_lines_are_counted_by_the_rule_that_ends_them(read):
    assert "offset 4, line 3." in problem(read, b"a\rb\r\xff")
    assert "offset 6, line 3." in problem(read, b"a\r\nb\r\n\xff")
