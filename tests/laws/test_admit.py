"""Which runs are points of a law, and why the others are none."""

import json
import re

import pytest
from law_runs import write_point
from small_runs import refusal

from gptexp.analysis.records import collect
from gptexp.analysis.units import BITS, NATS
from gptexp.config.optim import SCHEDULES
from gptexp.laws.admit import admit
from gptexp.laws.candidates import WITH_TRUNK, Convention


@pytest.fixture
def admitted(tmp_path):
    """`admitted(best=True)`: the observations of the runs below tmp_path."""

    def call(**convention):
        runs, _ = collect([tmp_path])
        return admit(runs, Convention(**convention))

    return call


def reasons(observed):
    return sorted(f"{one.label}: {one.reason}" for one in observed.rejected.first)


def rows(observed):
    points = observed.points
    return list(zip(points.n, points.tokens, points.unique, points.loss, strict=True))


def test_a_run_is_a_point_of_its_parameters_its_tokens_and_its_last_loss(tmp_path, admitted):
    write_point(tmp_path / "a", 50_000, 400_000, 2.5, unique=100_000, best=(2.25, 200_000))
    observed = admitted()
    assert rows(observed) == [(50_000, 400_000, 100_000, 2.5)]
    assert observed.flops.tolist() == [7 * 50_000 * 400_000]
    assert observed.unit == NATS
    assert "all parameters" in observed.convention


def test_of_a_text_that_was_not_read_to_its_end_no_more_is_unique_than_was_seen(tmp_path, admitted):
    write_point(tmp_path / "a", tokens=30_000, unique=100_000)
    write_point(tmp_path / "a", tokens=30_000, unique=60_000, data__fraction=0.6)
    observed = admitted()
    assert [row[1:3] for row in rows(observed)] == [(30_000, 30_000)] * 2
    assert observed.points.cell.tolist() == [0, 0]


def test_the_lowest_loss_comes_with_the_tokens_and_the_flops_until_then(tmp_path, admitted):
    write_point(tmp_path / "a", 50_000, 400_000, 2.5, unique=100_000, best=(2.25, 200_000))
    observed = admitted(best=True)
    assert rows(observed) == [(50_000, 200_000, 100_000, 2.25)]
    assert observed.flops.tolist() == [7 * 50_000 * 200_000]


def test_parameters_are_counted_without_embeddings_on_request(tmp_path, admitted):
    write_point(tmp_path / "a", 50_000)
    observed = admitted(non_embedding=True)
    assert observed.points.n.tolist() == [40_000]
    assert "without embeddings" in observed.convention
    write_point(tmp_path / "a", 10_000)  # all of them in tables
    [line] = reasons(admitted(non_embedding=True))
    assert line.endswith("no parameters to count")


def test_losses_are_bits_per_byte_on_request(tmp_path, admitted):
    write_point(tmp_path / "a", loss=2.0)
    assert admitted(unit=BITS).points.loss.tolist() == [0.8]


def test_runs_of_several_tokenizers_compare_in_bits_per_byte_and_the_reader_is_told(
    tmp_path, admitted
):
    write_point(tmp_path / "a", tokens=100_000)
    write_point(tmp_path / "a", tokens=200_000, tokenizer={"name": "byte"})
    observed = admitted()
    assert (len(observed.points), observed.unit) == (2, BITS)
    assert any(note.startswith("several tokenizers (byte, char)") for note in observed.notes)


def test_runs_that_are_not_done_or_have_no_loss_are_left_out_with_what_became_of_them(
    tmp_path, admitted
):
    write_point(tmp_path, seed=0)
    write_point(tmp_path, seed=1, state="diverged", reason="the loss is nan at step 30")
    write_point(tmp_path, seed=2, state="failed", reason="out of memory")
    write_point(tmp_path, seed=3, loss=None)
    write_point(tmp_path, seed=4, tokens=0, trainer__max_steps=1000)
    write_point(tmp_path, seed=6, unique=1e-30)
    free = write_point(tmp_path, seed=7) / "summary.json"
    free.write_text(json.dumps(json.loads(free.read_text()) | {"flops": 0}))
    (write_point(tmp_path, seed=5) / "summary.json").write_text("{")
    observed = admitted()
    assert len(observed.points) == 1
    assert reasons(observed) == [
        "s1: diverged: the loss is nan at step 30",
        "s2: failed: out of memory",
        "s3: no finite validation loss",
        "s4: no tokens seen",
        "s5: damaged: summary.json: damaged: Input data was truncated",
        "s6: no tokens seen",
        "s7: no FLOPs counted",
    ]


def test_runs_of_other_code_another_text_or_other_settings_than_most_are_left_out(
    tmp_path, admitted
):
    for seed in range(3):
        write_point(tmp_path, seed=seed)
    write_point(tmp_path, seed=3, sources={"model.py": "9" * 64})
    write_point(tmp_path, seed=4, data_sha256="d" * 64)
    write_point(tmp_path, seed=5, model__dropout=0.2)
    observed = admitted()
    assert len(observed.points) == 3
    found = [line.partition(": ")[2] for line in reasons(observed)]
    assert found == [
        "other code than most",
        "other text than most",
        "other settings: dropout=0.2, where most have 0",
    ]


