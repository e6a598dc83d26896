"""`trainer.diagnostics_interval`: what is seen inside the model, and the run as it is without."""

import dataclasses
import math
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import values as tensorboard_values
from interruptions import before, kill_before_step, stop_before_step, uninterrupted
from interruptions import left as left_by
from small_runs import SMALL, metrics, samples, summary
from spoiled_updates import check_diverged, loss_at
from switches import COMBINATIONS, overrides
from torch import Tensor, nn

from gptexp.config import Config, GPTConfig, ModelConfig
from gptexp.data.corpus import IGNORE_INDEX
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import Inputs, prepare
from gptexp.experiment.run import run_experiment
from gptexp.experiment.verdict import Claim, Verdict, compare_curves
from gptexp.models.base import Model
from gptexp.models.build import build_model
from gptexp.models.hooks import record_activations
from gptexp.optim.build import build_optimizer
from gptexp.runs.journal import LOOK
from gptexp.runs.lines import Lines
from gptexp.runtime.device import Runtime
from gptexp.training import diagnostics
from gptexp.training.diagnostics import Diagnostics
from gptexp.training.step import UpdateStep

TRAINED = "train/loss"
EVERY_2 = "trainer.diagnostics_interval=2"
COMPONENTS = ["token_table", "position_table", "norms", "attention", "mlp"]


def looks(run: Path) -> list[dict]:
    return [line for line in metrics(run) if LOOK in line]


def built(config: Config, tmp_path: Path) -> tuple[Model, Inputs, Diagnostics]:
    """A model of the config in its first state, what it trains on, and what looks into it."""
    inputs = prepare(config, identify(config, tmp_path / "none"))
    model = build_model(config.model, inputs.tokenizer.vocab_size, seed=0)
    model.to(inputs.runtime.weights).train()
    found = Diagnostics(model, inputs.corpus, inputs.runtime, config.trainer.eval_batch_size, True)
    return model, inputs, found


def curves(found: Diagnostics) -> dict[str, float]:
    with torch.no_grad():
        return {name: value.item() for name, value in found.activations().items()}


def test_a_run_that_is_looked_into_is_bit_for_bit_the_run_without(small, finished, tmp_path):
    run = run_experiment(small(EVERY_2), tmp_path / "looked").path
    assert run.name == finished.name
    assert [line["step"] for line in looks(run)] == [2, 4, 6, 8, 10, 12]
    assert [line for line in metrics(run) if LOOK not in line] == metrics(finished)
    assert (samples(run), summary(run)) == (samples(finished), summary(finished))
    assert not any(LOOK in line for line in metrics(finished))


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.dtype=bfloat16"],
        ["trainer.dtype=float16"],
        ["trainer.dtype=float64", "optim=sgd", "optim.lr=0.1"],
        ["optim=muon", "optim.ema=0.6"],
    ],
)
def test_a_look_moves_no_arithmetic_or_optimizer(small, tmp_path, words):
    quiet = run_experiment(small(*words), tmp_path / "quiet").path
    looked = run_experiment(small(*words, EVERY_2), tmp_path / "looked").path
    assert summary(looked) == summary(quiet)
    logged = {line["step"]: line["train/grad_norm"] for line in metrics(looked) if TRAINED in line}
    for line in looks(looked):
        parts = [value for name, value in line.items() if name.startswith("diag/grad_norm/")]
        if line["step"] in logged:
            assert math.hypot(*parts) == pytest.approx(logged[line["step"]], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 6, 9])
def test_a_resumed_run_has_each_look_once_and_as_it_would_have_been(small, tmp_path, step):
    config = small(EVERY_2)
    expected = uninterrupted(config, tmp_path / "whole")
    stop_before_step(config, tmp_path / "stopped", step)
    run = run_experiment(config, tmp_path / "stopped").path
    assert left_by(run) == expected
    assert [line["step"] for line in looks(run)] == [2, 4, 6, 8, 10, 12]


