"""The one trainer. `fit` is its table of contents."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from gptexp.config import OnOverfit, TrainerConfig
from gptexp.console import Progress
from gptexp.data.corpus import Corpus
from gptexp.errors import DivergedError, InterruptedRunError, Problem
from gptexp.inference.evaluation import Evaluation, evaluate
from gptexp.inference.generate import draw
from gptexp.inference.loss import token_losses
from gptexp.inference.probe import Probe, probe_model
from gptexp.optim import gradients
from gptexp.optim.build import load_optimizer
from gptexp.optim.schedule import Schedule
from gptexp.runs.checkpoint import State, Store
from gptexp.runs.journal import Sample
from gptexp.runtime.clock import Clock
from gptexp.runtime.device import Runtime
from gptexp.runtime.interrupt import Interrupt
from gptexp.runtime.random import rng_state, seed_dropout, set_rng_state, stream_seed
from gptexp.text import duration
from gptexp.tokenizers.base import Tokenizer
from gptexp.tracking.tracker import Tracker
from gptexp.training import throughput
from gptexp.training.early_stopping import EarlyStopping

log = logging.getLogger(__name__)

SAVE_SECONDS = 300  # the most training time that a kill can cost


@dataclass(frozen=True)
class TrainerParts:
    """What a trainer works with, each built by its owner."""

    model: nn.Module
    corpus: Corpus
    tokenizer: Tokenizer
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    runtime: Runtime
    store: Store
    tracking: Tracker
    identity: dict[str, Any]  # config, its hash and tokenizer: with them a checkpoint is sufficient


class Trainer:
    """Executes one run. `state_dict` holds all that a resume needs."""

    def __init__(self, cfg: TrainerConfig, seed: int, peak_lr: float, parts: TrainerParts) -> None:
        self.cfg = cfg
        self.seed = seed
        self.peak_lr = peak_lr
        self.parts = parts
        self.model = parts.model
        if cfg.compile:
            torch.compiler.reset()  # what an earlier run of this process compiled has no part in it
        self.parameters = list(parts.model.parameters())
        self.forward = torch.compile(parts.model) if cfg.compile else parts.model
        self.stop = EarlyStopping(cfg.patience, cfg.min_delta)
        self.clock = Clock()
        self.progress = Progress(cfg.max_steps)
        self.norms = gradients.NormWatch(peak_lr, cfg.grad_clip)
        self.step = 0  # updates done
        self.lap_step = 0  # updates done at the last lap of the clock
        self.sequences = cfg.batch_size * cfg.grad_accum  # of one step
        device = parts.runtime.device
        self.loss_sum = torch.zeros((), device=device)  # batch losses since the last log line
        self.loss_count = 0
        self.grad_norm = torch.zeros((), device=device)
        self.runs_ahead = device.type == "cuda"  # the host, by some steps
        self.found_inf = torch.zeros((), device=device)  # 1 from the first bad step on
        self.latest = torch.zeros(3, device=device)  # step, loss, gradient norm; or the first bad

    def fit(self, resumed: State | None) -> str:
        """Train to the end, or until validation stops improving; returns which, in words.

        Raises CheckpointError, DivergedError, InterruptedRunError (once saved) and StorageError.
        """
        self.begin(resumed)
        with Interrupt() as interrupt, self.progress.running(self.step):
            if resumed is None:
                self.evaluate_if_due()
                self.save_if_due(interrupt)
            while (reason := self.stop_reason()) is None:
                self.train_step()
                self.log_if_due()
                self.evaluate_if_due()
                self.sample_if_due()
                self.save_if_due(interrupt)
                self.progress.step()
            if interrupt.requested:  # during the last save
                self.interrupted(interrupt.requested)
        return reason

    def begin(self, resumed: State | None) -> None:
        """Take up the resumed state, or seed a new one; say how long the rest will take."""
        seed_dropout(self.seed)
        self.model.train()  # whatever switches it off switches it back on
        parts = self.parts
        speed = throughput.measure(self.cfg, self.model, self.forward, parts.corpus, parts.runtime)
        if resumed is not None:
            self.load_state_dict(resumed)
        steps = self.cfg.max_steps - self.step
        left = throughput.seconds(self.cfg, parts.corpus, speed) * steps / self.cfg.max_steps
        log.info("estimated time about %s for %d steps", duration(left), steps)
        self.lap_step = self.step
        self.clock.start()

    def stop_reason(self) -> str | None:
        if self.cfg.on_overfit is OnOverfit.stop and self.stop.should_stop:
            return f"validation has not improved for {self.cfg.patience} evaluations"
        return "all steps are done" if self.step >= self.cfg.max_steps else None

    def train_step(self) -> None:
        """One optimizer update from grad_accum forward passes, without waiting for the device."""
        cfg, parts = self.cfg, self.parts
        inputs, targets = parts.corpus.batch("train", self.step, self.sequences)
        count = self.tokens(self.step + 1) - self.tokens(self.step)
        loss = torch.zeros_like(self.loss_sum)
        for x, y in zip(inputs.split(cfg.batch_size), targets.split(cfg.batch_size), strict=True):
            with parts.runtime.autocast():
                logits = self.forward(x)
            part = token_losses(logits, y).sum() / count
            part.backward()
            loss += part.detach()
        self.grad_norm = gradients.clip(self.parameters, cfg.grad_clip)
        for group in parts.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.step += 1
        self.guard(loss)
        parts.optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        self.loss_sum += loss
        self.loss_count += 1

    def guard(self, loss: Tensor) -> None:
        """Keep an update that is not finite, and all after it, away from weights and moments.

        CUDA runs ahead of its host: its fused optimizers skip their update where `found_inf` is 1,
        which is set on the device and read by the host when it waits anyway. A CPU does not run
        ahead, and the fused kernels of MPS pass `found_inf` over: there the run stops at once.
        """
        if self.runs_ahead:
            now = torch.stack([torch.full_like(loss, self.step), loss, self.grad_norm])
            self.latest = torch.where(self.found_inf == 0, now, self.latest)
            self.found_inf = (~torch.isfinite(self.latest).all()).float()
            self.parts.optimizer.found_inf = self.found_inf  # type: ignore[attr-defined]
        elif not (math.isfinite(loss.item()) and math.isfinite(self.grad_norm.item())):
            self.diverged(self.step, loss.item(), self.grad_norm.item())

    def raise_if_diverged(self) -> None:
        """Waits for the device."""
        if self.found_inf.item():
            step, loss, norm = self.latest.tolist()
            self.diverged(int(step), loss, norm)

    def diverged(self, step: int, loss: float, norm: float) -> NoReturn:
        values = {**self.position(step), "train/loss": loss, "train/grad_norm": norm}
        self.parts.tracking.scalars(step, values)
        raise DivergedError(
            Problem(
                f"step {step}",
                f"loss {loss:g} and gradient norm {norm:g} are not both finite; the "
                f"weights stay those of step {step - 1}",
                self.norms.remedy,
            )
        )

    def log_if_due(self) -> None:
        if self.step % self.cfg.log_interval and self.step < self.cfg.max_steps:
            return
        self.raise_if_diverged()
        trained = self.tokens(self.step) - self.tokens(self.lap_step)
        self.lap_step = self.step
        values = {
            **self.position(self.step),
            "train/loss": self.loss_sum.item() / self.loss_count,
            "train/lr": self.learning_rate(self.step - 1),
            "train/grad_norm": self.grad_norm.item(),
            "train/tokens_per_second": trained / self.clock.lap(),
        }
        self.loss_sum = torch.zeros_like(self.loss_sum)
        self.loss_count = 0
        self.parts.tracking.scalars(self.step, values)
        self.progress.logged(self.step, values)
        self.norms.see(self.step, values["train/grad_norm"])

    def evaluate_if_due(self) -> None:
        if not self.evaluation_due():
            return
        self.raise_if_diverged()
        with self.off_the_clock():
            val = self.evaluate("val")
            train = self.evaluate("train", limit=self.parts.corpus.size("val"))
            improved = self.stop.update(val.loss, self.step)
            values = {
                **self.position(self.step),
                "train/eval_loss": train.loss,
                "val/loss": val.loss,
                "val/bpb": val.bpb,
                "val/stderr": val.stderr,
            }
            self.parts.tracking.scalars(self.step, values)
            self.progress.evaluated(self.step, values, self.stop.best_loss, improved)

    def sample_if_due(self) -> None:
        interval = self.cfg.sample_interval
        if interval and self.step % interval == 0:
            with self.off_the_clock():
                sample, insight = self.sample(self.step)
                self.parts.tracking.sample(sample)
                self.parts.tracking.insight(insight)

    def save_if_due(self, interrupt: Interrupt) -> None:
        """Save at evaluations, at checkpoint_interval, after five minutes, and when interrupted."""
        signal_number = interrupt.requested  # read once: it may arrive at any instant
        interval = self.cfg.checkpoint_interval
        due = self.evaluation_due() or (interval is not None and self.step % interval == 0)
        if due or signal_number or self.clock.since_saved() > SAVE_SECONDS:
            with self.off_the_clock():
                self.save()
        if signal_number:
            self.interrupted(signal_number)

    def interrupted(self, signal_number: int) -> NoReturn:
        raise InterruptedRunError(
            signal_number,
            Problem(
                "interrupted",
                f"saved at step {self.step:,} of {self.cfg.max_steps:,}",
                "the same command goes on from there (rerun=true would start anew)",
            ),
        )

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Leave what happens inside, and not the training before it, out of the training speed."""
        self.parts.runtime.synchronize()
        with self.clock.paused():
            yield

    def save(self) -> None:
        self.raise_if_diverged()
        self.parts.tracking.flush()  # first, so that no checkpoint is ahead of its curves
        self.parts.store.save(self.state_dict(), self.step, self.stop.best_step)
        self.clock.saved()

    def evaluation_due(self) -> bool:
        return self.step % self.cfg.eval_interval == 0 or self.step >= self.cfg.max_steps

    def evaluate(self, split: str, limit: int | None = None) -> Evaluation:
        p = self.parts
        batch_size = self.cfg.eval_batch_size
        return evaluate(self.model, p.corpus, p.tokenizer, p.runtime, split, batch_size, limit)

    def sample(self, step: int) -> tuple[Sample, Probe]:
        """A text from the weights as they are, and how they read it, as far as a picture goes."""
        p, seed = self.parts, stream_seed(self.seed, "sample", step)
        sample, ids = draw(self.model, p.tokenizer, self.cfg, p.corpus, seed, step)
        return sample, probe_model(self.model, p.tokenizer, ids[: p.corpus.block_size], step)

    def learning_rate(self, step: int) -> float:
        """Of the update that follows `step` updates."""
        return self.peak_lr * self.parts.schedule(step)

    def position(self, step: int) -> dict[str, float]:
        """How far the run is, in every unit that curves are drawn over."""
        tokens = self.tokens(step)
        epoch = tokens / self.parts.corpus.size("train")
        return {"tokens": tokens, "epoch": epoch, "seconds": self.clock.seconds()}

    def tokens(self, step: int) -> int:
        """Targets that `step` updates have trained on."""
        return self.parts.corpus.trained(step, self.sequences)

    def state_dict(self) -> State:
        """All but what the config and the corpus say. Batches are functions of the step."""
        return {
            **self.parts.identity,
            "step": self.step,
            "seconds": self.clock.seconds(),
            "model": self.model.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
            "stop": self.stop.state_dict(),
            "rng": rng_state(self.parts.runtime.device),
            "loss_sum": self.loss_sum,
            "loss_count": self.loss_count,
        }

    def load_state_dict(self, state: State) -> None:
        """The inverse of state_dict; raises CheckpointError, having changed nothing."""
        device = self.parts.runtime.device
        load_optimizer(self.parts.optimizer, state["optimizer"])
        self.step = state["step"]
        self.clock.before = state["seconds"]
        self.model.load_state_dict(state["model"])
        self.stop.load_state_dict(state["stop"])
        set_rng_state(state["rng"], device)
        self.loss_sum = state["loss_sum"].to(device)
        self.loss_count = state["loss_count"]
