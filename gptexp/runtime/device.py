"""Device, dtype, memory and seeds: the only place that asks about hardware."""

import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from gptexp.config import Dtype, TrainerConfig
from gptexp.errors import ConfigError, Problem
from gptexp.runtime.memory import keep_freed_memory
from gptexp.runtime.rendezvous import launched

DTYPES = {
    Dtype.float32: torch.float32,
    Dtype.float64: torch.float64,
    Dtype.bfloat16: torch.bfloat16,
    Dtype.float16: torch.float16,
}


@dataclass(frozen=True)
class Hardware:
    """The devices of this machine."""

    cuda_devices: int
    mps: bool
    bfloat16: frozenset[str]  # device types that compute in it

    def devices(self) -> list[str]:
        """Every device by its name in torch, the CPU last."""
        cuda = [f"cuda:{index}" for index in range(self.cuda_devices)]
        return [*cuda, *(["mps"] if self.mps else []), "cpu"]


@dataclass(frozen=True)
class Runtime:
    """The device and the arithmetic of one run."""

    device: torch.device
    dtype: torch.dtype

    @property
    def weights(self) -> torch.dtype:
        """The dtype of weights, gradients and optimizer: float32, or float64 for a reference."""
        return torch.float64 if self.dtype is torch.float64 else torch.float32

    @property
    def arithmetic(self) -> str:
        """The dtype by its name, as in trainer.dtype."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def scales_loss(self) -> bool:
        """Whether gradients are taken of a multiple of the loss, lest small ones vanish."""
        return self.dtype is torch.float16

    def autocast(self) -> AbstractContextManager[None]:
        """Matrix products in `dtype`, where weights, gradients and optimizer are wider."""
        if self.dtype == self.weights:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def synchronize(self) -> None:
        """Wait for the device: only for timing, never on a quiet step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def describe(self) -> str:
        """The device, its arithmetic and its threads, in words."""
        if self.device.type == "cuda":
            in_full = " without TF32" if self.dtype is torch.float32 else ""
            return f"{torch.cuda.get_device_name(self.device)}, {self.arithmetic}{in_full}"
        threads = torch.get_num_threads()
        return f"{self.device}, {self.arithmetic}, {threads} thread{'s' if threads != 1 else ''}"


def probe_hardware() -> Hardware:
    """Ask torch what this machine offers."""
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    with_bfloat16 = {"cpu"}
    if cuda and torch.cuda.is_bf16_supported(including_emulation=False):
        with_bfloat16.add("cuda")
    if mps and torch.backends.mps.is_macos_or_newer(14, 0):
        with_bfloat16.add("mps")
    return Hardware(cuda, mps, frozenset(with_bfloat16))


def has_device(device: str, hardware: Hardware) -> bool:
    """Whether `device`, such as cpu, cuda or cuda:1, is on this machine."""
    return device in hardware.devices() or f"{device}:0" in hardware.devices()


def check_device(device: str, subject: str = "device") -> None:
    """Raises ConfigError for a device that this machine does not have."""
    hardware = probe_hardware()
    if not has_device(device, hardware):
        offered = ", ".join(hardware.devices())
        what = f"{device} is not there; this machine has {offered}"
        raise ConfigError(Problem(subject, what, "cpu"))


def device_problems(trainer: TrainerConfig, hardware: Hardware) -> list[Problem]:
    """All that the config asks of the machine and the machine does not have."""
    device = _device(trainer.device, hardware)
    if not has_device(device, hardware):
        what = f"{device} is not there; this machine has {', '.join(hardware.devices())}"
        fix = "trainer.device=auto"
        if device != trainer.device and hardware.cuda_devices:  # there are more ranks than cards
            fix = f"trainer.device=cpu, or torchrun --nproc-per-node={hardware.cuda_devices}"
        return [Problem("trainer.device", what, fix)]
    kind = device.partition(":")[0]
    if trainer.dtype is Dtype.bfloat16 and kind not in hardware.bfloat16:
        return [
            Problem("trainer.dtype", f"{kind} here cannot do bfloat16", "trainer.dtype=float32")
        ]
    if trainer.dtype is Dtype.float64 and kind == "mps":
        return [Problem("trainer.dtype", "mps has no float64", "trainer.dtype=float32")]
    if trainer.dtype is Dtype.float16 and kind == "mps":  # torch's scaling was faulty there
        what = "float16 needs a scaled loss, which is not there on mps"
        return [Problem("trainer.dtype", what, "trainer.dtype=float32")]
    return []


def resolve_runtime(trainer: TrainerConfig, hardware: Hardware) -> Runtime:
    """The device and dtype that `auto` stands for: cuda, then mps, then cpu; bfloat16 on cuda."""
    device = torch.device(_device(trainer.device, hardware))
    dtype = _dtype(trainer.dtype, device.type, hardware)
    _full_float32()
    if device.type == "cuda":
        # A resumed run repeats an uninterrupted one bit for bit only with deterministic kernels.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Not warn_only: attention has a deterministic backward pass under the strict rule alone.
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    elif device.type == "cpu":
        keep_freed_memory()
    return Runtime(device, dtype)


def _dtype(named: Dtype, kind: str, hardware: Hardware) -> torch.dtype:
    if named is not Dtype.auto:
        return DTYPES[named]
    in_bfloat16 = kind == "cuda" and "cuda" in hardware.bfloat16
    return torch.bfloat16 if in_bfloat16 else torch.float32


def _full_float32() -> None:
    """Have products of float32 keep all its bits, whatever the process or its environment asked.

    TF32, which CUDA cards may take instead, has 10 of the 23 bits behind the point, as float16 has.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # of convolutions and recurrences of own models


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """So many threads for torch on the CPU inside, as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str, hardware: Hardware) -> str:
    """Ranks, and workers that joblib started side by side, take one card each.

    The workers as far as there are cards.
    """
    ranks = launched()
    if ranks.several and (name == "cuda" or (name == "auto" and hardware.cuda_devices)):
        return f"cuda:{ranks.local}"
    if name != "auto":
        return name
    if hardware.cuda_devices > 1 and (worker := _joblib_worker()) is not None:
        return f"cuda:{worker % hardware.cuda_devices}"
    return "cuda" if hardware.cuda_devices else "mps" if hardware.mps else "cpu"


def _joblib_worker() -> int | None:
    """The number of this process among joblib's, whose name is all that tells it."""
    named = re.fullmatch(r"LokyProcess-(\d+)", multiprocessing.current_process().name)
    return int(named[1]) if named else None
