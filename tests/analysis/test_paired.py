"""`gptexp diff` of two folders: which runs are pairs, and what their mean difference is."""

import math

import pytest
from run_directories import write_run
from small_runs import only, refusal

from gptexp.analysis.paired import pair
from gptexp.analysis.records import collect


@pytest.fixture
def lines(gptexp):
    """`lines(a, b)`: what `gptexp diff` shows, without the alignment."""

    def call(a, b):
        code, out, err = gptexp("diff", a, b)
        assert (code, err) == (0, "")
        return [" ".join(line.split()) for line in out.splitlines()]

    return call


def group(folder, losses, **keys):
    for seed, loss in losses.items():
        write_run(folder, seed, loss, **keys)
    return folder


def grid(folder, lrs=(0.1, 0.2), seeds=(0, 1, 2), **keys):
    """Best losses 1 + lr + seed / 10, and what the number of layers adds to them."""
    for lr in lrs:
        for seed in seeds:
            more = lr * keys.get("model__n_layer", 0)
            write_run(folder, seed, 1 + lr + seed / 10 + more, optim__lr=lr, **keys)
    return folder


def points(paired):
    """The values of the keys by which the pairs go."""
    return [tuple(pair.runs[0].config[key] for key in paired.keys) for pair in paired.pairs]


# Seeds


def test_the_paired_interval_is_that_of_the_textbook(tmp_path, lines):
    """Differences 0.1, 0.2, 0.3: mean 0.2, s 0.1, t(0.975, 2) = 4.302653; seeds vary far more."""
    a = group(tmp_path / "a", {0: 1.0, 1: 2.0, 2: 3.0})
    b = group(tmp_path / "b", {2: 3.3, 1: 2.2, 0: 1.1}, optim__lr=0.5)
    found = pair(a, b)
    assert [pair.losses for pair in found.pairs] == [(1.0, 1.1), (2.0, 2.2), (3.0, 3.3)]
    assert (found.keys, points(found)) == (["seed"], [(0,), (1,), (2,)])
    assert found.difference.mean == pytest.approx(0.2)
    assert found.difference.ci95 == pytest.approx(4.302652730 * 0.1 / math.sqrt(3), rel=1e-9)
    shown = lines(a, b)
    assert shown[0] == f"a {a} (3 runs)"
    assert "optim.lr 0.001 0.5" in shown
    assert "2 3.0000 3.3000 +0.3000" in shown
    assert shown[-1] == (
        "best validation loss, b - a: +0.2000 ± 0.2484 nats per token (95%, 3 pairs)"
    )


def test_one_pair_has_a_difference_without_an_interval(tmp_path, lines):
    shown = lines(group(tmp_path / "a", {0: 1.0}), group(tmp_path / "b", {0: 1.5}))
    assert shown[-1] == (
        "best validation loss, b - a: +0.5000 nats per token; one pair gives no interval"
    )


def test_seeds_without_a_partner_are_named_and_left_out(tmp_path, lines):
    a = group(tmp_path / "a", {0: 1.0, 1: 2.0, 3: 9.0, 4: 1.0})
    b = group(tmp_path / "b", {0: 1.5, 1: 2.5, 5: 9.0})
    failed = write_run(b, 4, state="failed")
    shown = lines(a, b)
    assert f"seed 3 unpaired: only in {a}" in shown
    assert f"seed 5 unpaired: only in {b}" in shown
    assert f"seed 4 unpaired: {failed} failed" in shown
    assert any("+0.5000 ± 0.0000 nats per token (95%, 2 pairs)" in line for line in shown)


def test_G6_groups_of_other_code_or_data_say_so(tmp_path, lines):
    a = group(tmp_path / "a", {0: 1.0, 1: 2.0})
    b = group(tmp_path / "b", {0: 1.0}, data_sha256="d" * 64)
    write_run(b, 1, 2.0, sources={"model.py": "9" * 64})
    shown = "\n".join(lines(a, b))
    assert "other data than the rest: 1 of 4" in shown
    assert "other code than the rest: 1 of 4" in shown


def test_groups_without_a_common_seed_are_refused(tmp_path):
    a, b = group(tmp_path / "a", {0: 1.0}), group(tmp_path / "b", {1: 1.0})
    assert "no seed is done in both" in refusal(pair, a, b)


# Grids


def test_two_grids_are_paired_by_all_that_varies_in_them(tmp_path, lines):
    """Of each lr the three differences are 2 lr; over all the mean is 0.3, s is 0.10954."""
    a = grid(tmp_path / "a", model__n_layer=2)
    b = grid(tmp_path / "b", model__n_layer=4)
    found = pair(a, b)
    assert found.keys == ["optim.lr", "seed"]
    assert points(found) == [(lr, seed) for lr in (0.1, 0.2) for seed in (0, 1, 2)]
    assert found.difference.ci95 == pytest.approx(2.570581836 * 0.10954451 / math.sqrt(6))
    shown = lines(a, b)
    assert "model.n_layer 2 4" in shown
    assert not any(line.startswith("optim.lr 0.1, 0.2") for line in shown), "as in both"
    start = shown.index("optim.lr seed a b b - a")
    assert shown[start + 5] == "0.2 1 1.7000 2.1000 +0.4000"
    start = shown.index("optim.lr pairs b - a 95%")
    assert shown[start + 1 : start + 3] == ["0.1 3 +0.2000 ± 0.0000", "0.2 3 +0.4000 ± 0.0000"]
    assert shown[-1].endswith("b - a: +0.3000 ± 0.1150 nats per token (95%, 6 pairs)")


