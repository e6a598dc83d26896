"""Runs on token files whose documents end in a token: masked, sampled from it, judged alike."""

from pathlib import Path

import numpy as np
import pytest
import torch
from interruptions import Small, finish, stop_before_step, uninterrupted
from launched import launch
from small_runs import metrics, only, problem_lines, summary
from token_folders import told

from gptexp.config import Config, config_hash
from gptexp.errors import CheckpointError, GptexpError
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.reproduce import reproduce
from gptexp.experiment.run import run_experiment
from gptexp.explain.command import explain
from gptexp.inference.load import LoadedRun, load_run
from gptexp.inference.loss import token_losses
from gptexp.inference.weights import stored_tokenizer
from gptexp.runs import checkpoint
from gptexp.runs.journal import read_journal

pytestmark = pytest.mark.usefixtures("own_cache")

END = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """700 tokens of 20 for training and 100 for validation, in documents of about 5."""
    generator = np.random.default_rng(0)
    ids = np.where(generator.random(800) < 0.2, END, generator.integers(6, 20, 800))
    return told(tmp_path / "tokens", ids[:700].tolist(), ids[700:].tolist(), 20, END)


@pytest.fixture
def masked(small: Small, folder: Path) -> Small:
    def build(*overrides: str) -> Config:
        words = ["data=tokens", f"data.path={folder}", "data.mask_documents=true"]
        return small(*words, "model.position=rope", "trainer.max_steps=4", *overrides)

    return build


@pytest.fixture
def trained(masked: Small, tmp_path: Path) -> Path:
    return run_experiment(masked("trainer.diagnostics_interval=2"), tmp_path / "first").path


def by_itself(run: LoadedRun, ids: list[int]) -> torch.Tensor:
    """The losses of a window's targets where each document of it is read by itself."""
    starts = sorted({0, *(place for place, token in enumerate(ids[:-1]) if token == END)})
    parts = []
    for start, end in zip(starts, [*starts[1:], len(ids) - 1], strict=True):
        inputs, targets = torch.tensor([ids[start:end]]), torch.tensor([ids[start + 1 : end + 1]])
        with torch.no_grad():
            parts.append(token_losses(run.model(inputs), targets)[0])
    return torch.cat(parts)


def test_the_loss_is_that_of_each_document_by_itself(trained: Path, folder: Path) -> None:
    run, ids = load_run(trained), np.fromfile(folder / "val.bin", "<u2").tolist()
    assert run.model.boundary == END
    parts = [by_itself(run, ids[start : start + 9]) for start in range(0, 99, 8)]
    loss = torch.cat(parts).mean().item()
    assert summary(trained)["best"]["val_loss"] == pytest.approx(loss, abs=1e-6)
    assert evaluate_run(trained, None, []).split()[1] == f"{loss:.4f}"
    window = torch.tensor([ids[:8]])
    hidden = run.model(window)
    run.model.boundary = None
    assert (run.model(window) - hidden).abs().max() > 1e-3, "they would see each other else"


def test_a_stopped_run_goes_on_bit_for_bit_and_others_have_another_hash(
    masked: Small, tmp_path: Path
) -> None:
    config = masked()
    stop_before_step(config, tmp_path / "outputs", 2)
    assert finish(config, tmp_path / "outputs") == uninterrupted(config, tmp_path / "whole")
    plain = masked("data.mask_documents=false")
    assert config_hash(config, "") != config_hash(plain, "")


def test_samples_begin_at_the_end_of_a_document_and_stop_before_the_next(
    trained: Path, gptexp
) -> None:
    samples = read_journal(trained / "samples.jsonl")
    assert samples[-1]["prompt"] == f"{END} "
    assert all(str(END) not in sample["text"].split() for sample in samples)
    run = load_run(trained)
    drawn = run.sample(num=20, tokens=40, temperature=1.5)
    lengths = [len(text.split()) for text in drawn]
    assert all(str(END) not in text.split() for text in drawn)
    assert min(lengths) < 8 < max(lengths), "they end by themselves, beyond the context of 8 too"
    shown = gptexp("sample", trained, "--prompt", "7 8", "--tokens", "3").out
    assert shown.startswith("7 8 ")


