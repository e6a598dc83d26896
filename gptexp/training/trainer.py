"""The one trainer. `fit` is its table of contents."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import torch
from torch import nn

from gptexp.config import OnOverfit, TrainerConfig
from gptexp.data.mix import epochs_of_parts
from gptexp.errors import InterruptedRunError, Pause, PrunedError
from gptexp.optim.gradients import NormWatch
from gptexp.runs.checkpoint import State
from gptexp.runtime.clock import Clock
from gptexp.runtime.interrupt import Interrupt
from gptexp.runtime.rate import matrix_rate
from gptexp.tracking.dashboard import Histograms
from gptexp.tracking.progress import Progress
from gptexp.training import throughput
from gptexp.training.diagnostics import Diagnostics
from gptexp.training.early_stopping import EarlyStopping
from gptexp.training.parts import TrainerParts
from gptexp.training.profile import traced
from gptexp.training.state import TrainState
from gptexp.training.step import UpdateStep

log = logging.getLogger(__name__)

SAVE_SECONDS = 300  # the most training time that a kill can cost

# Steps, and about as many seconds, in which ranks ask each other once whether to stop.
ASKED_STEPS, ASKED_SECONDS = 10, 1.0


class Trainer:
    """Executes one run. What of it a resume needs is in `state`."""

    def __init__(self, cfg: TrainerConfig, seed: int, parts: TrainerParts) -> None:
        self.cfg = cfg
        self.parts = parts
        self.ranks = parts.ranks
        self.update = UpdateStep(
            parts.trained,
            parts.optimizer,
            parts.runtime,
            cfg.grad_clip,
            cfg.compile is True,
            parts.ranks,
        )
        self.diagnostics = Diagnostics(
            parts.model,
            parts.corpus,
            parts.runtime,
            cfg.eval_batch_size,
            draws=bool(parts.tracker.dashboards),
        )
        self.stop = EarlyStopping(cfg.patience, cfg.min_delta)
        self.clock = Clock()
        self.state = TrainState(parts, seed, self.stop, self.update.scale, self.clock)
        self.progress = Progress(cfg.max_steps)
        self.norms = NormWatch(parts.peak_lr, cfg.grad_clip)
        self.lap_step = 0  # updates done at the last lap of the clock
        self.ask_interval = 1  # updates after which ranks ask each other whether to stop
        self.val_loss = math.nan  # of the newest evaluation

    @property
    def step(self) -> int:
        """Updates done."""
        return self.state.step

    def fit(self, resumed: State | None) -> str:
        """Train to the end, or until validation stops improving; returns which, in words.

        Raises CheckpointError, DivergedError and StorageError; once saved, InterruptedRunError and
        PrunedError.
        """
        self.begin(resumed)
        folder = self.parts.store.folder.parent  # the run's
        trace = traced(self.cfg.profile, folder, self.step)
        with Interrupt() as interrupt, self.progress.running(self.step), trace as step_done:
            if resumed is None:
                self.evaluate_if_due()
                self.save_if_due(interrupt)
            while (reason := self.stop_reason()) is None:
                self.prune_if_told()
                self.train_step()
                self.log_if_due()
                self.evaluate_if_due()
                self.sample_if_due()
                self.save_if_due(interrupt)
                self.progress.step()
                step_done()
            [signal_number] = self.ranks.most(interrupt.requested or 0)
            if signal_number:  # during the last save
                self.interrupted(signal_number)
        return reason

    def begin(self, resumed: State | None) -> None:
        """Take up the resumed state, or seed a new one; say how long the rest will take."""
        self.state.seed_streams()
        self.parts.trained.train()  # whatever switches it off switches it back on
        corpus, averages = self.parts.corpus, len(self.parts.averages)
        speed = throughput.measure(self.cfg, self.update, corpus)
        if self.ranks.several:
            fit = int(ASKED_SECONDS / (corpus.tokens_seen(1) * speed.trained))
            [self.ask_interval] = self.ranks.most(max(1, min(fit, ASKED_STEPS)))
        if resumed is not None:
            self.state.load_state_dict(resumed)
        self.state.refresh()
        throughput.announce(self.cfg, corpus, speed, averages, self.step, self.ranks.several)
        log.debug("the device multiplies matrices at %.3g FLOP/s", self.matrix_rate)
        self.lap_step = self.step
        self.parts.moments.reached("start", self.step)
        self.clock.start()

    def stop_reason(self) -> str | None:
        """Why the run is over, in words; None while it is not."""
        if self.cfg.on_overfit is OnOverfit.stop and self.stop.should_stop:
            return f"validation has not improved for {self.cfg.patience} evaluations"
        return "all steps are done" if self.step >= self.cfg.max_steps else None

    def train_step(self) -> None:
        """One optimizer update from grad_accum forward passes; only a look waits for CUDA."""
        corpus, step, ranks = self.parts.corpus, self.step, self.ranks
        count = corpus.tokens_seen(step + 1) - corpus.tokens_seen(step)
        batch, lr = corpus.batch(step, ranks.rank, ranks.size), self.learning_rate(step)
        self.state.step += 1
        looks = ranks.is_main and self.is_due(self.cfg.diagnostics_interval)
        watch = self.watched() if looks else None
        self.state.loss_sum += self.update(batch, self.cfg.batch_size, self.step, count, lr, watch)
        self.state.loss_count += 1
        self.parts.averages.update(self.step)
        if not self.update.runs_ahead:
            self.raise_if_diverged()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the update that is made inside; waits for the device."""
        self.raise_if_diverged()  # its line comes before that of a later update
        tracker = self.parts.tracker
        with self.off_the_clock():
            before = self.diagnostics.before()
        yield
        with self.off_the_clock():
            values, drawn = self.diagnostics.after(before)
            tracker.scalars(self.step, {**self.position(self.step), **values})
            if drawn:
                tracker.histograms(Histograms(self.step, drawn))

    def raise_if_diverged(self) -> None:
        """Log the first update that was not finite, and raise DivergedError; waits for the device.

        The weights stay those before it.
        """
        if (bad := self.update.first_non_finite()) is None:
            return
        values = {"train/loss": bad.loss, "train/grad_norm": bad.grad_norm}
        self.parts.tracker.scalars(bad.step, {**self.position(bad.step), **values})
        raise self.update.diverged(bad, self.norms.remedy)

    def log_if_due(self) -> None:
        """A line of the training loss, at every log_interval and at the end."""
        if self.step % self.cfg.log_interval and self.step < self.cfg.max_steps:
            return
        self.raise_if_diverged()
        corpus = self.parts.corpus
        trained = corpus.tokens_seen(self.step) - corpus.tokens_seen(self.lap_step)
        self.lap_step = self.step
        speed = trained / self.clock.lap()
        values = {
            **self.position(self.step),
            "train/loss": self.state.loss_sum.item() / self.state.loss_count,
            "train/lr": self.learning_rate(self.step - 1),
            "train/grad_norm": self.update.grad_norm.item(),
            **self.update.scale.metrics(),
            "train/tokens_per_second": speed,
            "train/mfu": speed * self.parts.flops_per_token / self.matrix_rate / self.ranks.size,
        }
        if self.step % self.cfg.log_interval == 0:  # a longer run has no line that ends this one
            self.state.loss_sum = torch.zeros_like(self.state.loss_sum)
            self.state.loss_count = 0
        self.parts.tracker.scalars(self.step, values)
        self.progress.logged(self.step, values)
        if math.isfinite(norm := values["train/grad_norm"]):  # it is not of one that was skipped
            self.norms.see(self.step, norm)

    def evaluate_if_due(self) -> None:
        """An evaluation, exact where no cap is set, at every eval_interval and at the end."""
        if not self.evaluation_due():
            return
        self.raise_if_diverged()
        with self.off_the_clock():
            self.state.refresh()
            if self.ranks.is_main:
                self.judge()
            self.val_loss, stop = self.ranks.told((self.val_loss, self.stop.state_dict()))
            self.stop.load_state_dict(stop)

    def judge(self) -> None:
        """Judge the weights, by the one rank that does, and take in what they came to."""
        evaluation = self.parts.evaluator.row(self.cfg.eval_tokens)
        self.val_loss = evaluation["val/loss"]
        improved = self.stop.update(self.val_loss, self.step)
        evaluation |= self.parts.averages.judge(self.step, self.validation_loss)
        repeated = epochs_of_parts(self.parts.corpus, self.step)
        values = {**self.position(self.step), **repeated, **evaluation}
        values = self.parts.moments.measured(self.step, values)
        self.parts.tracker.scalars(self.step, values)
        self.progress.evaluated(self.step, values, self.stop.best_loss, improved)
        self.parts.moments.reached("evaluated", self.step)

    def validation_loss(self, model: nn.Module) -> float:
        """That of a model of the same shape, over the targets of an evaluation."""
        evaluator = replace(self.parts.evaluator, model=model)
        return evaluator.evaluate("val", cap=self.cfg.eval_tokens).loss

    def sample_if_due(self) -> None:
        """A sample, at every sample_interval."""
        if self.is_due(self.cfg.sample_interval):
            with self.off_the_clock():
                self.state.refresh()
                if self.ranks.is_main:
                    self.parts.tracker.sample(*self.parts.sampler.draw(self.step))

    def save_if_due(self, interrupt: Interrupt) -> None:
        """Save at evaluations, at checkpoint_interval, after five minutes, and when interrupted.

        And where the run ceases to be the beginning of a longer one, which may go on from there.
        """
        interval = self.cfg.checkpoint_interval
        due = self.evaluation_due() or (interval is not None and self.step % interval == 0)
        due = due or self.step == self.parts.store.trunk
        signal_number = late = 0
        if due or self.step % self.ask_interval == 0:
            late = int(self.ranks.is_main and self.clock.since_saved() > SAVE_SECONDS)
            # Read once: it may arrive at any instant, and at one rank alone.
            signal_number, late = self.ranks.most(interrupt.requested or 0, late)
        if due or signal_number or late:
            with self.off_the_clock():
                self.save()
        if signal_number:
            self.interrupted(signal_number)

    def prune_if_told(self) -> None:
        """Ask the search, once an evaluation is saved; raises PrunedError.

        Before the next step, so that a run which a kill ended before it was asked is asked too.
        """
        should_prune = self.parts.should_prune
        if should_prune is None or self.step == 0 or not self.evaluation_due():
            return
        with self.off_the_clock():
            pruned = should_prune(self.step, self.val_loss)
        if pruned:
            at = f"at step {self.step:,} of {self.cfg.max_steps:,}"
            raise PrunedError(Pause("pruned", at, "its own command goes on from there"))

    def interrupted(self, signal_number: int) -> NoReturn:
        """End the run, which is saved; raises InterruptedRunError."""
        what = f"saved at step {self.step:,} of {self.cfg.max_steps:,}"
        fix = "the same command goes on from there (rerun=true would start anew)"
        raise InterruptedRunError(signal_number, Pause("interrupted", what, fix))

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """Leave what happens inside, and not the training before it, out of the training speed."""
        self.parts.runtime.synchronize()
        with self.clock.paused():
            yield

    def save(self) -> None:
        """Write a checkpoint; raises DivergedError and StorageError."""
        self.raise_if_diverged()
        self.parts.tracker.flush()  # first, so that no checkpoint is ahead of its curves
        state = self.state.state_dict()
        if self.ranks.is_main:
            self.parts.store.save(state, self.step, self.stop.best_step)
        self.clock.saved()
        self.parts.moments.reached("saved", self.step)

    def is_due(self, interval: int) -> bool:
        """Whether what comes every so many updates, or at 0 never, comes now."""
        return interval > 0 and self.step % interval == 0

    def evaluation_due(self) -> bool:
        """Whether the weights as they are get an evaluation."""
        return self.step % self.cfg.eval_interval == 0 or self.step >= self.cfg.max_steps

    @cached_property
    def matrix_rate(self) -> float:
        """What train/mfu is a share of, in floating-point operations a second; measured once."""
        return matrix_rate(self.parts.runtime)

    def learning_rate(self, step: int) -> float:
        """The learning rate of the update that follows `step` updates."""
        return self.parts.peak_lr * self.parts.schedule(step)

    def position(self, step: int) -> dict[str, float]:
        """The progress of the run, in every unit that curves are drawn over."""
        tokens = self.parts.corpus.tokens_seen(step)
        epoch = tokens / self.parts.corpus.tokens_per_epoch("train")
        return {"tokens": tokens, "epoch": epoch, "seconds": self.clock.seconds()}