def test_runs_of_two_kinds_alike_in_number_are_refused_with_the_key(tmp_path, admitted):
    write_point(tmp_path, seed=0)
    write_point(tmp_path, seed=0, model__dropout=0.2)
    said = refusal(admitted)
    assert said.startswith("dropout: 2 kinds of it among the runs")
    assert re.search(r"take --where model\.dropout=0(\.2)?$", said)


def test_runs_of_two_codes_alike_in_number_are_refused_with_the_one_to_take(tmp_path, admitted):
    write_point(tmp_path, seed=0)
    write_point(tmp_path, seed=1, sources={"model.py": "9" * 64})
    said = refusal(admitted)
    assert said.startswith("code: 2 kinds of it among the runs")
    assert re.search(r"take --where code=\w+$", said)


def test_sizes_lengths_fractions_and_batches_may_vary(tmp_path, admitted):
    write_point(tmp_path, 50_000, model__n_embd=32)
    write_point(tmp_path, 60_000, model__n_layer=2, model__n_head=2, model__name="tiny")
    write_point(tmp_path, unique=9_000, data__fraction=0.1)
    write_point(tmp_path, tokens=70_000, trainer__max_steps=50)
    write_point(tmp_path, tokens=80_000, trainer__batch_size=3, trainer__device="cpu")
    assert len(admitted().points) == 5


def test_a_run_that_stopped_early_is_none_among_those_that_used_their_budget(tmp_path, admitted):
    early = "validation has not improved for 5 evaluations"
    ended = {"stop_reason": early, "trainer__max_steps": 1000}
    write_point(tmp_path, seed=0, tokens=100_000)
    write_point(tmp_path, seed=1, tokens=70_000, best=(1.5, 40_000), **ended)
    [line] = reasons(admitted())
    assert line.startswith("s1: stopped early: most used their whole budget")
    assert len(admitted(best=True).points) == 2
    for seed in (2, 3):
        write_point(tmp_path, seed=seed, tokens=60_000 + seed, **ended)
    [line] = reasons(admitted())
    assert line.startswith("s0: used its whole budget: most stopped early")


def test_seeds_that_were_to_see_the_same_tokens_are_one_cell_wherever_they_stopped(
    tmp_path, admitted
):
    early = "validation has not improved for 5 evaluations"
    for seed in range(3):
        write_point(tmp_path, seed=seed, tokens=70_000 + seed, stop_reason=early)
        write_point(tmp_path, 90_000, seed=seed, tokens=70_000 + seed, stop_reason=early)
    assert sorted(admitted().points.cell.tolist()) == [0, 0, 0, 1, 1, 1]


def test_a_run_that_stands_in_two_folders_counts_once(tmp_path, admitted):
    write_point(tmp_path / "a")
    write_point(tmp_path / "b")
    observed = admitted()
    assert len(observed.points) == 1
    assert [one.reason for one in observed.rejected.first] == [
        f"twice: the run {observed.labels[0]}"
    ]


def test_lengths_with_one_trunk_are_one_run(tmp_path, admitted):
    for schedule in ("constant", "cosine"):
        for steps in (100, 200):
            for seed in (0, 1):
                some = {"schedule__name": schedule, "trainer__max_steps": steps, "seed": seed}
                write_point(tmp_path / schedule, tokens=1000 * steps, loss=2.0 + seed / 8, **some)
    runs, _ = collect([tmp_path / "constant"])
    trunks = admit(runs, Convention()).points
    assert sorted(zip(trunks.loss, trunks.tokens, strict=True)) == [
        *((2.0, 100_000), (2.0, 200_000), (2.125, 100_000), (2.125, 200_000))
    ]
    assert {run: {*trunks.loss[trunks.run == run]} for run in trunks.run} == {0: {2.0}, 1: {2.125}}
    runs, _ = collect([tmp_path / "cosine"])
    assert sorted(admit(runs, Convention()).points.run) == [0, 1, 2, 3]


def test_what_has_a_trunk_is_what_the_schedules_say(composed):
    shares = {name: composed(f"schedule={name}").schedule.trunk_share for name in SCHEDULES}
    assert {name for name, share in shares.items() if share > 0} == {*WITH_TRUNK}


def test_no_runs_are_no_points(admitted, tmp_path):
    write_point(tmp_path, state="failed")
    assert len(admitted().points) == 0


def test_a_batch_that_is_no_number_counts_as_one(tmp_path, admitted):
    """As in a run of somebody else's."""
    for rate, batch in ((0.1, 8), (0.2, "many"), (0.4, -8)):
        keys = {"optim__lr": rate, "trainer__batch_size": batch, "trainer__grad_accum": 1}
        write_point(tmp_path / "a", model__block_size=4, **keys)
    trials = admitted().trials
    assert trials.batch.tolist() == [32, 4, 4]
