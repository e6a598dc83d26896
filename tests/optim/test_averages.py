"""Averages of the weights beside plain formulas."""

import copy

import pytest
import torch
from torch import nn

from gptexp.config import SGDConfig
from gptexp.optim.averages import Average, build_averages


def see(average: Average, live: nn.Linear, one: nn.Linear, step: int) -> None:
    """Make an update that leaves the live model with the weights of another one."""
    live.load_state_dict(one.state_dict())
    average.update(step)


def trail(steps: int) -> tuple[nn.Linear, list[nn.Linear]]:
    """A model, and what it is after each of so many updates."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    later = [copy.deepcopy(model) for _ in range(steps)]
    for one in later:
        for parameter in one.parameters():
            nn.init.normal_(parameter)
    return model, later


@pytest.mark.parametrize(("decay", "since"), [(0.9, 0), (0.99, 0), (0.0, 0), (1.0, 0), (1.0, 12)])
def test_an_average_is_the_weighted_mean_of_what_came_since(decay: float, since: int) -> None:
    model, later = trail(20)
    average = Average(model, decay, since)
    for step, one in enumerate(later, start=1):
        see(average, model, one, step)
    shares = torch.tensor(
        [decay ** (20 - step) if decay else float(step == 20) for step in range(since + 1, 21)],
        dtype=torch.float64,
    )
    shares /= shares.sum()
    weights = torch.stack([one.weight.detach().double() for one in later[since:]])
    expected = (shares[:, None, None] * weights).sum(dim=0)
    torch.testing.assert_close(average.model.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert average.model.weight.dtype == torch.float32


def test_the_first_weights_that_count_are_taken_as_they_are() -> None:
    model, later = trail(2)
    average = Average(model, 0.999, 0)
    see(average, model, later[0], 1)
    assert torch.equal(average.model.weight, later[0].weight)
    assert not average.model.weight.requires_grad
    see(average, model, later[1], 1 + 10**6)
    assert not torch.equal(average.model.weight, later[1].weight)


def test_it_is_taken_up_from_its_state_to_the_bit() -> None:
    model, later = trail(9)
    whole, half = Average(model, 0.9, 2), Average(model, 0.9, 2)
    for step, one in enumerate(later, start=1):
        see(whole, model, one, step)
        if step <= 5:
            half.update(step)
    half.judge(2.0, 4)
    again = Average(model, 0.9, 2)
    again.load_state_dict(copy.deepcopy(half.state_dict()), 5)
    for step in range(6, 10):
        see(again, model, later[step - 1], step)
    assert torch.equal(again.model.weight, whole.model.weight)
    assert (again.best_loss, again.best_step) == (2.0, 4)


def test_from_a_checkpoint_without_it_it_begins_there() -> None:
    model, later = trail(9)
    average = Average(model, 1.0, 2)
    average.load_state_dict(None, 7)
    for step in (8, 9):
        see(average, model, later[step - 1], step)
    expected = (later[7].weight + later[8].weight) / 2
    torch.testing.assert_close(average.model.weight.data, expected.data)


def test_the_config_says_which_averages_there_are_and_since_when() -> None:
    model, _ = trail(0)
    config = SGDConfig(name="sgd", lr=1.0, weight_decay=0.0, momentum=0.0)
    assert len(build_averages(config, model, 100)) == 0
    config.ema, config.average_last = 0.99, 0.2
    found = build_averages(config, model, 101)
    assert {kind: (a.decay, a.since) for kind, a in found.by_kind.items()} == {
        "ema": (0.99, 0),
        "mean": (1.0, 81),
    }
