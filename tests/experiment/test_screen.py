"""What a run that is done says when it is asked for again."""

from dataclasses import replace

import pytest

from gptexp import console
from gptexp.experiment.run import run_experiment
from gptexp.experiment.screen import describe_cliff
from gptexp.files import write_text

pytestmark = pytest.mark.usefixtures("quick")


def test_a_dashboard_that_was_not_asked_for_is_offered_by_an_export(small, tmp_path, capsys):
    config = small("trainer.max_steps=2", "schedule.warmup_steps=0", "logger=none")
    run = run_experiment(config, tmp_path).path

    def shown(**chosen: bool) -> str:
        with console.shown():
            run_experiment(replace(config, logger=replace(config.logger, **chosen)), tmp_path)
        return capsys.readouterr().out

    assert "gptexp export" not in shown()
    wandb = f"gptexp export {run} --to wandb    (W&B has none of it)\n"
    board = f"gptexp export {run} --to tensorboard    (TensorBoard has none of it)\n"
    assert wandb in (both := shown(wandb=True, tensorboard=True)) and board in both
    write_text(run / "wandb-id", "told")
    (run / "events.out.tfevents.1").touch()
    assert "gptexp export" not in shown(wandb=True, tensorboard=True)


@pytest.mark.parametrize(("gap", "words"), [(0.25, "0.2500 above"), (-0.25, "0.2500 below")])
def test_validation_may_be_below_training(gap, words):
    fall = {"verdict": "none", "onset": None, "height": 0.0, "slope": None, "gap": gap}
    assert describe_cliff(fall) == f"none; validation is {words} training at the best"