def test_a_run_without_masks_begins_its_samples_there_too(masked: Small, tmp_path: Path) -> None:
    run = run_experiment(masked("data.mask_documents=false"), tmp_path).path
    assert read_journal(run / "samples.jsonl")[-1]["prompt"] == f"{END} "
    assert load_run(run).model.boundary is None


def test_a_look_at_it_and_its_verification_know_the_documents(trained: Path) -> None:
    key = "diag/attention_entropy/layer_1"
    entropies = [line[key] for line in metrics(trained) if key in line]
    assert 0 < max(entropies) < 1, "of 8 tokens that all see each other it is 1.33 at the start"
    lines: list[str] = []
    assert reproduce(trained, "verify", None, lines.append) == 0
    assert lines[-1].startswith("IDENTICAL")
    assert "·" in explain(str(trained), [], "7 8 5 9")


def test_ranks_mask_their_own_rows(masked: Small, tmp_path: Path) -> None:
    config = masked("model.dropout=0", "trainer.dtype=float64", "trainer.grad_accum=2")
    alone = run_experiment(config, tmp_path / "alone").path
    found = launch(lambda _: run_experiment(config, tmp_path / "two").exit_code, tmp_path / "ranks")
    assert [rank.code for rank in found] == [0, 0], found[0].err
    losses = [
        [line.get("val/loss") for line in metrics(run)]
        for run in (alone, next((tmp_path / "two").glob("*/*")))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def refused(config: Config, outputs: Path) -> str:
    with pytest.raises(GptexpError) as error:
        prepare(config, identify(config, outputs))
    return only(problem_lines(error.value))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["data=text", "data.path=text.txt"], "a text has no token between documents"),
        (["data=documents", "data.path=text.txt"], "no context of data.documents has more than"),
    ],
)
def test_what_has_nothing_to_mask_is_one_line(masked: Small, tmp_path: Path, words, line) -> None:
    assert line in refused(masked(*words), tmp_path)


def test_a_model_without_attention_is_one_line(composed, folder: Path, tmp_path: Path) -> None:
    words = ["data=tokens", f"data.path={folder}", "data.mask_documents=true"]
    assert "model=mlp has no attention to mask" in refused(composed("model=mlp", *words), tmp_path)


def test_files_without_an_end_of_documents_are_one_line_with_a_fix(
    masked: Small, folder: Path, tmp_path: Path
) -> None:
    for end in (None, 19):  # which no file has
        other = told(tmp_path / f"end-{end}", [6] * 99, [6] * 99, 20, end)
        line = refused(masked(f"data.path={other}"), tmp_path)
        assert f"no token of {other} ends a document" in line and "gptexp tokenize" in line
    (folder / "tokens.json").unlink()
    line = refused(masked("data.vocab_size=20"), tmp_path)
    assert "nothing says which token" in line and "tokenizer=gpt2" in line


def test_a_run_that_sees_all_is_not_judged_with_masks(
    masked: Small, folder: Path, tmp_path: Path
) -> None:
    run = run_experiment(masked("data.mask_documents=false", "trainer.max_steps=1"), tmp_path).path
    words = ["data=tokens", f"data.path={folder}", "data.mask_documents=true"]
    with pytest.raises(GptexpError, match="the run was trained without"):
        evaluate_run(run, None, words)


@pytest.mark.parametrize("end", [-1, 20, 10**30])
def test_a_checkpoint_whose_end_is_no_token_is_one_line(trained: Path, end: int) -> None:
    state = checkpoint.Store(trained / "checkpoints").best()
    with pytest.raises(CheckpointError, match="end_of_text"):
        stored_tokenizer({**state, "end_of_text": end})
