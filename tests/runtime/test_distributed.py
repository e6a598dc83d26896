"""What a process knows of others from its environment, and what one alone makes of that."""

import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small_runs import ONE_LINE, ROOT, refusal

from gptexp.runtime import rendezvous
from gptexp.runtime.distributed import ALONE, Ranks
from gptexp.runtime.rendezvous import GIVEN, launched

OF_TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


def put(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    for name in (*GIVEN, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def test_the_environment_that_torchrun_gives_says_who_one_is(monkeypatch):
    put(monkeypatch, **OF_TORCHRUN)
    ranks = launched()
    assert (ranks.rank, ranks.local, ranks.size) == (3, 1, 4)
    assert ranks.several and not ranks.is_main


@pytest.mark.parametrize("given", [{}, {"WORLD_SIZE": "4"}, OF_TORCHRUN | {"WORLD_SIZE": "1"}])
def test_a_process_is_alone_where_nothing_else_is_said_in_full(monkeypatch, given):
    put(monkeypatch, **{**given, **({"RANK": "0"} if len(given) > 1 else {})})
    assert launched() is ALONE


@pytest.mark.parametrize(("name", "value"), [("RANK", "x"), ("WORLD_SIZE", "-2"), ("RANK", "4")])
def test_an_environment_that_cannot_be_is_one_line(monkeypatch, name, value):
    put(monkeypatch, **{**OF_TORCHRUN, name: value})
    assert ONE_LINE.fullmatch(line := refusal(launched)) and line.startswith(f"{name}: ")


def test_one_alone_agrees_with_itself():
    tensor = torch.ones(2)
    assert ALONE.told("x") == "x" and ALONE.gather("x") == ["x"] and ALONE.most(3, 0) == [3, 0]
    assert ALONE.sum(tensor) is tensor and tensor.tolist() == [1, 1]
    assert ALONE.of_main(lambda: 5) == ALONE.together(lambda: 5) == 5
    assert ALONE.to_dict() == {} and ALONE.is_main and not ALONE.shards
    assert Ranks(1, 2).several


@pytest.mark.slow(minutes=0.5)
def test_torchrun_itself_trains_and_refuses_what_is_no_single_run(small, tmp_path, text_file):
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", ROOT / "run.py"]
    words = ["data=text", f"data.path={text_file}", "model=micro", "trainer.max_steps=4"]
    words += ["trainer.batch_size=2", "trainer.grad_accum=2", "logger=none", "trainer.device=cpu"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [*map(str, start), *words, *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    done = run("schedule.warmup_steps=1")
    assert done.returncode == 0 and done.stdout.count("done at step 4") == 1, done.stderr
    refused = run("-m", "seed=0,1")
    assert refused.returncode == 1
    assert refused.stderr.count("gptexp: error: torchrun: trains single runs") == 1
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 1


def test_a_port_that_is_taken_is_no_rank_that_is_late(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        names = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        put(monkeypatch, **names)
        monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
        line = refusal(rendezvous._joined, replace(launched(), timeout=30))
    assert ONE_LINE.fullmatch(line) and line.startswith("rank 0: ")
    assert "EADDRINUSE" in line and "within 30 seconds" not in line
