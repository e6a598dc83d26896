"""trainer.activation_checkpointing: the same run, of the same bits, however it was begun."""

import pytest
from interruptions import finish, stop_before_step, uninterrupted
from small_runs import only, refusal

from gptexp.config import check, config_hash
from gptexp.experiment.run import run_experiment
from gptexp.models.gpt import GPT

SWITCH = "trainer.activation_checkpointing=true"


@pytest.fixture
def recomputing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each forward pass with gradients was to be recomputed."""
    seen: list[bool] = []
    plain = GPT.recomputed

    def recomputed(self, block, *inputs):
        seen.append(self.recomputes)
        return plain(self, block, *inputs)

    monkeypatch.setattr(GPT, "recomputed", recomputed)
    return seen


@pytest.mark.slow
def test_a_run_with_it_has_the_hash_and_the_bits_of_one_without(small, tmp_path, recomputing):
    config = small(SWITCH)
    assert config_hash(config, "sha") == config_hash(small(), "sha")
    plain = uninterrupted(small(), tmp_path / "plain")
    recomputing.clear()
    assert finish(config, tmp_path / "outputs") == plain
    assert recomputing and all(recomputing)


@pytest.mark.parametrize("switches", [("", SWITCH), (SWITCH, "")])
def test_a_run_goes_on_with_it_or_without(small, tmp_path, switches):
    begun, resumed = (small(*filter(None, [switch])) for switch in switches)
    stop_before_step(begun, tmp_path / "outputs", 9)
    assert finish(resumed, tmp_path / "outputs") == uninterrupted(small(), tmp_path / "plain")


def test_a_run_that_is_done_without_it_is_reused_under_another_name(small, finished):
    outcome = run_experiment(small("name=other", SWITCH), finished.parents[1])
    assert outcome.note == "reused from default"


@pytest.mark.parametrize("model", [["model=mlp"], ["model=bigram", "optim=count"]])
def test_a_model_without_blocks_is_refused(composed, model):
    line = only(refusal(check, composed(*model, SWITCH)).splitlines())
    assert line == (
        f"trainer.activation_checkpointing: true, but {model[0]} has no blocks to compute again. "
        "Fix: trainer.activation_checkpointing=false"
    )
