"""Runs on token files: trained, resumed, judged, sampled, made again, told apart by content."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from interruptions import Small, before, finish, stop_before_step, uninterrupted
from small_runs import metrics, only, problem_lines, summary
from token_folders import raw, with_header

import gptexp
from gptexp.config import Config
from gptexp.data import token_file
from gptexp.data.token_manifest import Shard, TokenManifest, write_token_manifest
from gptexp.errors import ConfigError, DataError, GptexpError
from gptexp.experiment.ensemble import ensemble
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.identity import identify
from gptexp.experiment.reproduce import reproduce
from gptexp.experiment.run import run_experiment
from gptexp.explain.command import explain
from gptexp.tokenizers.byte import ByteTokenizer
from gptexp.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1,200 tokens of 50 for training in two shards, and 200 for validation."""
    path = tmp_path / "tokens"
    path.mkdir()
    ids = np.random.default_rng(0).integers(0, 50, 1400).cumsum() % 50
    raw(path / "train_0.bin", ids[:700].tolist())
    with_header(path / "train_1.bin", ids[700:1200].tolist())
    raw(path / "val.bin", ids[1200:].tolist())
    return path


@pytest.fixture
def on_tokens(small: Small, folder: Path) -> Small:
    def build(*overrides: str) -> Config:
        words = ["data=tokens", f"data.path={folder}", "data.vocab_size=50", *overrides]
        return small(*words)

    return build


@pytest.fixture
def trained(on_tokens: Small, tmp_path: Path) -> Path:
    return run_experiment(on_tokens("trainer.max_steps=2"), tmp_path / "first").path


def told(path: Path, text: bytes) -> None:
    """A folder of bytes as `gptexp tokenize --tokenizer byte` leaves it."""
    path.mkdir()
    shards = []
    for name, split, part in [("a", "train", text[:-200]), ("b", "val", text[-200:])]:
        content = raw(path / f"{name}.bin", list(part)).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        shards.append(Shard(f"{name}.bin", split, "uint16", len(part), len(content), sha256))
    state = ByteTokenizer().to_dict()
    write_token_manifest(path, TokenManifest(1, state, 256, None, {}, shards, []))


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(on_tokens: Small, tmp_path: Path) -> None:
    config = on_tokens()
    stop_before_step(config, tmp_path / "outputs", 6)
    assert finish(config, tmp_path / "outputs") == uninterrupted(config, tmp_path / "whole")


MOST_ANONYMOUS = """
import re, sys, threading, time
from pathlib import Path

def watch():
    status = Path("/proc/self/status")
    while True:
        most.append(int(re.search(r"RssAnon:\\s*(\\d+)", status.read_text())[1]))
        time.sleep(0.02)

most = []
threading.Thread(target=watch, daemon=True).start()
from gptexp.config import compose
from gptexp.experiment.run import run_experiment
outcome = run_experiment(compose.single_run(sys.argv[2:]), Path(sys.argv[1]))
assert outcome.state == "done", outcome
print(max(most) // 1024)
"""