def test_the_device_is_waited_for_on_updates_that_are_looked_at_alone(small, tmp_path, monkeypatch):
    waits: list[int] = []
    draws: list[bool] = []
    before(Runtime, "synchronize", lambda _: waits.append(1), monkeypatch)
    before(Diagnostics, "before", lambda looking: draws.append(looking.draws), monkeypatch)
    run_experiment(small(), tmp_path / "off")
    quiet = len(waits)
    assert draws == []
    run_experiment(small("trainer.diagnostics_interval=5"), tmp_path / "on")
    assert draws == [False, False], "without a dashboard no histogram is taken"
    assert len(waits) - 2 * quiet == 4, "twice at each of two looks"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_and_ratios_are_those_of_a_plain_update(small, tmp_path, dtype):
    config = small(f"trainer.dtype={dtype}", "trainer.grad_clip=0.01", "model.dropout=0")
    model, inputs, found = built(config, tmp_path)
    update = UpdateStep(model, build_optimizer(config.optim, model), inputs.runtime, 0.01)
    batch, seen = inputs.corpus.batch(0), {}
    old = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = nn.functional.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))
    count = batch.targets.numel()
    update.accumulate(batch, 4, count)
    before = found.before()
    update.apply(1, loss.detach(), 1e-2)
    seen, drawn = found.after(before)

    def norm(prefix: str, tensors: dict[str, Tensor]) -> float:
        parts = [t for name, t in tensors.items() if prefix in name]
        return math.sqrt(sum(float((part.double() ** 2).sum()) for part in parts))

    new = {name: p.detach() for name, p in model.named_parameters()}
    moved = {name: new[name] - old[name] for name in new}
    for component, prefix in zip(
        COMPONENTS, ["token", "position", "norm.", ".attention.", ".mlp."], strict=True
    ):
        assert seen[f"diag/grad_norm/{component}"] == pytest.approx(norm(prefix, gradients), 1e-4)
        assert seen[f"diag/weight_norm/{component}"] == pytest.approx(norm(prefix, new), 1e-5)
        ratio = norm(prefix, moved) / norm(prefix, new)
        assert seen[f"diag/update_ratio/{component}"] == pytest.approx(ratio, 1e-4)
        for kind, tensors in {"gradients": gradients, "weights": new}.items():
            of_all = torch.cat([t.flatten() for n, t in tensors.items() if prefix in n])
            histogram = drawn[f"{kind}/{component}"]
            assert sum(histogram.counts) == len(of_all)
            assert histogram.lowest == pytest.approx(float(of_all.min()), 1e-4)
            counts, _ = np.histogram(of_all.numpy(), histogram.edges())
            assert np.abs(np.array(histogram.counts) - counts).sum() <= 0.02 * len(of_all) + 2
    assert {name for name in seen if "grad_norm" in name} == {
        f"diag/grad_norm/{component}" for component in COMPONENTS
    }
    squares = sum(seen[f"diag/grad_norm/{component}"] ** 2 for component in COMPONENTS)
    assert math.sqrt(squares) == pytest.approx(float(update.grad_norm), 1e-5), "before clipping"


@pytest.mark.parametrize(
    ("words", "components"),
    [
        (["model=mlp"], ["token_table", "mlp", "head"]),
        (["model=bigram", "optim=count"], ["counts"]),
    ],
)
def test_the_baselines_are_looked_at_too(composed, text_file, tmp_path, words, components):
    common = [word for word in SMALL if not word.startswith("model.")]
    config = composed(*common, "model.block_size=8", *words, f"data.path={text_file}", EVERY_2)
    quiet = dataclasses.replace(config.trainer, diagnostics_interval=0)
    run = run_experiment(config, tmp_path / "looked").path
    config = dataclasses.replace(config, trainer=quiet)
    assert summary(run) == summary(run_experiment(config, tmp_path / "quiet").path)
    first, *_ = looks(run)
    for curve in ("grad_norm", "weight_norm", "update_ratio"):
        assert [n for n in first if curve in n] == [f"diag/{curve}/{name}" for name in components]
    assert all(0 < first[f"diag/update_ratio/{name}"] <= 1 for name in components), "from 0 too"
    assert ("diag/dead_relu/layer_1" in first) == ("model=mlp" in words)


