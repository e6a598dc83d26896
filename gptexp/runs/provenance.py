"""What is needed to repeat a run: code, packages, machine. Torch-free but for `environment`."""

import hashlib
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptexp.files import json_sha256
from gptexp.runs.secrets import masked

if TYPE_CHECKING:
    from gptexp.runtime.device import Runtime

PACKAGE = Path(__file__).resolve().parents[1]

PACKAGES = ("torch", "numpy", "hydra-core", "omegaconf", "tensorboard")

OURS = ("gptexp", "conf", "run.py", "sweeps")  # what a result can depend on

WINGS = (  # of the package: what can change a weight or a metric
    *("config", "runtime", "models", "tokenizers", "data", "optim", "training", "inference"),
    "experiment",
)
PATCH_LIMIT = 1_000_000  # characters of uncommitted changes that a manifest takes in

EXACT = (  # what can change bits, beside PACKAGES and the build of torch
    "python",
    "platform",
    "threads",
    "cpu",
    "cpu_capability",
    "device",
    "dtype",
    "cuda",
    "gpu",
    "ranks",
    "parallel",
)

ALONE = {"ranks": 1, "parallel": "none"}  # of a process that says nothing of others

CPU = (  # what /proc/cpuinfo says of a processor and not of its moment
    *("vendor_id", "cpu family", "model", "cache size", "flags"),
    *("CPU implementer", "CPU part", "Features"),  # of ARM
)


@cache
def sources() -> dict[str, str]:
    """SHA-256 of each source file of WINGS, by its path in the package, as this process found it.

    What only shows or tells of runs is left out: an edit there changes no weight and no metric.
    """
    return {
        path.relative_to(PACKAGE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for wing in WINGS
        for path in sorted((PACKAGE / wing).glob("*.py"))
    }


def environment(runtime: "Runtime") -> dict[str, Any]:
    """Versions and machine: what can change the bits of a result though the code is the same."""
    import torch

    on_cuda = runtime.device.type == "cuda"
    return {
        "device": runtime.device.type,
        "dtype": runtime.arithmetic,
        "python": platform.python_version(),
        "packages": _versions(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cpu": cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch_build": torch.__config__.show(),
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name(runtime.device) if on_cuda else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if on_cuda else None,
    }


@cache
def cpu() -> str:
    """The processor's name and a digest of what it is: math libraries choose their sums by it.

    Processors of two makers with the same instructions do not add in the same order.
    """
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor() or platform.machine()
    first = file.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    digest = json_sha256({key: fields.get(key) for key in CPU})
    return f"{fields.get('model name', platform.machine())} ({digest[:8]})"


@cache
def _versions() -> dict[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in PACKAGES}


@cache
def git() -> dict[str, Any]:
    """Commit of the checkout and what is not committed in it; empty outside a checkout.

    As this process found it first, like the code that it runs.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    patch = _git("diff", "HEAD", "--", *OURS) or ""
    status = _git("status", "--porcelain", "--untracked-files=all", "--", *OURS) or ""
    return {
        "commit": commit.strip(),
        "changed": status.splitlines(),  # untracked files too, which the patch does not hold
        "patch": patch if len(patch) <= PATCH_LIMIT else None,
    }


def command() -> list[str]:
    """The command line without its secrets, for the manifest."""
    return [masked(word) for word in sys.argv]


def fingerprint(value: dict[str, Any]) -> dict[str, str]:
    """The name in `value`, and a SHA-256 over all of it."""
    return {"name": value["name"], "sha256": json_sha256(value)}


def changed(before: dict[str, str]) -> list[str]:
    """Names of the source files that differ from those of an earlier `sources()`."""
    now = sources()
    return sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two environments and can change bits, as `threads 2 -> 1`."""
    old, new = ({**ALONE, **env, **(env.get("packages") or {})} for env in (before, now))
    lines = [
        f"{key} {old.get(key, 'unknown')} -> {new.get(key, 'unknown')}"
        for key in (*EXACT, *PACKAGES)
        if old.get(key) != new.get(key)
    ]
    if old.get("torch_build") != new.get("torch_build"):
        lines.append("torch_build")  # a page of compiler options, so not shown
    return lines


def _git(*arguments: str) -> str | None:
    import subprocess

    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
