"""Weight decay: cautious, over time, and by its time scale."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interruptions import Small, finish, stop_before_step
from plain_updates import Hidden, adamw, gradients_of, take_steps

from gptexp.config import Config, DecaySchedule, config_hash, problems
from gptexp.experiment.run import run_experiment
from gptexp.optim.build import build_optimizer, describe, load_optimizer
from gptexp.optim.decay import decay_problems, decayed
from gptexp.optim.groups import set_rates
from gptexp.runs.checkpoint import Store

DECAY = {"table.weight": 0.5, "up.weight": 0.5, "head.weight": 0.5, "attention.qkv.bias": 0.0}
GIVEN = ("optim.lr=0.1", "optim.weight_decay=0.5", "optim.beta2=0.95")


@pytest.mark.parametrize("cautious", [False, True])
def test_adamw_takes_the_steps_of_its_formula(composed: Callable[..., Config], cautious: bool):
    config = composed(*GIVEN, f"optim.cautious_decay={str(cautious).lower()}")
    model = Hidden()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = gradients_of(model, 4)
    found = take_steps(model, build_optimizer(config.optim, model), gradients)
    for name, weight_decay in DECAY.items():
        settings = {"weight_decay": weight_decay, "cautious": cautious}
        assert torch.allclose(found[name], adamw(before[name], gradients[name], **settings)), name


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        # What a step takes off the weights where the learning rate is 0.1, 0.05 and 0.2.
        (DecaySchedule.constant, [0.05, 0.025, 0.1]),
        (DecaySchedule.follow_lr, [0.05, 0.0125, 0.2]),
        (DecaySchedule.independent, [0.05, 0.05, 0.05]),
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_decay_goes_with_the_learning_rate_as_its_schedule_says(
    composed: Callable[..., Config], optimizer: str, schedule: DecaySchedule, shares: list[float]
):
    words = [f"optim={optimizer}", *GIVEN, f"optim.decay_schedule={schedule.value}"]
    model = Hidden()
    optimizer = build_optimizer(composed(*words).optim, model)
    for lr, share in zip([0.1, 0.05, 0.2], shares, strict=True):
        set_rates(optimizer.param_groups, lr)
        for group in optimizer.param_groups:
            expected = share if group["params"][0].ndim == 2 else 0.0
            assert group["lr"] * group["weight_decay"] == pytest.approx(expected)


def test_a_scheduled_decay_is_taken_up_at_any_step(composed: Callable[..., Config]):
    config = composed("optim.decay_schedule=follow_lr")
    one, two = (build_optimizer(config.optim, Hidden()) for _ in range(2))
    set_rates(one.param_groups, config.optim.lr / 3)
    load_optimizer(two, one.state_dict())
    assert str(two.state_dict()) == str(one.state_dict())


def test_a_time_scale_gives_the_weight_decay_and_says_so(small: Small, tmp_path: Path):
    config = small("optim.decay_timescale=0.5", "optim.lr=1e-2", "trainer.max_steps=4")
    path = run_experiment(config, tmp_path).path
    state = Store(path / "checkpoints").latest().state
    assert state is not None
    groups = state["optimizer"]["param_groups"]
    log = (path / "run.log").read_text()
    # An epoch of the text is as many steps as its tokens over the 4 x 8 of an update.
    tokens = next(line for line in log.splitlines() if " train, " in line)
    count = int(tokens.partition("; ")[2].partition(" train")[0].replace(",", ""))
    assert groups[0]["weight_decay"] == pytest.approx(1 / (1e-2 * 0.5 * count / 32))
    assert groups[1]["weight_decay"] == 0
    assert f"weight_decay={groups[0]['weight_decay']:.3g} by decay_timescale=0.5 epochs" in log


def test_where_a_time_scale_is_given_weight_decay_is_no_part_of_the_identity(
    composed: Callable[..., Config],
):
    plain, other = composed(), composed("optim.weight_decay=0.3")
    assert config_hash(plain, "") != config_hash(other, "")
    plain.optim.decay_timescale = other.optim.decay_timescale = 5.0
    assert config_hash(plain, "") == config_hash(other, "")
    assert decayed(plain.optim, 100).weight_decay == decayed(other.optim, 100).weight_decay == 2.0
    assert describe(plain.optim, Hidden()).startswith("weight_decay=")


@pytest.mark.parametrize(
    "words",
    [
        ["optim.cautious_decay=true", "optim.decay_schedule=independent"],
        ["optim=muon", "optim.decay_schedule=follow_lr", "optim.decay_timescale=3"],
    ],
)
def test_P2_a_resumed_run_with_such_a_decay_equals_one_that_never_stopped(
    small: Small, tmp_path: Path, words: list[str]
):
    config = small("optim.weight_decay=0.5", "trainer.eval_interval=3", *words)
    stop_before_step(config, tmp_path / "stopped", 7)
    assert finish(config, tmp_path / "stopped") == finish(config, tmp_path / "straight")


@pytest.mark.parametrize("back", [False, True])
def test_a_branch_may_have_another_decay_than_its_base(small: Small, tmp_path: Path, back: bool):
    plain = ["optim.weight_decay=0.3"]
    other = ["optim.decay_schedule=follow_lr", "optim.decay_timescale=2"]
    first, then = (other, plain) if back else (plain, other)
    base = run_experiment(small("schedule=constant", *first), tmp_path)
    config = small("schedule=constant", *then, "trainer.max_steps=16")
    config.branch_from = str(base.path)
    outcome = run_experiment(config, tmp_path)
    assert outcome.state == "done", outcome.error
    state = Store(outcome.path / "checkpoints").latest().state
    assert state is not None
    [matrices, _] = state["optimizer"]["param_groups"]
    assert ("decay_power" in matrices) != back
    assert (matrices["weight_decay"] == 0.3) == back


@pytest.mark.parametrize(
    "word",
    ["optim.decay_timescale=0", "optim.base_width=0", "optim.decay_timescale=inf"],
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_A5_values_out_of_range_are_refused_with_one_that_is_taken(
    composed: Callable[..., Config], optimizer: str, word: str
):
    [problem] = problems(composed(f"optim={optimizer}", word))
    assert problem.subject == word.partition("=")[0]
    fix = problem.fix.removesuffix(" or more")
    assert problems(composed(f"optim={optimizer}", fix)) == []


@pytest.mark.parametrize("word", ["adam_lr=0", "momentum=1", "ns_steps=0"])
def test_A5_keys_of_muon_out_of_range_are_refused(composed: Callable[..., Config], word: str):
    [problem] = problems(composed("optim=muon", f"optim.{word}"))
    assert problem.subject == f"optim.{word.partition('=')[0]}"
    assert problems(composed("optim=muon", problem.fix.removesuffix(" or more"))) == []


@pytest.mark.parametrize("words", [["optim=muon"], ["optim.cautious_decay=true"]])
def test_E2_what_does_not_know_found_inf_does_not_say_that_it_does(
    composed: Callable[..., Config], words: list[str]
):
    """Or the host would not look at a gradient on CUDA before the update (training/step.py)."""
    optimizer = build_optimizer(composed(*words).optim, Hidden())
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_a_time_scale_shorter_than_a_step_is_refused_before_there_is_a_run(
    small: Small, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = small("optim.decay_timescale=1e-4")
    run_experiment(config, tmp_path / "outputs")
    fix = re.search(r"Fix: optim.decay_timescale=(\S+) or more", caplog.text)
    assert fix is not None and not (tmp_path / "outputs").exists()
    steps_per_epoch = 1 / float(fix[1])
    assert not [*decay_problems(small(f"optim.decay_timescale={fix[1]}").optim, steps_per_epoch)]
    assert [*decay_problems(config.optim, steps_per_epoch)]
