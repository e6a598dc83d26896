"""`gptexp plan`: every point with what it costs, what is there, and a total; nothing is trained."""

import re

import pytest
import torch
from interruptions import stop_before_step
from small_runs import SMALL

from gptexp.config import from_overrides
from gptexp.data import load
from gptexp.errors import ConfigError
from gptexp.experiment.run import run_experiment
from gptexp.models.counts import count_parameters, flops_per_token
from gptexp.sweep.plan import plan_sweep
from gptexp.training import throughput

PER_TOKEN = 1e-3  # seconds
SPEED = throughput.Speed(trained=PER_TOKEN, evaluated=PER_TOKEN / 3)


@pytest.fixture
def words(text_file, tmp_path, monkeypatch):
    """Overrides of a small run; a token takes a millisecond."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(throughput, "measure", lambda *_: SPEED)
    return [*SMALL, f"data.path={text_file}"]


def without(words: list[str], key: str) -> list[str]:
    return [word for word in words if not word.startswith(f"{key}=")]


def rows(text: str) -> list[str]:
    return text.split("\n\n")[0].splitlines()[1:]


def test_a_point_has_its_parameters_tokens_epochs_flops_and_time(words):
    text = plan_sweep(words)
    config = from_overrides(words)
    train, val = 1842, 205
    tokens = 12 * 4 * 8
    work = tokens + (12 // 4 + 1) * 2 * val / 3
    [row] = rows(text)
    state, params, steps, shown, epochs, flops, memory, unit, time = row.split()[:9]
    assert (state, steps, shown) == ("new", "12", str(tokens))
    assert params == f"{sum(count_parameters(config.model, 16).values()):,}"
    assert epochs == f"{tokens / train:.2f}"
    assert flops == f"{flops_per_token(config.model, 16) * tokens:.2e}"
    assert (memory, unit) == ("0.00", "GB")
    assert time == f"0:{round(work * PER_TOKEN):02}"


def test_capped_evaluations_cost_what_they_judge_and_two_exact_ones(words):
    text = plan_sweep([*words, "trainer.eval_tokens=40"])
    val = 205 - 1
    work = 12 * 4 * 8 + ((12 // 4 + 1) * 2 * 40 + 2 * 2 * val) / 3
    [row] = rows(text)
    assert row.split()[8] == f"0:{round(work * PER_TOKEN):02}"
    again = plan_sweep([*words, "trainer.eval_tokens=1000", "trainer.max_steps=2400"])
    exact = plan_sweep([*words, "trainer.max_steps=2400"])
    assert again == exact


def test_a_grid_is_listed_with_what_each_point_changes_and_a_total(words):
    given = [*without(words, "model.n_layer"), "-m", "model.n_layer=1,2", "seed=3,4"]
    text = plan_sweep(given)
    changes = [row.split("  ")[-1] for row in rows(text)]
    assert changes == [f"n_layer={layers} s{seed}" for layers in (1, 2) for seed in (3, 4)]
    total = text.splitlines()[-1]
    assert total.startswith("4 points, 0 done; to train 4: ")


def test_what_is_done_costs_nothing_more_and_what_is_begun_only_the_rest(small, words, tmp_path):
    config = small("seed=3")
    run_experiment(config, tmp_path / "outputs")
    stop_before_step(small("seed=4"), tmp_path / "outputs", 9)
    given = [*words, "-m", "seed=3,4,5"]
    before = sorted(tmp_path.rglob("*"))
    text = plan_sweep(given)
    assert sorted(tmp_path.rglob("*")) == before, "a plan writes nothing"
    states = [re.split(r"  +", row)[0] for row in rows(text)]
    assert states == ["done", "killed at 67%", "new"]
    total = text.splitlines()[-1]
    assert total.startswith("3 points, 1 done; to train 2: ")
    whole = flops_per_token(config.model, 16) * 12 * 4 * 8
    assert f"{whole * (1 + 1 / 3):.2e} FLOPs" in total


@pytest.mark.slow
def test_what_would_start_anew_costs_all_of_it_and_what_diverged_nothing(small, words, tmp_path):
    run_experiment(small("seed=3"), tmp_path / "outputs")
    diverging = ["optim.lr=1e30", "schedule.warmup_steps=0", "trainer.grad_clip=0"]
    run_experiment(small(*diverging), tmp_path / "outputs")

    def planned(*more: str) -> tuple[str, str]:
        text = plan_sweep([*without(words, "schedule.warmup_steps"), *more])
        return re.split(r"  +", rows(text)[0])[0], text.splitlines()[-1]

    warm = ["seed=3", "schedule.warmup_steps=2"]
    state, total = planned(*warm, "rerun=true")
    assert state == "done, to be replaced"
    assert total.startswith("1 point, 0 done; to train 1: ")
    state, total = planned(*diverging)
    assert state == "diverged"
    assert total.startswith("1 point, 0 done, 1 diverged; to train 0: ")
    state, total = planned(*diverging, "trainer.retry_failed=true")
    assert state == "diverged, to be replaced"
    assert total.startswith("1 point, 0 done; to train 1: ")


def test_each_point_is_timed_on_its_own_machine(words, monkeypatch):
    timed = []

    def measure(cfg, *_):
        timed.append((cfg.dtype.value, cfg.compile))
        return SPEED

    monkeypatch.setattr(throughput, "measure", measure)
    given = [*words, "-m", "trainer.dtype=float32,bfloat16", "trainer.compile=false,true"]
    text = plan_sweep(given)
    assert len(set(timed)) == 4
    assert "cpu, float32" in text and "cpu, bfloat16" in text


def test_a_point_whose_device_is_absent_is_refused_and_the_others_are_planned(words):
    given = [*without(words, "trainer.device"), "-m", "trainer.device=cpu,cuda:99"]
    good, bad = rows(plan_sweep(given))
    assert good.startswith("new") and bad.startswith("refused")
    assert "trainer.device: cuda:99 is not there" in bad


def test_a_bad_point_is_named_and_the_others_are_planned(words):
    text = plan_sweep([*without(words, "model.n_head"), "-m", "model.n_head=1,3"])
    good, bad = rows(text)
    assert good.startswith("new") and bad.startswith("refused")
    assert "model.n_embd: 16 is not a multiple of model.n_head=3" in bad
    assert "2 points, 0 done, 1 refused; to train 1" in text


def test_a_budget_is_planned_in_steps(words):
    [row] = rows(plan_sweep([*words, "trainer.max_tokens=100"]))
    assert row.split()[2] == "4"  # of 32 tokens each


def test_a_corpus_is_read_once_and_a_model_timed_once(words, monkeypatch):
    counts = {"read": 0, "timed": 0}
    read = load.read_text

    def counted(*arguments):
        counts["read"] += 1
        return read(*arguments)

    def timed(*_):
        counts["timed"] += 1
        return SPEED

    monkeypatch.setattr(load, "read_text", counted)
    monkeypatch.setattr(throughput, "measure", timed)
    plan_sweep([*words, "-m", "seed=1,2,3", "optim.lr=1e-3,1e-2"])
    assert counts == {"read": 1, "timed": 1}


def test_documents_of_another_length_are_timed_anew(words, monkeypatch, tmp_path):
    """A token of a short document costs more, since each step is one."""
    timed = []
    monkeypatch.setattr(throughput, "measure", lambda *_: timed.append(1) or SPEED)
    paths = []
    for length in (3, 30):
        paths.append(tmp_path / f"{length}.txt")
        paths[-1].write_text("\n".join("ab" * length for _ in range(40)))
    both = f"data.path={paths[0]},{paths[1]}"
    plan_sweep([*without(without(words, "data"), "data.path"), "data=documents", "-m", both])
    assert len(timed) == 2


def test_what_is_done_under_another_name_costs_nothing(small, words, tmp_path):
    run_experiment(small("seed=3", "name=first"), tmp_path / "outputs")
    text = plan_sweep([*words, "-m", "seed=3,4"])
    assert [re.split(r"  +", row)[0] for row in rows(text)] == ["done in first", "new"]
    assert text.splitlines()[-1].startswith("2 points, 1 done; to train 1: ")


@pytest.mark.parametrize(
    ("word", "named"), [("model.n_embdd=3", "n_embdd"), ("sweeps=nothing", "sweeps=")]
)
def test_an_unknown_key_or_choice_is_refused(words, word, named):
    with pytest.raises(ConfigError, match=named):
        plan_sweep([*words, word])


def test_a_run_that_would_extend_a_shorter_one_costs_the_rest_alone(small, words, tmp_path):
    run = run_experiment(small("schedule=constant"), tmp_path / "outputs").path
    given = [*without(words, "trainer.max_steps"), "schedule=constant", "trainer.max_steps=24"]
    [row] = rows(plan_sweep(given))
    assert row.startswith(f"extends {run.name[-8:]} from step 12  ")


def test_a_model_is_timed_in_the_dtype_of_its_weights(words, monkeypatch):
    timed = []

    def measure(cfg, update, corpus):
        timed.append(update.parameters[0].dtype)
        return SPEED

    monkeypatch.setattr(throughput, "measure", measure)
    plan_sweep([*words, "trainer.dtype=float32,float64"])
    assert timed == [torch.float32, torch.float64]


def test_a_point_that_memory_refuses_tells_its_size_and_what_it_needs(words, monkeypatch):
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: 200_000)
    given = [*without(words, "model.n_embd"), "-m", "model.n_embd=8,256"]
    good, bad = rows(plan_sweep(given))
    assert good.startswith("new")
    config = from_overrides([*without(words, "model.n_embd"), "model.n_embd=256"])
    assert bad.split()[:3] == [
        "refused",
        f"{sum(count_parameters(config.model, 16).values()):,}",
        "12",
    ]
    assert "training it takes at least 0.0 GB" in bad
    assert "2 points, 0 done, 1 refused; to train 1" in plan_sweep(given)


def test_a_point_that_neither_fits_nor_can_be_counted_is_one_row(text_file, monkeypatch):
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: 10**3)
    text = ["data=text", f"data.path={text_file}", "data.val_fraction=0.2"]
    table = plan_sweep([*text, "trainer.max_flops=1e60", "seed=0,1"]).splitlines()
    assert [row.split()[0] for row in table[1:3]] == ["refused", "refused"]
