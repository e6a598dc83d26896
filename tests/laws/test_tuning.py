"""Of runs with the same N, T and U the best is kept, if it lies between others that were tried."""

import pytest
from law_runs import write_point

from gptexp.analysis.records import collect
from gptexp.laws.admit import admit
from gptexp.laws.candidates import Convention


@pytest.fixture
def admitted(tmp_path):
    def call(**convention):
        return admit(collect([tmp_path])[0], Convention(**convention))

    return call


def write_rates(folder, losses, **given):
    """A run for each learning rate with its loss."""
    for lr, loss in losses.items():
        write_point(folder, loss=loss, optim__lr=lr, **given)


def test_the_best_learning_rate_of_a_point_is_kept_over_all_its_seeds(tmp_path, admitted):
    write_rates(tmp_path, {0.001: 2.2, 0.003: 2.0, 0.01: 1.95}, seed=0)
    write_rates(tmp_path, {0.001: 2.3, 0.003: 2.1, 0.01: 2.4}, seed=1)
    observed = admitted()
    assert observed.points.loss.tolist() == [2.0, 2.1]
    assert {one.reason for one in observed.rejected.first} == {
        "not the best of its point: lr=0.003 reaches 2.0500"
    }
    assert observed.notes == []  # nothing uncertified


@pytest.mark.parametrize(("losses", "which"), [((1.9, 2, 2.1), "low"), ((2.1, 2, 1.9), "high")])
def test_a_point_whose_best_learning_rate_is_at_an_edge_is_left_out(
    tmp_path, admitted, losses, which
):
    rates = (0.001, 0.003, 0.01)
    write_rates(tmp_path, dict(zip(rates, losses, strict=True)))
    observed = admitted()
    assert len(observed.points) == 0
    at = rates[0] if which == "low" else rates[-1]
    reason = f"at the edge of what was tried: lr={at:g} is the {which}est"
    assert reason in {one.reason for one in observed.rejected.first}


def test_such_a_point_is_kept_on_request_and_is_uncertified(tmp_path, admitted):
    write_rates(tmp_path, {0.001: 2.2, 0.003: 2.0})
    observed = admitted(keep_edges=True)
    assert observed.points.loss.tolist() == [2.0]
    assert observed.notes[0].startswith("uncertified: no point has a learning rate")


def test_a_learning_rate_that_diverged_was_tried_too(tmp_path, admitted):
    write_rates(tmp_path, {0.001: 2.2, 0.003: 2.0})
    write_point(tmp_path, optim__lr=0.01, state="diverged", reason="nan")
    assert admitted().points.loss.tolist() == [2.0]
    assert admitted().notes == []


def test_a_weight_decay_of_zero_is_no_edge_and_the_highest_is(tmp_path, admitted):
    for decay, loss in {0.0: 2.0, 0.1: 2.1}.items():
        write_point(tmp_path, 50_000, loss=loss, optim__weight_decay=decay)
        write_point(tmp_path, 90_000, loss=4 - loss, optim__weight_decay=decay)
    observed = admitted()
    assert observed.points.n.tolist() == [50_000]
    reasons = {one.reason for one in observed.rejected.first}
    assert "at the edge of what was tried: weight_decay=0.1 is the highest" in reasons


def test_one_learning_rate_for_all_is_uncertified(tmp_path, admitted):
    write_point(tmp_path, 50_000)
    write_point(tmp_path, 90_000)
    [note] = admitted().notes
    assert note.startswith("uncertified: no point has a learning rate that is best among others")


def test_how_many_points_are_certified_is_said(tmp_path, admitted):
    write_rates(tmp_path, {0.001: 2.2, 0.003: 2.0, 0.01: 2.1})
    write_point(tmp_path, 90_000, optim__lr=0.003)
    assert admitted().notes[0].startswith("uncertified: 1 of 2 points has")


def test_models_of_one_size_in_several_shapes_compete(tmp_path, admitted):
    write_point(tmp_path, loss=2.0, model__n_head=2)
    write_point(tmp_path, loss=1.9, model__n_head=4)
    observed = admitted()
    assert observed.points.loss.tolist() == [1.9]
    assert [one.reason for one in observed.rejected.first] == [
        "not the best of its point: n_head=4 reaches 1.9000"
    ]


def test_batches_of_several_sizes_compete_over_the_same_tokens(tmp_path, admitted):
    write_point(tmp_path, loss=2.0, trainer__batch_size=8, trainer__max_steps=500)
    write_point(tmp_path, loss=1.9, trainer__batch_size=4, trainer__max_steps=1000)
    assert admitted().points.loss.tolist() == [1.9]