def row_by_row(model: Model, inputs: Inputs) -> dict[str, float]:
    """The curves of activations, from each row of the probe by itself, at its own length."""
    layers = range(getattr(model.cfg, "n_layer", 0))
    entropies: list[list[Tensor]] = [[] for _ in layers]
    streams, alive = [0.0] * len(layers), [0.0 for _ in layers]
    logit = 0.0
    model.eval()
    for ids, targets in inputs.corpus.windows("val", 1, cap=diagnostics.TOKENS):
        row = ids[0, targets[0] != IGNORE_INDEX]
        logits, given, made = record_activations(model, row)
        logit = max(logit, float(logits.abs().max()))
        for n in layers:
            attention = model.blocks[n].attention
            weights = attention.attention_weights(given[f"blocks.{n}.attention"][None])[0]
            logs = weights.where(weights > 0, torch.ones_like(weights)).log()
            entropies[n].append(-(weights * logs).sum(-1).mean(0))
            streams[n] = max(streams[n], float(made[f"blocks.{n}"].abs().max()))
            units = made[f"blocks.{n}.mlp.activation"]
            alive[n] = alive[n] + (units != 0).sum(0)
    model.train()
    relu = isinstance(model.cfg, GPTConfig) and model.cfg.activation.value in ("relu", "relu2")
    return {
        LOOK: logit,
        **{
            f"diag/attention_entropy/layer_{n + 1}": torch.cat(entropies[n]).mean().item()
            for n in layers
        },
        **{f"diag/activation_max/layer_{n + 1}": streams[n] for n in layers},
        **{
            f"diag/dead_relu/layer_{n + 1}": float((alive[n] == 0).float().mean())
            for n in layers
            if relu
        },
    }


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_activations_are_those_of_each_row_read_by_itself(small, tmp_path, combination):
    config = small(
        *("model.n_layer=2", "model.n_head=4", "model.init_std=0.3"), *overrides(combination)
    )
    model, inputs, found = built(config, tmp_path)
    assert curves(found) == pytest.approx(row_by_row(model, inputs), rel=1e-4, abs=1e-6)
    assert model.training


