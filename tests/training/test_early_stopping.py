"""When a loss is the best, and when patience runs out."""

import json
import math

from gptexp.training.early_stopping import EarlyStopping


def after(stop: EarlyStopping, *losses: float) -> list[bool]:
    """Whether each of `losses`, taken in at steps 0, 1, 2, ..., was the best so far."""
    return [stop.update(loss, step) for step, loss in enumerate(losses)]


def test_best_is_the_first_strict_minimum() -> None:
    stop = EarlyStopping(patience=9, min_delta=0.0)
    assert after(stop, 3.0, 2.0, 2.0, 2.5, 1.5, 1.5) == [True, True, False, False, True, False]
    assert (stop.best_loss, stop.best_step) == (1.5, 4)


def test_patience_runs_out_after_that_many_evaluations_without_a_gain() -> None:
    stop = EarlyStopping(patience=2, min_delta=0.0)
    after(stop, 3.0, 3.0)
    assert not stop.should_stop
    after(stop, 3.0)
    assert stop.should_stop


def test_a_gain_below_min_delta_is_the_best_but_does_not_reset_patience() -> None:
    stop = EarlyStopping(patience=2, min_delta=0.5)
    assert after(stop, 3.0, 2.9, 2.8) == [True, True, True]
    assert stop.should_stop
    assert (stop.best_loss, stop.best_step) == (2.8, 2)


def test_a_gain_of_exactly_min_delta_does_not_reset_patience() -> None:
    stop = EarlyStopping(patience=1, min_delta=0.5)
    after(stop, 3.0, 2.5)
    assert stop.should_stop


def test_small_gains_add_up_until_they_reset_patience() -> None:
    stop = EarlyStopping(patience=3, min_delta=0.5)
    after(stop, 3.0, 2.75, 2.5)
    assert stop.bad_evaluations == 2
    after(stop, 2.25)
    assert stop.bad_evaluations == 0


def test_E3_nan_and_infinity_are_never_best_and_count_against_patience() -> None:
    stop = EarlyStopping(patience=3, min_delta=0.0)
    assert after(stop, math.nan, math.inf) == [False, False]
    assert (stop.best_loss, stop.best_step, stop.bad_evaluations) == (math.inf, -1, 2)
    assert after(stop, 5.0, math.nan, 4.0) == [True, False, True]
    assert (stop.best_loss, stop.bad_evaluations) == (4.0, 0)


def test_state_that_was_saved_decides_as_the_one_that_went_on() -> None:
    losses = [3.0, 2.9, math.nan, 2.2, 2.1, 2.15, 2.05]
    for cut in range(len(losses)):
        straight, first = EarlyStopping(3, 0.5), EarlyStopping(3, 0.5)
        after(straight, *losses)
        for step, loss in enumerate(losses[:cut]):
            first.update(loss, step)
        second = EarlyStopping(3, 0.5)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for step, loss in enumerate(losses[cut:], start=cut):
            second.update(loss, step)
        assert second == straight
