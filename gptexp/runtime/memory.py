"""How much memory there is, whether it ran out, and whether what is freed stays at hand."""

import contextlib
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def is_out_of_memory(error: Exception) -> bool:
    """On CUDA torch has a type for it; on a CPU and MPS it has only words."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "size calculation")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def available_memory(device: torch.device) -> int:
    """Bytes that a new model could take on `device`, with what this process has freed."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    if (malloc_trim := _of_c_library("malloc_trim")) is not None:
        malloc_trim(0)  # else what keep_freed_memory() keeps counts as taken
    limits = [_meminfo_available(), _cgroup_available()]
    return min(limit for limit in limits if limit is not None)


def keep_freed_memory() -> None:
    """Have the C library reuse what is freed, where it would give large blocks back to the system.

    A step frees and takes the same blocks again and again, and each page that comes back from the
    system costs a fault and is zeroed first. Only glibc has these settings (mallopt(3)).
    """
    if (mallopt := _of_c_library("mallopt")) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _of_c_library(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function


def _meminfo_available() -> int:
    """The bytes that the system says are available; all that it has where it does not say it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_available() -> int | None:
    """The bytes that a container's limit leaves; None without a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
        used -= int(statistics["active_file"]) + int(statistics["inactive_file"])  # can be dropped
    except (OSError, ValueError, KeyError):
        return None
    return None if limit == "max" else int(limit) - used