def test_what_fills_up_a_shorter_document_is_not_looked_at(composed, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join("ab" * (1 + n % 5) for n in range(60)) + "\n")
    config = composed(
        *("experiment=microgpt", "data=documents", f"data.path={names}", "logger=none"),
        *("trainer.device=cpu", "model.activation=relu", "model.init_std=0.5"),
    )
    model, inputs, found = built(config, tmp_path)
    assert any((targets == IGNORE_INDEX).any() for _, targets in inputs.corpus.windows("val", 8))
    assert curves(found) == pytest.approx(row_by_row(model, inputs), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("words", [[], ["model.window=[3]"], ["model.n_kv_head=1"]])
def test_a_head_that_looks_everywhere_alike_has_the_entropy_of_what_it_sees(small, tmp_path, words):
    model, _, found = built(small("data.val_fraction=0.2", *words), tmp_path)
    nn.init.zeros_(model.blocks[0].attention.qkv.weight)
    window = model.cfg.window_of(0) or model.cfg.block_size
    seen = [min(place, window) for place in range(1, model.cfg.block_size + 1)]
    expected = sum(map(math.log, seen)) / len(seen)
    shown = curves(found)["diag/attention_entropy/layer_1"]
    assert shown == pytest.approx(expected, rel=0.02)  # a last window may be shorter


@pytest.mark.parametrize("activation", ["relu", "relu2"])
def test_units_that_are_off_on_every_token_are_dead(small, tmp_path, activation):
    model, _, found = built(small(f"model.activation={activation}", "model.bias=true"), tmp_path)
    assert curves(found)["diag/dead_relu/layer_1"] == 0
    with torch.no_grad():
        model.blocks[0].mlp.up.bias[:16] = -100
    assert curves(found)["diag/dead_relu/layer_1"] == 0.25


class Own(Model):
    """An own model, whose modules take and make what they like."""

    def __init__(self, cfg: ModelConfig, vocab_size: int) -> None:
        super().__init__(cfg, vocab_size)
        self.table = nn.Embedding(vocab_size, 8)
        self.cell = nn.GRU(8, 8, batch_first=True)
        self.relu = nn.ReLU()
        self.idle = nn.Linear(8, 8)  # has no gradient
        self.head = nn.Linear(8, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.cell(self.table(ids))
        states = self.relu(states.flatten(0, 1)).view(states.shape)
        return self.head(self.relu(states) + self.relu(states)[..., :1])

    def init_weights(self, generator: torch.Generator) -> None:
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, 0.1, generator=generator)


def test_an_own_model_is_looked_at_by_its_modules(small, tmp_path):
    config = small()
    inputs = prepare(config, identify(config, tmp_path / "none"))
    model = Own(config.model, inputs.tokenizer.vocab_size)
    found = Diagnostics(model, inputs.corpus, inputs.runtime, 8, True)
    update = UpdateStep(model, build_optimizer(config.optim, model), inputs.runtime, 1.0)
    update.accumulate(inputs.corpus.batch(0), 4, 32)
    before = found.before()
    update.apply(1, torch.zeros(()), 1e-2)
    seen, drawn = found.after(before)
    of_norms = {name for name in seen if name.startswith("diag/grad_norm/")}
    assert of_norms == {f"diag/grad_norm/{name}" for name in ("token_table", "cell", "head")}
    assert seen["diag/update_ratio/idle"] == 0
    assert "weights/idle" in drawn and "gradients/idle" not in drawn
    layers = {name for name in seen if "layer" in name}
    assert layers == {"diag/dead_relu/layer_1", "diag/dead_relu/layer_2"}, "one call did not fit"


def test_an_update_that_is_not_finite_tells_where(small, tmp_path, monkeypatch):
    loss_at(4, math.nan, monkeypatch)
    outcome = run_experiment(small(EVERY_2), tmp_path)
    check_diverged(outcome, 4)
    lines = Lines(outcome.path / "metrics.jsonl")
    [*_, look, last] = lines
    assert lines.damage() == []
    assert look["nonfinite"]["diag/grad_norm/mlp"] == "nan"
    assert look["diag/weight_norm/mlp"] > 0
    assert look["diag/update_ratio/mlp"] == 0
    assert (look["step"], last["step"]) == (4, 4)


@pytest.mark.slow
def test_histograms_are_in_tensorboard_alone_and_stay_over_a_kill(small, tmp_path):
    config = small(EVERY_2, "logger=tensorboard")
    whole = run_experiment(config, tmp_path / "whole").path
    kill_before_step(config, tmp_path / "killed", 7)
    run = run_experiment(config, tmp_path / "killed").path
    drawn = [
        {
            tag: [(step, value.histo.SerializeToString()) for step, value in points]
            for tag, points in tensorboard_values(of, "histo").items()
        }
        for of in (whole, run)
    ]
    kinds = ("gradients", "weights")
    assert drawn[0].keys() == {f"{kind}/{name}" for kind in kinds for name in COMPONENTS}
    assert all([step for step, _ in of] == [2, 4, 6, 8, 10, 12] for of in drawn[0].values())
    for tag, points in drawn[1].items():
        assert set(points) <= set(drawn[0][tag])  # a kill may lose the latest
        assert [step for step, _ in points] == sorted({step for step, _ in points})
        assert {2, 8, 10, 12} <= {step for step, _ in points}
    assert "diag/logit_max" in tensorboard_values(run, "simple_value")
    assert not any(name.startswith(kinds) for line in metrics(run) for name in line)


def test_elsewhere_the_inside_of_a_model_may_differ_by_any_amount():
    line = {"step": 2, "diag/dead_relu/layer_1": 0.0, LOOK: 1.0}
    again = [{**line, "diag/dead_relu/layer_1": 0.25}]
    verdicts = [
        compare_curves([line], again, Claim(reasons, []), whole=True).verdict
        for reasons in ([], ["threads 2 -> 1"])
    ]
    assert verdicts == [Verdict.DIFFERENT, Verdict.EQUIVALENT]


def test_a_run_that_is_done_says_that_nothing_is_looked_at(small, finished, tmp_path, caplog):
    caplog.set_level("INFO", "gptexp")
    text = "so nothing is looked at (rerun=true trains it anew)"
    run_experiment(small(EVERY_2), finished.parents[1])
    assert text in caplog.text
    caplog.clear()
    run_experiment(small(EVERY_2), tmp_path / "looked")
    run_experiment(small("trainer.diagnostics_interval=3"), tmp_path / "looked")
    assert "already done" in caplog.text and text not in caplog.text


def test_the_key_is_found_by_its_name(gptexp):
    shown = gptexp("config", "diagnostics_interval")
    assert (shown.code, "trainer.diagnostics_interval" in shown.out) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["model=modern_laptop", "model.activation=relu2"]])
def test_a_look_costs_less_than_two_updates_of_the_default_model(composed, tmp_path, words):
    """So it is under 2% of the time at every hundredth; by the time of the processor."""
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be: that is the question.\n" * 3000)
    config = composed(*words, "data=text", f"data.path={text}", "trainer.device=cpu")
    model, inputs, found = built(config, tmp_path)
    update = UpdateStep(model, build_optimizer(config.optim, model), inputs.runtime, 1.0)
    updates, looks = [], []
    for step in range(12):
        times = [time.process_time()]
        batch = inputs.corpus.batch(step)
        loss = update.accumulate(batch, config.trainer.batch_size, batch.targets.numel())
        times.append(time.process_time())
        before = found.before()
        times.append(time.process_time())
        update.apply(step + 1, loss, 1e-3)
        times.append(time.process_time())
        found.after(before)
        times.append(time.process_time())
        spent = [end - begin for begin, end in pairwise(times)]
        updates.append(spent[0] + spent[2])
        looks.append(spent[1] + spent[3])
    assert statistics.median(looks) < 2 * statistics.median(updates)
