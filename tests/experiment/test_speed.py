"""How fast a large GPT trains is told by a small copy of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gptexp.cli.models import params
from gptexp.config import Config, check
from gptexp.errors import ConfigError
from gptexp.experiment import speed as speeds
from gptexp.experiment.prepare import check_memory, least_memory
from gptexp.experiment.speed import small_copy, speed_of
from gptexp.models.counts import flops_per_token, total_parameters
from gptexp.runtime.device import Runtime
from gptexp.training import throughput
from gptexp.training.throughput import Speed

GPT2 = ["gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl"]
VOCAB = 50_257
FLOAT32 = Runtime(torch.device("cpu"), torch.float32)
MORE = [  # switches that sizes are a part of
    "model.n_kv_head=4",
    "model.window=[128,0,512]",
    "model.mlp_width=2000",
    "model.position=rope",
]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Parameters of each model that was built to be timed; a token takes a thousandth of them."""
    seen: list[int] = []

    def measure(cfg, update, corpus):
        seen.append(sum(p.numel() for p in update.parameters))
        batch = corpus.batch(0)
        assert batch.inputs.shape[1] == update.model.cfg.block_size
        assert int(batch.inputs.max()) < update.model.vocab_size
        assert len(list(corpus.windows("val", 4))) > 0
        return Speed(trained=1e-3, evaluated=1e-4)

    monkeypatch.setattr(throughput, "measure", measure)
    return seen


def shares(cfg, vocab_size: int) -> list[float]:
    """Of its FLOPs those of the head, and those of attention over the context."""
    whole = flops_per_token(cfg, vocab_size)
    head = 6 * vocab_size * cfg.n_embd
    seen = sum(cfg.window_of(layer) or cfg.block_size for layer in range(cfg.n_layer))
    return [head / whole, 12 * cfg.n_embd * seen / whole]


@pytest.mark.parametrize("more", [[], MORE], ids=["plain", "switches"])
@pytest.mark.parametrize("name", GPT2)
def test_a_copy_is_small_and_spends_its_work_as_the_large_one(composed, name, more):
    config = composed(f"model={name}", "tokenizer=gpt2")
    if more:
        heads = config.model.n_head // 4 * 4  # which n_kv_head is to divide
        width = heads * config.model.head_width
        config = composed(f"model={name}", f"model.n_head={heads}", f"model.n_embd={width}", *more)
    copied = small_copy(config.model, VOCAB)
    assert copied is not None
    copy, few = copied
    check(replace(config, model=copy))
    assert total_parameters(copy, few) < 30e6
    assert copy.head_width == config.model.head_width
    assert shares(copy, few) == pytest.approx(shares(config.model, VOCAB), rel=0.08)


@pytest.mark.parametrize("model", ["laptop", "medium", "mlp"])
def test_a_model_that_is_small_is_timed_itself(composed, model):
    assert small_copy(composed(f"model={model}").model, 65) is None


def test_the_large_one_takes_as_long_for_each_of_its_flops(composed, built):
    config = composed("model=gpt2")
    copy, few = small_copy(config.model, VOCAB)
    found = speed_of(config, VOCAB, None, FLOAT32)
    assert built == [total_parameters(copy, few)]
    times = flops_per_token(config.model, VOCAB) / flops_per_token(copy, few)
    assert found.trained == pytest.approx(1e-3 * times)
    assert found.evaluated == pytest.approx(1e-4 * times)


@pytest.mark.parametrize("name", GPT2)
def test_params_tells_memory_and_time_and_builds_nothing_large(
    small: Callable[..., Config], name, built, text_file, capsys, monkeypatch
):
    """Also of what this machine has too little memory for."""
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: 10**9)
    sizes = [f"model={name}", "model.block_size=128"]
    params([*sizes, "tokenizer=byte", "data=text", f"data.path={text_file}"])
    shown = capsys.readouterr().out
    assert all(count < 30e6 for count in built) and len(built) == 1
    assert "memory  " in shown
    assert shown.splitlines()[-1].startswith("time    about ")


def test_params_of_a_small_model_that_does_not_fit_tells_no_time(
    small: Callable[..., Config], built, text_file, capsys, monkeypatch
):
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: 10**6)
    params(["model=tiny", "data=text", f"data.path={text_file}", "data.val_fraction=0.2"])
    assert not built
    assert "time " not in capsys.readouterr().out


# What is too large


def refused(config: Config, monkeypatch: pytest.MonkeyPatch, available: float) -> str:
    monkeypatch.setattr("gptexp.runtime.memory.available_memory", lambda device: int(available))
    with pytest.raises(ConfigError) as error:
        check_memory(config, VOCAB, FLOAT32)
    return str(error.value).rpartition(" Fix: ")[2]


def test_what_is_too_large_is_answered_with_what_can_be_lowered(composed, monkeypatch):
    one = ["model=gpt2", "trainer.batch_size=1", "trainer.grad_accum=1"]
    lower = "lower trainer.batch_size, now 12, trainer.grad_accum, now 40, or model.n_embd, now 768"
    assert refused(composed("model=gpt2"), monkeypatch, 5e9) == lower
    assert refused(composed(*one), monkeypatch, 1e9) == "lower model.n_embd, now 768"
    saving = f"trainer.activation_checkpointing=true, or {lower}"
    assert refused(composed("model=gpt2"), monkeypatch, 15e9) == saving
    check_memory(composed("model=gpt2", "trainer.activation_checkpointing=true"), VOCAB, FLOAT32)
    bigram = composed("model=bigram", "optim=count", "trainer.batch_size=1")
    assert refused(bigram, monkeypatch, 1e3) == "lower model.block_size, now 16"


@pytest.mark.parametrize(
    ("words", "copies"),
    [
        (["optim=adamw"], 0),
        (["optim=adamw", "optim.ema=0.99", "optim.average_last=0.1"], 2),
        (["optim=muon"], -1),
        (["optim=sgd"], -1),
        (["optim=sgd", "optim.momentum=0"], -2),
    ],
)
def test_memory_is_that_of_the_optimizer_and_of_the_averages(composed, words, copies):
    plain, config = composed("model=tiny", "optim=adam"), composed("model=tiny", *words)
    more = least_memory(config, VOCAB, FLOAT32) - least_memory(plain, VOCAB, FLOAT32)
    assert more == copies * 4 * total_parameters(config.model, VOCAB)


def test_a_copy_has_the_switch_of_its_run(composed, monkeypatch):
    seen = []
    monkeypatch.setattr(
        throughput,
        "measure",
        lambda _, update, __: seen.append(update.model.recomputes) or Speed(1, 1),
    )
    for switch in ("false", "true"):
        config = composed("model=gpt2", f"trainer.activation_checkpointing={switch}")
        speeds.speed_of(config, VOCAB, None, FLOAT32)
    assert seen == [False, True]


def test_params_for_a_device_that_is_elsewhere_tells_all_but_the_time(
    built, text_file, capsys, monkeypatch
):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as it will be, and no longer
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _: None)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    sizes = ["model.block_size=8", "data=text", f"data.path={text_file}"]
    params([*sizes, "trainer.device=cuda:99", "trainer.dtype=bfloat16"])
    shown = capsys.readouterr().out
    assert "sequences on cuda:99, in bfloat16" in shown
    assert "time " not in shown and not built
