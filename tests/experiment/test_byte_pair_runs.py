"""Runs whose tokens are byte pairs: trained, resumed, started from, judged, looked into."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from interruptions import Small, finish, stop_before_step, uninterrupted
from small_runs import only, problem_lines, put, summary

import gptexp
from gptexp.analysis import ngrams
from gptexp.data.load import load_corpus
from gptexp.errors import CheckpointError, GptexpError
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import check_memory, prepare
from gptexp.experiment.run import run_experiment
from gptexp.explain.command import explain
from gptexp.inference.evaluation import MOST_LOGITS, rows_at_once
from gptexp.inference.load import load_run
from gptexp.inference.probe import probe_model
from gptexp.models.counts import training_memory
from gptexp.runtime.device import Runtime, probe_hardware, resolve_runtime
from gptexp.sweep.pace import cost
from gptexp.tracking import pictures

pytestmark = pytest.mark.usefixtures("own_cache")

BPE = ("tokenizer=bpe", "tokenizer.vocab_size=264")


@pytest.fixture
def trained(small: Small, tmp_path: Path) -> Path:
    return run_experiment(small(*BPE, "trainer.max_steps=2"), tmp_path / "first").path


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit(small: Small, tmp_path: Path) -> None:
    config = small(*BPE)
    stop_before_step(config, tmp_path, 6)
    assert finish(config, tmp_path) == uninterrupted(config, tmp_path / "whole")


def test_a_run_is_judged_in_bytes_and_counted_in_tokens(small: Small, trained: Path) -> None:
    config = small(*BPE)
    text = load_corpus(config.data, config.tokenizer, config.model.block_size)
    train, val = (part.astype(np.int64) for part in (text.splits.train, text.splits.val))
    found = summary(trained)
    assert found["ngrams"] == ngrams.losses(train, val, 264)
    lengths = text.tokenizer.byte_lengths()[val[1:]]
    bits = found["best"]["val_loss"] / np.log(2) * len(lengths) / lengths.sum()
    assert found["best"]["val_bpb"] == pytest.approx(bits)
    assert lengths.mean() > 1.2, "some tokens are longer than a byte"


def test_a_run_is_read_back_judged_sampled_and_explained(trained: Path) -> None:
    run = gptexp.load(trained)
    judged = run.evaluate("A text of other characters: é 漢 🙂\n")
    assert judged.tokens > 0 and np.isfinite(judged.bpb)
    [sample] = run.sample("héllo", tokens=5)
    assert sample.startswith("héllo")
    assert "264 byte pairs" in repr(run)
    shown = explain(str(trained), [], "hello")
    assert "264 tokens in the vocabulary" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_a_run_is_not_read_without_the_library_and_the_line_says_how(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(GptexpError) as refused:
        load_run(trained)
    assert only(problem_lines(refused.value)).endswith("Fix: pip install -e '.[bpe]'")


def test_init_from_brings_its_byte_pairs_to_another_text(
    small: Small, trained: Path, tmp_path: Path, text_file: Path
) -> None:
    text_file.write_text(text_file.read_text().swapcase() + "é")
    config = put(small(*BPE, "trainer.max_steps=2"), "init_from", str(trained))
    second = run_experiment(config, tmp_path).path
    theirs, ours = (load_run(path).tokenizer for path in (trained, second))
    assert ours.to_dict() == theirs.to_dict()


def test_init_from_of_another_vocabulary_is_refused_in_a_line(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    config = put(small("tokenizer=bpe", "tokenizer.vocab_size=260"), "init_from", str(trained))
    with pytest.raises(GptexpError) as refused:
        prepare(config, identify(config, tmp_path))
    assert problem_lines(refused.value)[1:] == [
        "tokenizer.vocab_size: checkpoint 264, config 260. Fix: tokenizer.vocab_size=264"
    ]
    config = put(small(), "init_from", str(trained))
    with pytest.raises(CheckpointError) as other:
        prepare(config, identify(config, tmp_path))
    assert problem_lines(other.value)[1:] == [
        "tokenizer: checkpoint 264 byte pairs, config characters. Fix: tokenizer=bpe"
    ]


def test_a_vocabulary_that_is_too_large_leaves_no_directory(small: Small, tmp_path: Path) -> None:
    config = small("tokenizer=bpe", "tokenizer.vocab_size=999999")
    outcome = run_experiment(config, tmp_path / "outputs")
    assert outcome.state == "refused"
    assert outcome.error.startswith("tokenizer.vocab_size: 999,999, and the training text")
    assert not (tmp_path / "outputs").exists()


def test_what_does_not_fit_in_a_checkpoint_is_a_line_with_its_name_and_one_fix(
    trained: Path, tmp_path: Path
) -> None:
    [file] = (trained / "checkpoints").glob("*.pt")
    for section, key, wrong in (("tokenizer", "merges", "a b c"), ("model", "window", "64")):
        state = torch.load(file, weights_only=True)
        (state if section == "tokenizer" else state["config"])[section][key] = wrong
        torch.save(state, forged := tmp_path / f"{key}.pt")
        with pytest.raises(CheckpointError) as refused:
            load_run(forged)
        [line] = problem_lines(refused.value)
        assert line.startswith(f"{forged}: ") and line.count("Fix: ") == 1
        assert key in line or "merge 1, 'a b c'" in line


# What 50,257 logits a token cost


def test_an_evaluation_holds_no_more_logits_than_fit(small: Small) -> None:
    runtime = resolve_runtime(small().trainer, probe_hardware())
    torch.set_num_threads(1)
    assert rows_at_once(64, 64, 65, runtime) == 16  # as the caches of a CPU have it
    assert rows_at_once(64, 64, 50_257, runtime) == 16
    torch.set_num_threads(4)
    assert rows_at_once(64, 64, 65, runtime) == 64
    most = rows_at_once(64, 64, 50_257, runtime)
    assert most * 64 * 50_257 <= MOST_LOGITS < (most + 1) * 64 * 50_257
    assert rows_at_once(64, 4096, 50_257, runtime) == 1


def test_the_forecast_of_memory_holds_the_logits_and_their_gradients(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, runtime = small("trainer.batch_size=64"), Runtime(torch.device("cpu"), torch.float32)
    per_logit = training_memory(config.model, 50_257, 64, runtime) - training_memory(
        config.model, 50_256, 64, runtime
    )
    assert per_logit == 4 * (4 * config.model.n_embd + 64 * config.model.block_size * 4)
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: 2 * 10**8)
    check_memory(config, 65, runtime)
    with pytest.raises(GptexpError, match="training it takes at least 0.4 GB"):
        check_memory(config, 50_257, runtime)


def test_the_cost_of_a_point_knows_how_many_logits_it_has(small: Small) -> None:
    char, bpe, gpt2 = small(), small(*BPE), small("tokenizer=gpt2")
    assert cost(char) < cost(bpe) < 300 * cost(bpe) / 264 < cost(gpt2)


# Pictures


def test_pictures_have_room_for_tokens_of_many_characters(trained: Path) -> None:
    run = load_run(trained)
    probe = probe_model(run.model, run.tokenizer, run.encode("hello")[0], 2)
    narrow = pictures.attention(probe, 0).width
    probe.tokens[0] = "␣Shakespeare's own"
    probe.vocabulary[:] = ["␣Shakespeare"] * len(probe.vocabulary)
    assert pictures.attention(probe, 0).width > narrow
    assert set(pictures.draw(probe)) == {"next_token", "attention/layer_1"}


def test_the_manifest_names_the_vocabulary(trained: Path) -> None:
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["tokenizer"]["name"] == "bpe"
    assert manifest["data"]["tokens"]["val"] > 0
