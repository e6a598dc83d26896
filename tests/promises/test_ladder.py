"""Claims 8 to 10: microGPT's numbers, and the rungs from bigram counts to it and beyond."""

import pytest
import torch
from document_lines import file_of, numbered
from small_runs import metrics
from sweep_runs import states

from gptexp.config import Activation, Norm, OnOverfit, Position
from gptexp.experiment.run import run_experiment
from gptexp.models.bigram import Bigram
from gptexp.models.build import build_model
from gptexp.models.counts import count_parameters
from gptexp.models.gpt import GPT
from gptexp.models.mlp import MLP

NAMES = 27  # tokens: 26 letters and the boundary

# Network, optimizer, peak, schedule, and what of the model its comment names.
RUNGS = {
    "ladder_bigram": (Bigram, "count", 1.0, "constant", {"smoothing": 1.0}),
    "ladder_mlp": (MLP, "sgd", 1.0, "linear", {"context": 1}),
    "ladder_mlp3": (MLP, "sgd", 1.0, "linear", {"context": 3}),
    "ladder_head": (GPT, "sgd", 0.3, "linear", {"n_layer": 1, "n_head": 1}),
    "ladder_heads": (GPT, "sgd", 0.3, "linear", {"n_layer": 1, "n_head": 4}),
    "microgpt": (GPT, "adam", 0.01, "linear", {"n_layer": 1, "n_head": 4}),
    "ladder_layers": (GPT, "adam", 0.01, "linear", {"n_layer": 2, "n_head": 4}),
}
PARAMETERS = [729, 3_184, 5_232, 4_192, 4_192, 4_192, 7_264]


@pytest.mark.parametrize("rung", RUNGS)
def test_claim_10_a_rung_is_what_its_comment_says(composed, rung):
    config = composed(f"experiment={rung}")
    kind, optim, lr, schedule, keys = RUNGS[rung]
    assert config.name == rung
    assert isinstance(build_model(config.model, NAMES, seed=0), kind)
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == (optim, lr, 0.0)
    assert getattr(config.optim, "momentum", 0.0) == 0.0
    assert (config.schedule.name, config.schedule.warmup_steps) == (schedule, 0)
    assert getattr(config.schedule, "final_fraction", 0.0) == 0.0
    for key, value in keys.items():
        assert getattr(config.model, key) == value
    assert config.model.block_size == 16


def test_claim_10_the_rungs_differ_in_nothing_but_model_and_optimizer(composed):
    configs = [composed(f"experiment={rung}") for rung in RUNGS]
    for config in configs:
        config.trainer.sample_documents = 20  # which no weight depends on
    assert len({repr((c.data, c.tokenizer, c.trainer)) for c in configs}) == 1
    assert len({config.model.name for config in configs}) == 6  # heads and microgpt share one
    counts = [sum(count_parameters(c.model, NAMES).values()) for c in configs]
    assert counts == PARAMETERS
    head, heads, micro, layers = configs[3:]
    head.model.name, head.model.n_head = heads.model.name, 4
    assert head.model == heads.model == micro.model
    layers.model.name, layers.model.n_layer = micro.model.name, 1
    assert layers.model == micro.model


def test_claim_8_micro_has_4192_parameters_and_is_the_one_gpt(composed):
    cfg = composed("experiment=microgpt").model
    assert (cfg.n_layer, cfg.n_head, cfg.n_embd, cfg.block_size) == (1, 4, 16, 16)
    assert (cfg.bias, cfg.norm, cfg.norm_gain) == (False, Norm.rmsnorm, False)
    assert (cfg.embd_norm, cfg.final_norm, cfg.tie_head) == (True, False, False)
    assert (cfg.activation, cfg.position) == (Activation.relu, Position.learned)
    assert (cfg.init_std, cfg.scale_residuals, cfg.dropout) == (0.08, False, 0.0)
    network = build_model(cfg, NAMES, seed=0)
    assert type(network) is GPT
    assert sum(p.numel() for p in network.parameters()) == 4_192
    assert all(p.ndim == 2 for p in network.parameters())
    assert count_parameters(cfg, NAMES) == {
        "token table": 432,
        "position table": 256,
        "attention": 1_024,
        "mlp": 2_048,
        "norms": 0,
        "head": 432,
    }