@pytest.mark.slow(minutes=1)
@pytest.mark.skipif(sys.platform != "linux", reason="memory of the process alone is Linux's word")
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """A set of 100 MB, a hundred times the other: 15 MB more, and 700 before passes let go."""
    peaks = []
    tokens = np.random.default_rng(0).integers(0, 256, 500_000).astype("<u2")
    for size in (1, 100):
        path = tmp_path / f"{size}.bin"
        np.tile(tokens, size).tofile(path)
        words = ["data=tokens", f"data.path={path}", "data.vocab_size=256", "model=micro"]
        words += ["trainer.max_steps=2", "trainer.threads=1", "logger=none", "trainer.device=cpu"]
        command = [sys.executable, "-c", MOST_ANONYMOUS, str(tmp_path / "outputs"), *words]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
        peaks.append(int(shown.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 150, peaks


def test_a_shard_that_is_cut_while_a_run_reads_it_ends_the_run_which_goes_on_when_it_is_restored(
    on_tokens: Small, folder: Path, tmp_path: Path
) -> None:
    config, shard = on_tokens(), folder / "train_0.bin"
    content = shard.read_bytes()

    def cut(trainer: Trainer) -> None:
        if trainer.step == 6:
            os.truncate(shard, 100)

    with pytest.MonkeyPatch.context() as patch:
        before(Trainer, "train_step", cut, patch)
        outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.state == "failed" and outcome.exit_code == DataError.exit_code
    words = f"{shard}: changed while it was in use, from 1,400 bytes to 100. Fix: restore it"
    assert str(outcome.error).startswith(words)
    shard.write_bytes(content)
    assert finish(config, tmp_path / "outputs") == uninterrupted(config, tmp_path / "whole")


def test_a_shard_that_changed_makes_a_new_run_and_a_warning_says_so(
    on_tokens: Small, folder: Path, tmp_path: Path, warnings
) -> None:
    config = on_tokens("trainer.max_steps=4")
    stop_before_step(config, tmp_path / "outputs", 2)
    raw(folder / "val.bin", [7] * 200)
    assert run_experiment(config, tmp_path / "outputs").state == "done"
    assert any("has changed since" in line and "this is a new run" in line for line in warnings())


def test_the_identity_is_of_the_content_and_not_of_the_path(
    on_tokens: Small, folder: Path, tmp_path: Path
) -> None:
    here = identify(on_tokens(), tmp_path)
    moved = folder.rename(tmp_path / "elsewhere")
    assert identify(on_tokens(f"data.path={moved}"), tmp_path).hash == here.hash
    assert identify(on_tokens(f"data.path={moved}/*.bin"), tmp_path).hash == here.hash
    raw(moved / "val.bin", [7] * 200)
    assert identify(on_tokens(f"data.path={moved}"), tmp_path).hash != here.hash


def test_bare_ids_are_judged_in_nats_alone_and_drawn_as_numbers(trained: Path, gptexp) -> None:
    found = summary(trained)
    assert np.isfinite(found["best"]["val_loss"]) and found["best"]["val_bpb"] is None
    assert metrics(trained)[-1]["val/bpb"] is None
    assert all(0 <= int(word) < 50 for word in found["sample"].split())
    assert evaluate_run(trained, None, []).startswith("val     3.")
    assert "per byte" not in evaluate_run(trained, None, [])
    shown = gptexp("sample", trained, "--prompt", "1 2", "--tokens", "5").out
    assert shown.startswith("1 2 ") and len(shown.split()) == 7
    assert "'hello' is no token" in gptexp("sample", trained, "--prompt", "hello").err
    assert gptexp("table", trained.parent).code == 0
    assert "50 tokens in the vocabulary" in explain(str(trained), [], None)


def test_a_run_is_judged_on_other_token_files_as_a_whole(trained: Path, folder: Path) -> None:
    line = evaluate_run(trained, None, ["data=tokens", f"data.path={folder}/val.bin"])
    own = evaluate_run(trained, None, [])
    assert line.split()[:4] == ["all", *own.split()[1:4]]
    assert "over 199 tokens" in line


def test_runs_on_bare_ids_are_one_model_without_bits(
    on_tokens: Small, trained: Path, tmp_path: Path
) -> None:
    other = run_experiment(on_tokens("trainer.max_steps=2", "seed=1"), tmp_path / "first").path
    found = ensemble([trained, other], counts=True)
    assert found.bpb is None and np.isfinite(found.loss)
    assert found.tokens == 199


def test_the_vocabulary_of_init_from_has_to_be_that_of_the_files(
    on_tokens: Small, trained: Path, tmp_path: Path
) -> None:
    start = f"init_from={trained}"
    assert run_experiment(on_tokens(start), tmp_path).state == "done"
    refused = run_experiment(on_tokens(start, "data.vocab_size=51"), tmp_path)
    assert refused.state == "refused"
    assert "another architecture or vocabulary: tokenizer" in str(refused.error)


def test_a_run_is_made_again_and_files_that_changed_are_not_taken_for_its_own(
    trained: Path, folder: Path
) -> None:
    lines: list[str] = []
    assert reproduce(trained, "verify", None, lines.append) == 0
    assert lines[-1].startswith("IDENTICAL")
    raw(folder / "val.bin", [7] * 200)
    assert reproduce(trained, "verify", None, lines.append) != 0
    assert any("are not to be had, and others are there" in line for line in lines)


def test_a_manifest_brings_its_tokenizer(small: Small, tmp_path: Path) -> None:
    told(tmp_path / "bytes", b"To be, or not to be: that is the question. " * 30)
    words = ["data=tokens", f"data.path={tmp_path / 'bytes'}", "trainer.max_steps=2"]
    run = run_experiment(small(*words), tmp_path / "outputs").path
    assert summary(run)["best"]["val_bpb"] > 0
    assert gptexp.load(run).sample("To be", tokens=3)[0].startswith("To be")
    assert gptexp.load(run).evaluate("Whether 'tis nobler").tokens == 18
    (tmp_path / "text.txt").write_text("Whether 'tis nobler in the mind to suffer")
    line = evaluate_run(run, None, ["data=text", f"data.path={tmp_path / 'text.txt'}"])
    assert "bits per byte" in line and "over 40 tokens" in line


def test_a_shard_that_is_not_what_its_manifest_says_is_one_line(
    small: Small, tmp_path: Path
) -> None:
    told(tmp_path / "bytes", b"To be, or not to be: that is the question. " * 30)
    config = small("data=tokens", f"data.path={tmp_path / 'bytes'}")
    shard = tmp_path / "bytes" / "b.bin"
    for content, words in [
        ([7] * 200, "not what tokens.json says: its SHA-256 is"),
        ([7] * 201, "201 tokens of uint16, 402 bytes, and tokens.json says 200 tokens"),
    ]:
        raw(shard, content)
        with pytest.raises(GptexpError) as refused:
            identify(config, tmp_path)
        assert words in only(problem_lines(refused.value))


def test_ngrams_of_large_files_are_capped_and_said_to_be(
    on_tokens: Small, tmp_path: Path, monkeypatch, caplog
) -> None:
    for module in (token_file, gptexp.data.load):
        monkeypatch.setattr(module, "COUNTED", 300)
    run = run_experiment(on_tokens("trainer.max_steps=2"), tmp_path).path
    assert summary(run)["ngrams_of"] == 300
    assert "the first 300 of training and of validation at most" in caplog.text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tokenizer=char"], "tokenizer: char is made from a text"),
        (["data.documents=true"], "data.documents: true, and data.tokens too"),
        (["data.vocab_size=1"], "data.vocab_size: 1 is not in"),
        (["data.val_tokens=1"], "data.val_tokens: 1 leaves nothing to predict"),
    ],
)
def test_what_token_files_cannot_be_is_one_line(on_tokens: Small, tmp_path, words, line) -> None:
    with pytest.raises(ConfigError) as refused:
        identify(on_tokens(*words), tmp_path)
    assert line in only(problem_lines(refused.value))


@pytest.mark.parametrize("words", [["tokenizer=stored"], ["data.vocab_size=9"]])
def test_a_text_has_none_of_what_token_files_have(small: Small, tmp_path, words) -> None:
    with pytest.raises(ConfigError):
        identify(small(*words), tmp_path)
