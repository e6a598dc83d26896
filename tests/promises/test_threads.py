"""trainer.threads: as many as a run asks for, known to its manifest, and none after it."""

import json

import pytest
import torch
from document_lines import file_of, numbered
from small_runs import summary

from gptexp.experiment.run import run_experiment
from gptexp.runtime.device import cpu_threads
from gptexp.sweep.plan import Planner


@pytest.fixture
def short(tmp_path):
    """What makes a run a matter of a moment, on a file of documents."""
    path = file_of(numbered(40), tmp_path)
    given = ["trainer.max_steps=2", "trainer.eval_interval=2", "trainer.device=cpu"]
    return ["data=documents", f"data.path={path}", "logger=none", "seed=0", *given]


@pytest.mark.parametrize("count", [None, 1, 2, 3])
def test_cpu_threads_gives_the_count_back(count):
    before = torch.get_num_threads()
    with cpu_threads(count):
        assert torch.get_num_threads() == (count or before)
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), cpu_threads(count):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_a_run_are_in_its_manifest_and_end_with_it(
    composed, short, tmp_path, threads
):
    torch.set_num_threads(3 - threads)
    config = composed("experiment=microgpt", *short, f"trainer.threads={threads}")
    outcome = run_experiment(config, tmp_path)
    assert outcome.state == "done"
    manifest = json.loads((outcome.path / "manifest.json").read_text())
    assert manifest["environment"]["threads"] == threads
    assert torch.get_num_threads() == 3 - threads
    assert summary(outcome.path)["steps"] == 2


def test_a_plan_times_a_run_with_the_threads_it_asks_for(composed, short, tmp_path):
    torch.set_num_threads(2)
    config = composed("experiment=microgpt", *short)
    cost = Planner(tmp_path).cost(config)
    assert cost.machine == "cpu, float32, 1 thread"
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_refused(refused, threads):
    [line] = refused("experiment=microgpt", f"trainer.threads={threads}")
    assert line.startswith(f"trainer.threads: {threads} is below 1")
