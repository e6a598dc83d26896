"""What a process has freed counts as available, though it is kept."""

import ctypes
import os
from pathlib import Path

import pytest
import torch

from gptexp.runtime.memory import available_memory, is_out_of_memory, keep_freed_memory

BLOCK = 100_000_000  # bytes


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="of glibc alone")
def test_what_was_freed_and_kept_counts_as_available() -> None:
    keep_freed_memory()
    available_memory(torch.device("cpu"))  # gives back what other tests have left
    before = resident()
    block = torch.ones(BLOCK // 4)
    del block
    assert resident() > before + BLOCK / 2, "it is kept"
    available_memory(torch.device("cpu"))
    assert resident() < before + BLOCK / 2


def test_a_system_that_does_not_say_what_is_available_says_what_there_is(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_: "MemTotal: 8 kB\nMemFree: 4 kB\n")
    assert available_memory(torch.device("cpu")) == (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )


def test_more_than_can_be_counted_is_more_than_there_is():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**31, 2**31, 4)
    assert is_out_of_memory(raised.value)