def deviations(cfg):
    """Of each matrix's initial weights, over many seeds."""
    drawn = [dict(build_model(cfg, NAMES, seed).named_parameters()) for seed in range(40)]
    return {
        name: torch.stack([weights[name] for weights in drawn]).std().item()
        for name in drawn[0]
        if drawn[0][name].ndim == 2
    }


def test_claim_8_all_weights_are_drawn_with_one_standard_deviation(composed):
    found = deviations(composed("model=micro").model)
    assert len(found) == 7
    assert all(std == pytest.approx(0.08, rel=0.03) for std in found.values()), found


def test_other_models_draw_what_adds_to_the_stream_smaller(composed):
    cfg = composed("model=laptop", "model.n_embd=16").model
    found = deviations(cfg)
    scaled = cfg.init_std / (2 * cfg.n_layer) ** 0.5
    for name, std in found.items():
        expected = scaled if name.endswith("proj.weight") else cfg.init_std
        assert std == pytest.approx(expected, rel=0.04), name
    assert sum(name.endswith("proj.weight") for name in found) == 2 * cfg.n_layer


def test_claim_9_microgpt_trains_as_the_claim_says(composed):
    config = composed("experiment=microgpt")
    data, optim, trainer = config.data, config.optim, config.trainer
    assert (data.asset, data.path, data.documents, data.shuffle) == ("names", None, True, True)
    assert data.fraction == 1.0
    assert config.tokenizer.name == "char"
    assert (optim.name, optim.lr, optim.beta1, optim.beta2) == ("adam", 0.01, 0.85, 0.99)
    assert (optim.eps, optim.weight_decay) == (1e-8, 0.0)
    assert config.schedule.name == "linear"
    assert (config.schedule.warmup_steps, config.schedule.final_fraction) == (0, 0.0)
    assert (trainer.batch_size, trainer.grad_accum, trainer.max_steps) == (1, 1, 1000)
    assert trainer.budgets == []
    assert (trainer.grad_clip, trainer.on_overfit) == (0.0, OnOverfit.observe)
    assert (trainer.threads, trainer.sample_documents, trainer.sample_temperature) == (1, 20, 0.5)


def test_claim_9_the_first_losses_are_near_ln_27_and_fall(composed, names, tmp_path, quick):
    config = composed(
        "experiment=microgpt",
        "logger=none",
        "trainer.max_steps=100",
        "trainer.eval_interval=100",
        "trainer.log_interval=1",
        "data.val_fraction=0.01",
        "trainer.device=cpu",
    )
    run = run_experiment(config, tmp_path).path
    losses = [line["train/loss"] for line in metrics(run) if "train/loss" in line]
    assert losses[0] == pytest.approx(3.3, abs=0.25)  # of one name
    rates = [line["train/lr"] for line in metrics(run) if "train/lr" in line]
    assert rates == pytest.approx([0.01 * (1 - step / 100) for step in range(100)])
    evaluations = [line["val/loss"] for line in metrics(run) if "val/loss" in line]
    assert evaluations[0] == pytest.approx(3.3, abs=0.1)
    assert evaluations[1] < 2.75


@pytest.fixture
def short(tmp_path):
    """What makes a rung a matter of a moment, on a file of documents."""
    path = file_of(numbered(40), tmp_path)
    given = ["trainer.max_steps=2", "trainer.eval_interval=2", "trainer.device=cpu"]
    return ["data=documents", f"data.path={path}", "logger=none", "seed=0", *given]


@pytest.mark.slow
def test_claim_10_one_sweep_runs_all_rungs(command, short, quick):
    result = command("sweeps=ladder", *short)
    assert (result.code, states(result.out)) == (0, ["done"] * 7)
    for rung in RUNGS:
        assert rung in result.out
    again = command("sweeps=ladder", *short)
    assert (again.code, states(again.out)) == (0, ["already done"] * 7)
