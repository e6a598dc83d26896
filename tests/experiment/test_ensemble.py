"""Ensembles: against probabilities that are averaged in full, and what is refused."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import only, refusal, summary

import gptexp as package
from gptexp.analysis import mixing, ngrams
from gptexp.data.load import load_corpus
from gptexp.errors import DataError
from gptexp.experiment import ensemble as ensembles
from gptexp.experiment.ensemble import ensemble
from gptexp.inference.load import load_run


@pytest.fixture
def runs(small, once, tmp_path):
    """`runs("seed=1", ...)`: the directory of a SMALL run."""
    return lambda *words: once(small("data.val_fraction=0.2", "name=seeds", *words), tmp_path)


def text_of(run):
    """Its text, cut as its config says."""
    config = load_run(run).config
    return load_corpus(config.data, config.tokenizer, config.model.block_size)


@torch.no_grad()
def probabilities(run, ids):
    """What a run gives to each token but the first, windows after each other; [tokens, vocab]."""
    loaded = load_run(run)
    size = loaded.config.model.block_size
    ids = torch.from_numpy(ids.astype(np.int64))
    parts = [ids[at : at + size + 1] for at in range(0, len(ids) - 1, size)]
    return torch.cat([loaded.model(part[None, :-1])[0].double().softmax(dim=-1) for part in parts])


def loss_of(probabilities, ids):
    """The mean loss of all tokens but the first, in nats."""
    targets = torch.from_numpy(ids.astype(np.int64))[1:, None]
    return -probabilities.gather(1, targets).log().mean().item()


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_all_probabilities_run_after_run(runs):
    paths = [runs(f"seed={seed}") for seed in range(3)]
    ids = text_of(paths[0]).splits.val
    each = [probabilities(path, ids) for path in paths]
    made = ensemble(paths)
    assert [part.name for part in made.parts] == ["s0", "s1", "s2"]
    assert made.tokens == len(ids) - 1
    for count, part in enumerate(made.parts, start=1):
        mean = sum(each[:count]) / count
        assert mean.sum(dim=1) == pytest.approx(np.ones(len(mean)))
        assert part.together == pytest.approx(loss_of(mean, ids), abs=1e-6)
        assert part.alone == pytest.approx(loss_of(each[count - 1], ids), abs=1e-6)
        assert part.alone == pytest.approx(summary(part.path)["best"]["val_loss"], abs=1e-6)
        assert part.weight == pytest.approx(1 / 3)
    first, *others = made.parts
    assert (first.gain, first.stderr) == (None, None)
    for before, part in zip(made.parts, others, strict=False):
        assert part.gain == pytest.approx(before.together - part.together)
    best = summary(paths[0])["best"]
    assert made.bits == pytest.approx(best["val_bpb"] / best["val_loss"], rel=1e-5)
    assert made.bpb == pytest.approx(made.loss * made.bits)


@pytest.mark.slow
def test_the_error_of_a_gain_is_that_over_paired_windows(runs):
    paths = [runs("seed=0"), runs("seed=1", "model.block_size=16")]
    ids = text_of(paths[0]).splits.val
    targets = torch.from_numpy(ids.astype(np.int64))[1:, None]
    first, second = (probabilities(path, ids).gather(1, targets)[:, 0] for path in paths)
    lower = ((first + second) / 2).log() - first.log()
    sums = [part.sum().item() for part in lower.split(16)]
    sizes = [len(part) for part in lower.split(16)]
    residuals = [s - lower.mean().item() * n for s, n in zip(sums, sizes, strict=True)]
    n = len(sums)
    expected = math.sqrt(n / (n - 1) * sum(r * r for r in residuals)) / sum(sizes)
    part = ensemble(paths).parts[1]
    assert part.gain == pytest.approx(lower.mean().item(), abs=1e-6)
    assert part.stderr == pytest.approx(expected, rel=1e-3)
    assert ensemble(paths[::-1]).parts[1].stderr > 0  # windows of 16 in this order too


def test_checkpoints_of_one_run_may_be_averaged(runs):
    run = runs("trainer.keep=all")
    files = [run / "checkpoints" / f"step-{step}.pt" for step in (8, 12)]
    made = ensemble(files)
    digits = run.name.rpartition("-")[2]
    assert [part.name for part in made.parts] == [f"{digits}/step-8", f"{digits}/step-12"]


@pytest.mark.slow
def test_documents_are_averaged_over_the_targets_of_their_evaluation(train, words, tmp_path):
    paths = [train(tmp_path / "outputs", *words, f"seed={seed}") for seed in (0, 1)]
    made = ensemble(paths, counts=True)
    for part in made.parts[:2]:
        assert part.alone == pytest.approx(summary(part.path)["best"]["val_loss"], abs=1e-6)
    assert "over 6 documents" in made.notes[0]
    order = int(made.parts[2].name[0])
    if order <= ngrams.ORDERS:
        assert made.parts[2].alone == pytest.approx(summary(paths[0])["ngrams"][order - 1])


def test_counts_are_mixed_in_by_the_weight_that_is_best_where_they_were_held_out(runs):
    run = runs("seed=0")
    text, made = text_of(run), ensemble([run], counts=True)
    model, counts = made.parts
    train, val = (part.astype(np.int64) for part in (text.splits.train, text.splits.val))
    end, vocab_size = int(len(train) * 0.9), text.tokenizer.vocab_size

    def both(counted, judged):
        """What the run, and n-grams of each order, give to the targets."""
        targets = torch.from_numpy(judged)[1:, None]
        of_run = probabilities(run, judged).gather(1, targets)[:, 0].numpy()
        by_order = ngrams.probabilities(counted, judged, vocab_size, orders=ensembles.ORDERS)
        return np.log(of_run), [np.log(p[1:]) for p in by_order]

    fit = mixing.best_mixture(*both(train[:end], train[end:]))
    assert counts.name == f"{fit.number + 1}-gram counts" and counts.path is None
    assert counts.weight == pytest.approx(fit.weight, abs=1e-3)
    assert model.weight + counts.weight == pytest.approx(1)
    first, by_order = both(train, val)
    assert counts.alone == pytest.approx(-by_order[fit.number].mean())
    expected = -mixing.mixture(first, by_order[fit.number], counts.weight).mean()
    assert made.loss == pytest.approx(expected, abs=1e-6)
    best = mixing.best_mixture(first, by_order)
    assert f"{best.number + 1}-grams at {best.weight:.3f}" in made.notes[2]
    assert best.loss <= made.loss + 1e-6


def test_the_weight_of_counts_does_not_depend_on_what_is_judged(runs, warnings):
    run = runs("seed=0", "name=changed")
    path, found = Path(load_run(run).config.data.path), []
    whole = path.read_text()
    for text in (whole, whole[: int(len(whole) * 0.8)] + "to be " * 80):
        path.write_text(text[: len(whole)])
        found.append(ensemble([run], counts=True))
    before, after = (made.parts[1] for made in found)
    assert (before.name, before.weight) == (after.name, after.weight)
    assert before.alone != after.alone
    assert "has changed" in only(warnings())


@pytest.mark.slow
def test_counts_are_weighed_on_the_test_split_where_there_is_one(runs):
    run = runs("data.test_fraction=0.2")
    val, test = ensemble([run], counts=True), ensemble([run], "test", counts=True)
    held = len(text_of(run).splits.test) - 1
    assert f"the {held:,} tokens of the test split, which no run was trained on" in val.notes[1]
    assert "of the training text, not counted for that" in test.notes[1]
    assert test.parts[0].alone == pytest.approx(summary(run)["test"]["loss"], abs=1e-6)


@pytest.mark.slow
def test_counts_are_of_the_largest_training_split(runs):
    large, few = runs("seed=0"), runs("seed=0", "data.fraction=0.5")
    counts = [ensemble(paths, counts=True).parts[-1].alone for paths in ([few, large], [large])]
    assert counts[0] == counts[1] != ensemble([few], counts=True).parts[-1].alone


def held_out(text, train, place):
    counted, held = text.format.halves(np.array(train), text.tokenizer, place)
    return counted.tolist(), held.tolist()


def test_documents_and_conversations_are_held_out_whole(runs, trained, chat_run):
    end = load_run(trained).tokenizer.encode("\n").item()
    train = [end, 3, 1, end, 2, 2, end, 1, 2, 3, 1, end]
    assert held_out(text_of(trained), train, 10) == (train[:7], train[6:])
    assert held_out(text_of(runs("seed=0")), train, 10) == (train[:10], train[10:])
    first, second = b"\1\5a\2b\3\5c\2ab\3", b"\1\5e\2ffff\3\5a\2b\3"  # two answers each
    both = (list(first), list(second))
    assert held_out(text_of(chat_run), list(first + second), 20) == both


def test_counts_of_conversations_are_weighed_on_their_answers(chat_run, warnings):
    made = ensemble([chat_run], counts=True)
    text = ensembles._to_weigh(text_of(chat_run))
    targets = text.format.target_mask(text.splits.val, text.tokenizer, text.block_size)
    assert f"the last {targets.sum()} tokens of the training text" in made.notes[1]
    assert targets.sum() > 10 and made.loss < made.parts[0].alone


def test_a_text_too_short_to_hold_any_out_is_refused(runs):
    text = text_of(runs("seed=0"))
    short = replace(text, splits=replace(text.splits, train=text.splits.train[:3]))
    with pytest.raises(DataError, match="too few to hold some of them out"):
        ensembles._to_weigh(short)


@pytest.mark.slow
def test_each_run_that_does_not_fit_the_first_is_a_line(runs, trained, tmp_path):
    first = runs("seed=0")
    others = {
        runs("seed=0", "data.val_fraction=0.3"): "has data.val_fraction=0.3, and",
        runs("seed=0", "tokenizer=byte"): "reads 256 byte",
        trained: "has another text than",
    }
    bare = shutil.copytree(first, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    (tmp_path / "bare" / "checkpoints").mkdir()
    linked = tmp_path / "linked"
    linked.symlink_to(first)
    lines = refusal(ensemble, [first, *others, bare, linked]).splitlines()
    assert len(lines) == 5
    for line, (path, words) in zip(lines, others.items(), strict=False):
        assert line.startswith(f"{path}: {words}")
    assert lines[3].startswith(str(bare)) and lines[4].startswith(f"{linked}: there twice")


@pytest.mark.slow
def test_contexts_that_cut_documents_elsewhere_are_refused(train, words, tmp_path):
    folder = tmp_path / "outputs"
    first = train(folder, *words)
    whole = train(folder, *words, "model.block_size=20")  # no document is longer than either
    assert len(ensemble([first, whole]).parts) == 2
    short = train(folder, *words, "model.block_size=4")
    assert "model.block_size=4 cuts documents" in refusal(ensemble, [first, short])


@pytest.mark.parametrize(
    ("split", "words"),
    [("train", "--split: 'train' is not known"), ("test", "--split: the text has no test part")],
)
def test_a_split_that_cannot_be_judged_is_refused(runs, split, words):
    assert words in refusal(ensemble, [runs("seed=0"), runs("seed=1")], split)


def test_one_run_alone_is_refused(runs):
    assert "nothing to average it with" in refusal(ensemble, [runs("seed=0")])
    assert "runs: there are none" in refusal(ensemble, [])


def test_a_folder_stands_for_its_runs_that_are_done(runs, gptexp, tmp_path):
    paths = [runs(f"seed={seed}") for seed in range(3)]
    left = shutil.copytree(paths[0], tmp_path / "seeds" / "open-0123abcd")
    (left / "summary.json").unlink()
    shown = gptexp("ensemble", tmp_path / "seeds", "--format", "json")
    assert shown.code == 0
    rows = json.loads(shown.out)["rows"]
    assert [row["path"] for row in rows] == [str(path) for path in sorted(paths)]
    assert f"{left}: " in only(shown.err.splitlines()) and "so left out" in shown.err
    made = ensemble(sorted(paths))
    assert [row["together"] for row in rows] == [part.together for part in made.parts]


def test_a_damaged_run_of_a_folder_is_a_line_and_the_others_are_shown(runs, gptexp, tmp_path):
    paths = [runs(f"seed={seed}") for seed in range(3)]
    (paths[1] / "summary.json").write_text("{")
    shown = gptexp("ensemble", tmp_path / "seeds")
    assert shown.code == 2
    assert "summary.json" in only(shown.err.splitlines())
    assert shown.out.splitlines()[0].split()[:3] == ["run", "alone", "together"]
    assert [line.split()[0] for line in shown.out.splitlines()[1:3]] == ["s0", "s2"]


def test_a_table_shows_weights_where_they_differ(runs, gptexp):
    paths = [runs(f"seed={seed}") for seed in range(2)]
    plain, counted = gptexp("ensemble", *paths), gptexp("ensemble", *paths, "--counts")
    assert "weight" not in plain.out.splitlines()[0]
    assert counted.out.splitlines()[0].split()[-1] == "weight"
    assert "-gram counts" in counted.out
    csv = gptexp("ensemble", *paths, "--counts", "--format", "csv")
    assert csv.out.startswith("part,alone,together,bpb,gain,stderr,gain_bpb,weight,path\n")
    assert "hindsight: " in csv.err


def test_a_notebook_has_the_ensemble_of_a_folder_or_of_runs(runs, tmp_path, warnings):
    paths = sorted(runs(f"seed={seed}") for seed in range(3))
    left = shutil.copytree(paths[0], tmp_path / "seeds" / "open-0123abcd")
    (left / "summary.json").unlink()
    made = package.ensemble([tmp_path / "seeds"])
    assert f"{left}: " in only(warnings())
    assert made.loss == package.ensemble(package.load_runs(*paths)).loss == ensemble(paths).loss
    assert len(repr(made).splitlines()) == 6


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nothing/there"], "nothing/there: not there"),
        ([".", "--format", "xml"], "--format: xml is not known"),
        ([".", "--device", "tpu"], "--device: tpu is not there"),
        (["empty"], "empty: holds no runs"),
    ],
)
def test_a_mistake_of_a_command_line_is_one_line(words, named, gptexp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shown = gptexp("ensemble", *words)
    assert shown.code == 2 and named in only(shown.errors)
