"""nanoGPT, from a checkout of the user's own: its model.py in the loop of its train.py.

Imports nothing of gptexp, so that a process of it costs what one of nanoGPT's does.
"""

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHILD = Path(__file__).with_name("child.py")
SHAPE = ("n_layer", "n_head", "n_embd", "block_size", "dropout", "bias")  # of its GPTConfig


@dataclass(frozen=True)
class Flags:
    """What its command line would say."""

    model: dict[str, Any]
    batch_size: int
    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    log_interval: int
    eval_iters: int
    device: str
    dtype: str  # as torch names it

    @classmethod
    def of(cls, config: Any, vocab_size: int, where: Any, eval_iters: int) -> "Flags":
        """Those of a config of this project, with AdamW."""
        model = {key: getattr(config.model, key) for key in SHAPE} | {"vocab_size": vocab_size}
        optim, trainer = config.optim, config.trainer
        return cls(
            model,
            trainer.batch_size,
            optim.lr,
            (optim.beta1, optim.beta2),
            optim.weight_decay,
            trainer.grad_clip,
            trainer.log_interval,
            eval_iters,
            str(where.device),
            where.arithmetic,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def write_tokens(folder: Path, **splits: np.ndarray) -> None:
    """train.bin and val.bin, as its prepare.py writes them."""
    for name, ids in splits.items():
        ids.astype(np.uint16).tofile(folder / f"{name}.bin")


def load(checkout: Path) -> ModuleType:
    """Its model.py, which runs code of the checkout."""
    file = checkout / "model.py"
    if not file.is_file():
        raise SystemExit(f"{checkout}: no model.py. Fix: --nanogpt=PATH of a checkout of nanoGPT")
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for itself
    spec.loader.exec_module(module)
    return module


class NanoGPT:
    """Trains, evaluates and saves as train.py does, compiled on CUDA alone."""

    def __init__(self, checkout: Path, flags: Flags, folder: Path) -> None:
        module = load(checkout)
        self.flags, self.folder = flags, folder  # with train.bin and val.bin
        kind = torch.device(flags.device).type
        self.cuda = kind == "cuda"
        self.printed = io.StringIO()
        with contextlib.redirect_stdout(self.printed):
            self.raw = module.GPT(module.GPTConfig(**flags.model)).to(flags.device)
            self.optimizer = self.raw.configure_optimizers(
                flags.weight_decay, flags.learning_rate, flags.betas, kind
            )
        self.model = torch.compile(self.raw) if self.cuda else self.raw
        self.scaler = torch.amp.GradScaler(kind, enabled=False)
        self.step = 0
        self.batch = self.draw("train")

    def draw(self, split: str) -> tuple[Tensor, ...]:
        """Random windows of a file that is mapped anew each time."""
        length = self.flags.model["block_size"]
        data = np.memmap(self.folder / f"{split}.bin", dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - length, (self.flags.batch_size,))
        x, y = (
            torch.stack(
                [torch.from_numpy(data[i + o : i + o + length].astype(np.int64)) for i in starts]
            )
            for o in (0, 1)
        )
        if self.cuda:
            x, y = x.pin_memory(), y.pin_memory()
        return tuple(part.to(self.flags.device, non_blocking=True) for part in (x, y))

    def autocast(self) -> AbstractContextManager[None]:
        """On a CPU train.py has none."""
        return (
            torch.autocast("cuda", getattr(torch, self.flags.dtype)) if self.cuda else nullcontext()
        )

    def run(self, steps: int) -> None:
        torch.use_deterministic_algorithms(False)
        for _ in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.flags.learning_rate
            with self.autocast():
                _, loss = self.model(*self.batch)
            self.batch = self.draw("train")
            self.scaler.scale(loss).backward()
            if self.flags.grad_clip:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.flags.grad_clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            if self.step % self.flags.log_interval == 0:
                print(f"iter {self.step}: loss {loss.item():.4f}", file=self.printed)
            self.step += 1

        if self.cuda:
            torch.cuda.synchronize()

    @torch.no_grad()
    def evaluate(self) -> None:
        """The mean over random batches of each split."""
        self.model.eval()
        for split in ("train", "val"):
            losses = torch.zeros(self.flags.eval_iters)
            for index in range(self.flags.eval_iters):
                batch = self.draw(split)
                with self.autocast():
                    _, loss = self.model(*batch)
                losses[index] = loss.item()
            print(f"{split} loss {losses.mean():.4f}", file=self.printed)
        self.model.train()

    def save(self) -> None:
        state = {"model": self.raw.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, self.folder / "ckpt.pt")


class Apart:
    """NanoGPT in a process of its own, as its users have it, that works when it is told to.

    What this project sets for its whole process, as how memory is freed, is not set there.
    """

    def __init__(self, checkout: Path, flags: Flags, folder: Path) -> None:
        load(checkout)  # which says what is wrong with it
        words = ["nanogpt-turns", checkout.resolve(), folder.resolve(), json.dumps(flags.to_dict())]
        command = [sys.executable, CHILD, *words, torch.get_num_threads()]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.parameters = int(self._answer())

    def run(self, steps: int) -> None:
        self._have_done(f"run {steps}")

    def evaluate(self) -> None:
        self._have_done("evaluate")

    def save(self) -> None:
        self._have_done("save")

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _have_done(self, task: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit("nanoGPT ended, and says above why")
        return line


def work_in_turns(checkout: Path, flags: Flags, folder: Path) -> None:
    """The other end of Apart: a task a line, a line when it is done."""
    side = NanoGPT(checkout, flags, folder)
    print(sum(weight.numel() for weight in side.raw.parameters()), flush=True)
    for line in sys.stdin:
        task, *steps = line.split()
        getattr(side, task)(*map(int, steps))
        print("done", flush=True)