def test_a_grid_of_one_seed_has_no_means_of_one(tmp_path, lines):
    a, b = (grid(tmp_path / name, seeds=(0,), model__n_layer=n) for name, n in (("a", 2), ("b", 4)))
    assert not any(line.startswith("optim.lr pairs") for line in lines(a, b))


def test_points_without_a_partner_are_listed(tmp_path, lines):
    a, b = grid(tmp_path / "a"), grid(tmp_path / "b", lrs=(0.2, 0.4), seeds=(0, 1))
    failed = write_run(b, 2, state="failed", optim__lr=0.2)
    shown = lines(a, b)
    assert [line for line in shown if " unpaired: " in line] == [
        *(f"lr=0.1 seed {seed} unpaired: only in {a}" for seed in (0, 1, 2)),
        f"lr=0.2 seed 2 unpaired: {failed} failed",
        *(f"lr=0.4 seed {seed} unpaired: only in {b}" for seed in (0, 1)),
    ]
    assert "optim.lr 0.1, 0.2 0.2, 0.4" in shown


def test_a_folder_of_one_value_is_paired_with_that_value_of_a_grid(tmp_path):
    found = pair(grid(tmp_path / "a"), grid(tmp_path / "b", lrs=(0.2,)))
    assert points(found) == [(0.2, 0), (0.2, 1), (0.2, 2)]
    assert len(found.unpaired) == 3


def test_a_key_that_follows_from_another_need_not_be_the_same(tmp_path, lines):
    """The dropout of a preset, which the other folder sets to one value for all of them."""
    a, b = tmp_path / "a", tmp_path / "b"
    for name, dropout in (("small", 0.0), ("wide", 0.2)):
        for seed in (0, 1):
            write_run(a, seed, 2.0, model__name=name, model__dropout=dropout)
            write_run(b, seed, 2.1, model__name=name, model__dropout=0.2)
    found = pair(a, b)
    assert found.keys == ["model.name", "seed"]
    assert len(found.pairs) == 4
    shown = lines(a, b)
    assert "model.dropout 0.0, 0.2 0.2" in shown
    assert "model.dropout differs in 2 of 4 pairs" in shown


def test_pairs_that_differ_crosswise_are_said_to_differ(tmp_path, lines):
    """Both folders hold the same learning rates, but not for the same number of layers."""
    a, b = tmp_path / "a", tmp_path / "b"
    for layers, lr, other in ((2, 0.1, 0.2), (4, 0.2, 0.1)):
        write_run(a, 0, 2.0, model__n_layer=layers, optim__lr=lr)
        write_run(b, 0, 2.0, model__n_layer=layers, optim__lr=other)
    assert pair(a, b).keys == ["model.n_layer", "seed"]
    assert "optim.lr 0.1, 0.2 0.1, 0.2" in lines(a, b)


def test_texts_are_told_apart_by_what_they_hold(tmp_path):
    """The same two texts lie elsewhere for the other folder."""
    a, b = tmp_path / "a", tmp_path / "b"
    for text in "xy":
        write_run(a, 0, 2.0, data__path=f"{text}.txt", data_sha256=text * 64)
        write_run(b, 0, 2.1, data__path=f"/disk/{text}.txt", data_sha256=text * 64)
    found = pair(a, b)
    assert (found.keys, len(found.pairs)) == (["data.path", "seed"], 2)


def test_a_folder_that_varies_what_the_other_never_has_is_refused_with_the_keys(tmp_path, gptexp):
    a, b = grid(tmp_path / "a"), grid(tmp_path / "b", lrs=(0.3, 0.4))
    for first, second in ((a, b), (b, a)):
        line = refusal(pair, first, second)
        assert line.startswith(f"{first}: seed 0 is that of several runs, ")
        assert ": no value of optim.lr is in both folders. Fix: gptexp diff best:" in line
        words = line.partition(" Fix: gptexp ")[2].split()
        code, out, _ = gptexp(*words)
        best = min(collect([first])[0], key=lambda run: run.best)
        assert (code, out.partition("\n")[0]) == (0, f"a  {best.path}  (done)")


def test_a_run_that_is_twice_in_a_folder_is_refused(tmp_path):
    a, b = group(tmp_path / "a" / "x", {0: 1.0}), group(tmp_path / "b", {0: 1.0})
    group(tmp_path / "a" / "y", {0: 1.0})
    line = refusal(pair, a.parent, b)
    assert line.startswith(f"{a.parent}: seed 0 is that of several runs, ")
    assert line.endswith("Fix: name a folder with one of them")
    assert pair(a, b).pairs, "as the fix says"


def test_grids_without_a_common_point_are_refused(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for lr, seed in ((0.1, 0), (0.2, 1)):
        write_run(a, seed, optim__lr=lr)
        write_run(b, 1 - seed, optim__lr=lr)
    line = only(refusal(pair, a, b).splitlines())
    assert line.startswith(f"{a} and {b}: no point is done in both (lr=0.1 seed 0 unpaired: ")
    assert line.endswith("Fix: run the same points in both")


def test_a_damaged_run_leaves_the_others_paired_and_ends_with_its_code(tmp_path, gptexp):
    a, b = grid(tmp_path / "a", model__n_layer=2), grid(tmp_path / "b", model__n_layer=4)
    broken = next(iter(sorted(b.iterdir())))
    (broken / "summary.json").write_text("{")
    code, out, err = gptexp("diff", a, b)
    assert code == 2
    assert err.startswith(f"gptexp: error: {broken}/summary.json: damaged: ")
    assert f"unpaired: {broken} damaged" in out and "5 pairs" in out
