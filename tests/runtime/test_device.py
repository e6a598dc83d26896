"""The arithmetic that a config comes to on a machine, and that float32 is float32."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from interruptions import Small
from small_runs import put, weights

from gptexp.config import Config, Dtype
from gptexp.experiment.run import run_experiment
from gptexp.runtime.device import Hardware, Runtime, device_problems, resolve_runtime

CPU = Hardware(cuda_devices=0, mps=False, bfloat16=frozenset({"cpu"}))
MAC = Hardware(cuda_devices=0, mps=True, bfloat16=frozenset({"cpu", "mps"}))


@pytest.fixture
def precision() -> Iterator[None]:
    """What a process may have set beforehand is set back."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = cudnn


@pytest.mark.parametrize("machine", [CPU, MAC])
def test_auto_is_float32_without_a_cuda_card(
    composed: Callable[..., Config], machine: Hardware
) -> None:
    assert resolve_runtime(composed().trainer, machine).dtype is torch.float32


@pytest.mark.parametrize("dtype", [each for each in Dtype if each is not Dtype.auto])
def test_a_dtype_that_is_named_is_taken(small: Small, dtype: Dtype) -> None:
    runtime = resolve_runtime(put(small(), "trainer.dtype", dtype).trainer, CPU)
    assert runtime.arithmetic == dtype.value
    assert runtime.weights is (torch.float64 if dtype is Dtype.float64 else torch.float32)
    assert runtime.scales_loss == (dtype is Dtype.float16)
    product = torch.ones(2, 2, dtype=runtime.weights)
    with runtime.autocast():
        assert (product @ product).dtype is runtime.dtype


@pytest.mark.usefixtures("precision")
@pytest.mark.parametrize("asked", ["high", "medium"])
def test_float32_keeps_all_its_bits_whatever_the_process_asked_for(
    small: Small, tmp_path: Path, asked: str
) -> None:
    """A CPU that multiplies in bfloat16 would do so at `medium`."""
    expected = weights(run_experiment(small(), tmp_path / "before").path)
    torch.set_float32_matmul_precision(asked)
    torch.backends.cudnn.allow_tf32 = True
    assert weights(run_experiment(small(), tmp_path / "after").path) == expected
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("precision")
def test_a_setting_by_the_newer_names_of_torch_is_taken_back_too(small: Small) -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    resolve_runtime(small().trainer, CPU)
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_card_says_that_float32_is_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Card")
    card = torch.device("cuda")
    assert Runtime(card, torch.float32).describe() == "A Card, float32 without TF32"
    assert Runtime(card, torch.bfloat16).describe() == "A Card, bfloat16"
    assert Runtime(card, torch.float16).describe() == "A Card, float16"


def test_more_ranks_than_cards_are_told_what_helps(composed, monkeypatch) -> None:
    one_card = Hardware(cuda_devices=1, mps=False, bfloat16=frozenset({"cpu"}))
    names = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    for name, value in {**names, "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    [problem] = device_problems(composed().trainer, one_card)
    assert problem.what == "cuda:1 is not there; this machine has cuda:0, cpu"
    assert problem.fix == "trainer.device=cpu, or torchrun --nproc-per-node=1"
