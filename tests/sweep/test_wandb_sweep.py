"""The W&B sweep of the same grid: what its agents type, by W&B's own macros."""

import dataclasses
import itertools
import sys

import pytest
import yaml
from small_runs import ROOT

from gptexp.config import from_overrides, grid, hashed_part
from gptexp.tracking.dashboard import RunInfo

PATH = ROOT / "sweeps" / "scaling.wandb.yml"


def commands() -> list[list[str]]:
    """The words of each run of the grid, filled in as `wandb agent` does."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(PATH.read_text())
    names = list(sweep["parameters"])
    values = [sweep["parameters"][name]["values"] for name in names]
    found = []
    for point in itertools.product(*values):
        args = {name: {"value": value} for name, value in zip(names, point, strict=True)}
        filled = create_sweep_command_args({"args": args})
        filled |= {"interpreter": [sys.executable], "program": [sweep["program"]], "env": []}
        words: list[str] = []
        for chunk in create_sweep_command(list(sweep["command"])):
            if chunk.startswith("${") and chunk.endswith("}"):
                words += filled[chunk[2:-1]]
            else:
                words.append(chunk)
        found.append(words)
    return found


@pytest.mark.slow
def test_its_agents_run_the_points_of_the_sweep_of_the_same_name():
    typed = commands()
    assert all(words[:2] == [sys.executable, "run.py"] for words in typed)
    dealt = [from_overrides(words[2:]) for words in typed]
    shipped = [config for _, config in grid.of_command(["sweeps=scaling"])]
    assert [hashed_part(config, "", None) for config in dealt] == [
        hashed_part(config, "", None) for config in shipped
    ]
    assert all(config.logger.wandb and config.name == "scaling" for config in dealt)


def test_hydra_does_not_take_it_for_a_grid_of_its_own():
    from gptexp.errors import ConfigError

    with pytest.raises(ConfigError, match="sweeps=scaling"):
        grid.of_command(["sweeps=scaling.wandb"])


def test_a_run_of_an_agent_has_the_id_that_the_agent_gave(tmp_path, monkeypatch):
    from gptexp.tracking import wandb

    monkeypatch.setenv("WANDB_RUN_ID", "given")
    story = RunInfo(tmp_path, "scaling", {}, None, [], [])
    assert wandb.run_id(story) != "given", "outside a sweep the run has an id of its own"
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert wandb.run_id(story) == "given"
    assert (tmp_path / "wandb-id").read_text() == "given"


def test_of_several_points_in_an_agent_s_job_the_first_alone_has_its_id(tmp_path, monkeypatch):
    from gptexp.tracking import wandb

    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    stories = []
    for name in ("one/s0-aaaa", "one/s1-bbbb", "two/s0-cccc"):
        (folder := tmp_path / "outputs" / name).mkdir(parents=True)
        stories.append(RunInfo(folder, "scaling", {}, None, [], []))
    ids = [wandb.run_id(story) for story in stories]
    assert ids[0] == "given" and len({*ids}) == 3
    assert [item.partition("-")[0] for item in ids[1:]] == ["bbbb", "cccc"]
    resumed = [dataclasses.replace(story, resume_step=3) for story in reversed(stories)]
    assert [wandb.run_id(story) for story in resumed] == ids[::-1]
