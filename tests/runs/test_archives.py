"""I4, I5: a checkpoint is refused before it takes the memory that it only claims to need."""

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import gptexp
from gptexp.errors import CheckpointError, GptexpError
from gptexp.runs import checkpoint

MEGABYTE = 1024  # in the units of ru_maxrss


def packed(path: Path, compression: int) -> None:
    """The archive again, its members compressed."""
    data = path.read_bytes()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as whole,
        zipfile.ZipFile(path, "w", compression) as file,
    ):
        for member in whole.infolist():
            file.writestr(member.filename, whole.read(member))


def saved(path: Path, **changes: Any) -> Path:
    """A checkpoint file of the run that `finished` trained, with other parts."""
    state = {**checkpoint.read(next(path.glob("checkpoints/*.pt"))), **changes}
    other = path.parent / "other.pt"
    torch.save(state, other)
    return other


def refused(path: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(GptexpError) as refusal:
        gptexp.load(path)
    assert refusal.value.exit_code == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * MEGABYTE
    [problem] = refusal.value.problems[:1]
    assert "\n" not in str(problem)
    return str(problem)


@pytest.mark.slow
@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_I4_compressed_members_are_refused(finished, compression):
    path = saved(finished, padding=torch.zeros(50_000_000, dtype=torch.uint8))
    packed(path, compression)
    assert path.stat().st_size < 5_000_000
    assert "unpacks to more than it holds" in refused(path)


def test_I4_members_that_overlap_are_refused(finished):
    """Each entry of the directory points at the same bytes, so that they are read many times."""
    path = saved(finished)
    with zipfile.ZipFile(path, "a") as file:
        member = max(file.infolist(), key=lambda item: item.file_size)
        for number in range(2000):
            copy = zipfile.ZipInfo(f"{member.filename}{number}")
            copy.header_offset, copy.CRC = member.header_offset, member.CRC
            copy.compress_size = copy.file_size = member.file_size
            file.filelist.append(copy)
        file._didModify = True
    assert "unpacks to more than it holds" in refused(path)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**40,)], ids=["a table", "a row"])
def test_I4_a_tensor_larger_than_its_bytes_is_refused(finished, shape):
    one = torch.zeros(1).expand(shape)
    state = checkpoint.read(next(finished.glob("checkpoints/*.pt")))
    path = saved(finished, model={**state["model"], "head.weight": one})
    assert "not in the file" in refused(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_layer", 10**7),
        ("n_embd", 20_000),
        ("n_embd", 10**12),
        ("n_head", 0),
        ("n_head", -1),
        ("block_size", 10**9),
        ("n_layer", "x"),
        ("n_layer", None),
        ("n_layer", [1]),
        ("kind", "nobody's"),
        ("kind", []),
    ],
)
def test_I5_a_config_of_another_model_is_refused_before_anything_is_allocated(finished, key, value):
    state = checkpoint.read(next(finished.glob("checkpoints/*.pt")))
    state["config"]["model"][key] = value
    refused(saved(finished, config=state["config"]))


@pytest.mark.parametrize(
    "part", ["model", "config", "tokenizer", "step", "best_step", "config_hash"]
)
@pytest.mark.parametrize("value", [None, [], {}, "x", -5, float("nan"), torch.zeros(2)])
def test_I5_a_part_of_another_kind_is_refused(finished, part, value):
    try:
        gptexp.load(saved(finished, **{part: value}))
    except CheckpointError as error:
        assert "\n" not in str(error.problems[0])
    else:
        assert (part, value) in [("config_hash", "x")]


@pytest.mark.slow
def test_I5_a_section_of_another_kind_is_refused(finished):
    state = checkpoint.read(next(finished.glob("checkpoints/*.pt")))
    for section in state["config"]:
        for value in (None, [], {}, "x", -5, {"x": {"y": [1]}}):
            other = {**state["config"], section: value}
            try:
                gptexp.load(saved(finished, config=other))
            except CheckpointError as error:
                assert "\n" not in str(error.problems[0])


def test_P3_a_stored_config_reads_nothing_of_this_machine(finished):
    state = checkpoint.read(next(finished.glob("checkpoints/*.pt")))
    state["config"]["name"] = "${oc.env:HOME}"
    loaded = gptexp.load(saved(finished, config=state["config"]))
    assert loaded.config.name == "${oc.env:HOME}"


def nested(kind: str) -> list[Any]:
    inner: list[Any] = []
    if kind == "in itself":
        inner.append(inner)
    for _ in range(40 if kind == "twice in each" else 400):
        inner = [inner, inner] if kind == "twice in each" else [inner]
    return inner


@pytest.mark.parametrize("kind", ["deep", "in itself"])
def test_lists_in_lists_without_end_are_refused(finished, kind):
    assert "nested too deeply" in refused(saved(finished, stop={"x": nested(kind)}))


def test_what_is_shared_many_times_is_looked_at_once(finished):
    assert gptexp.load(saved(finished, stop={"x": nested("twice in each")})).step
