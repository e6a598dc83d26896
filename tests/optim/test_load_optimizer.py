"""The state of another optimizer is refused, and leaves this one as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_runs import ONE_LINE, problem_lines

from gptexp.config import Config
from gptexp.errors import CheckpointError
from gptexp.optim.build import build_optimizer, load_optimizer

OPTIMIZERS = {
    "adamw": ["optim=adamw"],
    "adam": ["optim=adam"],
    "sgd": ["optim=sgd"],
    "plain sgd": ["optim=sgd", "optim.momentum=0"],
    "betas": ["optim=adamw", "optim.beta2=0.9"],
    "decay": ["optim=adamw", "optim.weight_decay=0.3"],
    "muon": ["optim=muon"],
    "normuon": ["optim=muon", "optim.normuon=true"],
    "polar express": ["optim=muon", "optim.coefficients=polar_express"],
}


def stepped(config: Config, width: int = 3) -> torch.optim.Optimizer:
    """An optimizer with moments, over a matrix and a vector."""
    network = torch.nn.Linear(width, 2)
    optimizer = build_optimizer(config.optim, network)
    network(torch.ones(1, width)).sum().backward()
    optimizer.step()
    return optimizer


def check_left_alone(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> list[str]:
    """The lines with which `state` is refused; nothing of the optimizer changes."""
    was = str(optimizer.state_dict())
    with pytest.raises(CheckpointError) as refused:
        load_optimizer(optimizer, state)
    assert str(optimizer.state_dict()) == was
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(refused.value))
    return problem_lines(refused.value)


def test_C7_only_the_same_optimizer_is_taken_up(composed: Callable[..., Config]) -> None:
    configs = {name: composed(*overrides) for name, overrides in OPTIMIZERS.items()}
    for saved, stored in configs.items():
        state = stepped(stored).state_dict()
        for wanted, config in configs.items():
            optimizer = stepped(config)
            if saved != wanted:
                assert check_left_alone(optimizer, state)[0].startswith("optim: ")
            else:
                load_optimizer(optimizer, state)
                assert str(optimizer.state_dict()) == str(state)


def test_C7_the_refusal_says_what_differs(composed: Callable[..., Config]) -> None:
    adamw, sgd = stepped(composed()), stepped(composed("optim=sgd"))
    [line] = check_left_alone(sgd, adamw.state_dict())
    assert "the checkpoint has amsgrad, betas, " in line
    assert ", which SGD does not have. Fix: rerun=true" in line
    lines = check_left_alone(stepped(composed("optim.beta1=0.5")), adamw.state_dict())
    assert "betas of group 0: checkpoint (0.9, 0.999), config (0.5, 0.999). Fix: " in lines[0]
    lines = check_left_alone(adamw, stepped(composed(), width=4).state_dict())
    assert [line.partition(". Fix:")[0] for line in lines] == [
        "optim: exp_avg of parameter 0: checkpoint [2, 4], config [2, 3]",
        "optim: exp_avg_sq of parameter 0: checkpoint [2, 4], config [2, 3]",
    ]


def test_C7_other_groups_are_refused(composed: Callable[..., Config]) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = build_optimizer(composed().optim, network)
    state = optimizer.state_dict()
    state["param_groups"][0]["params"].append(2)
    [line] = check_left_alone(optimizer, state)
    assert "groups of parameters: checkpoint [2, 1], config [1, 1]. Fix: " in line
    del state["param_groups"][0]
    [line] = check_left_alone(optimizer, state)
    assert "groups of parameters: checkpoint [1], config [1, 1]. Fix: " in line


def test_C7_a_setting_that_a_later_torch_adds_and_another_lr_are_no_obstacle(
    composed: Callable[..., Config],
) -> None:
    state = stepped(composed("optim.lr=0.25")).state_dict()
    for group in state["param_groups"]:
        del group["decoupled_weight_decay"]
    load_optimizer(stepped(composed()), state)
