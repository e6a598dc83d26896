"""Learning rates by hand."""

import math
from dataclasses import replace

import pytest

from gptexp.config import ConstantConfig, CosineConfig, LinearConfig, Shape, WSDConfig
from gptexp.optim.schedule import build_schedule

COSINE = CosineConfig(name="cosine", warmup_steps=10, final_fraction=0.1)
LINEAR = LinearConfig(name="linear", warmup_steps=0, final_fraction=0.0)
WSD = WSDConfig(
    name="wsd", warmup_steps=10, final_fraction=0.1, decay_fraction=0.2, shape=Shape.linear
)


def test_warm_up_rises_in_equal_steps_to_the_peak_and_never_starts_at_zero():
    multiplier = build_schedule(COSINE, 110)
    assert [multiplier(step) for step in range(10)] == pytest.approx([k / 11 for k in range(1, 11)])
    assert multiplier(10) == 1.0


def test_cosine_is_halfway_in_the_middle_and_ends_at_its_fraction():
    multiplier = build_schedule(COSINE, 110)
    assert multiplier(60) == pytest.approx(0.55)
    assert multiplier(110) == pytest.approx(0.1)
    assert multiplier(35) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_linear_without_warm_up_is_that_of_micro_gpt():
    multiplier = build_schedule(LINEAR, 1000)
    assert [multiplier(step) for step in (0, 250, 999)] == pytest.approx([1.0, 0.75, 0.001])


def test_constant_stays_at_the_peak():
    multiplier = build_schedule(ConstantConfig(name="constant", warmup_steps=4), 100)
    assert {multiplier(step) for step in range(4, 101)} == {1.0}


@pytest.mark.parametrize("config", [COSINE, LINEAR], ids=["cosine", "linear"])
def test_a_warm_up_longer_than_the_run_is_one_as_long_as_it(config):
    long, fitting = (
        build_schedule(replace(config, warmup_steps=warmup_steps), 20) for warmup_steps in (90, 20)
    )
    assert [long(step) for step in range(21)] == [fitting(step) for step in range(21)]


@pytest.mark.parametrize("config", [COSINE, LINEAR], ids=["cosine", "linear"])
def test_a_run_that_is_all_warm_up_is_allowed(config):
    config.warmup_steps = 10
    multiplier = build_schedule(config, 10)
    assert multiplier(9) < 1
    assert multiplier(10) == pytest.approx(config.final_fraction)


def test_wsd_warms_up_stays_at_the_peak_and_falls_over_the_last_share_of_the_run():
    multiplier = build_schedule(WSD, 100)
    assert [multiplier(step) for step in range(10)] == pytest.approx([k / 11 for k in range(1, 11)])
    assert {multiplier(step) for step in range(10, 81)} == {1.0}
    falling = [multiplier(step) for step in (81, 90, 99, 100)]
    assert falling == pytest.approx([0.955, 0.55, 0.145, 0.1])


@pytest.mark.parametrize(
    ("shape", "halfway"),
    [
        (Shape.linear, 0.55),
        (Shape.sqrt, 0.1 + 0.9 * (1 - math.sqrt(0.5))),
        (Shape.cosine, 0.55),
    ],
)
def test_each_shape_of_the_decay_falls_from_the_peak_to_its_fraction(shape, halfway):
    multiplier = build_schedule(replace(WSD, shape=shape), 100)
    assert multiplier(80) == 1.0
    assert multiplier(90) == pytest.approx(halfway)
    assert multiplier(100) == pytest.approx(0.1)
    falling = [multiplier(step) for step in range(80, 101)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("config", [WSD, replace(WSD, decay_fraction=0.35, shape=Shape.sqrt)])
@pytest.mark.parametrize("steps", [1, 9, 11, 100, 333])
def test_the_trunk_is_what_a_longer_run_begins_with_to_the_bit(config, steps):
    shorter, longer = build_schedule(config, steps), build_schedule(config, 1000)
    forever = build_schedule(config.trunk(), 1000)
    trunk = config.trunk_steps(steps)
    if steps >= config.warmup_steps:
        for step in range(trunk):
            assert shorter(step) == longer(step) == forever(step)
    assert trunk == steps or shorter(trunk + 1) < 1


def test_a_decay_over_the_whole_run_begins_when_the_warm_up_ends():
    config = replace(WSD, decay_fraction=1.0)
    linear = LinearConfig(name="linear", warmup_steps=10, final_fraction=0.1)
    multiplier, expected = build_schedule(config, 60), build_schedule(linear, 60)
    assert [multiplier(step) for step in range(61)] == [expected(step) for step in range(61)]
