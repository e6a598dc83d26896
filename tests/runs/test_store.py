"""A store keeps what it promises: the newest checkpoint, the best, and no others."""

from pathlib import Path

import pytest
import torch
from small_stores import contents, entry, files_of, filled, names, resume, state

from gptexp.config import Keep
from gptexp.errors import CheckpointError
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_a_folder_without_checkpoints_has_nothing_to_resume(folder: Path) -> None:
    assert resume(Store(folder)) is None
    with pytest.raises(CheckpointError, match="holds no best checkpoint yet"):
        Store(folder).best()


def test_resume_removes_what_came_after_and_points_best_back(folder: Path) -> None:
    store = filled(folder, 4, 4, 12, keep=Keep.all)
    (folder / "step-12.pt").write_bytes(b"")
    assert store.best_entry().step == 12
    assert resume(store)["step"] == 8
    assert names(folder) == files_of(4, 8) | {"best.json", "last.json"}
    assert (store.best_entry().step, entry(folder / "last.json")["step"]) == (4, 8)


def test_resume_takes_back_a_checkpoint_that_last_does_not_name_yet(folder: Path) -> None:
    store = filled(folder, 4)
    before = (folder / "last.json").read_bytes()
    store.save(state(8, 8), 8, 8)
    (folder / "last.json").write_bytes(before)
    assert resume(store)["step"] == 4
    assert names(folder) == files_of(4) | {"best.json", "last.json"}
    assert store.best_entry().step == 4


def test_resume_removes_a_later_checkpoint_that_has_no_entry_yet(folder: Path) -> None:
    store = filled(folder, 4, 4)
    (folder / "step-12.pt").write_bytes(b"written, and killed before its entry")
    assert resume(store)["step"] == 8
    assert names(folder) == files_of(4, 8) | {"best.json", "last.json"}


def test_resuming_changes_nothing_where_all_is_whole(folder: Path) -> None:
    store = filled(folder, 4, 4, 12)
    before = contents(folder)
    assert resume(store)["step"] == 12
    assert contents(folder) == before


def spoil(folder: Path, how: str) -> None:
    """What a kill or a bad disk makes of a store with checkpoints 4, 8 and 12."""
    match how:
        case "killed before its entry":
            (folder / "step-16.pt").write_bytes(b"half a checkpoint")
        case "killed before last.json":
            last = (folder / "last.json").read_bytes()
            Store(folder, Keep.all).save(state(16, 16), 16, 16)
            (folder / "last.json").write_bytes(last)
        case "the newest cut short":
            path = folder / "step-12.pt"
            path.write_bytes(path.read_bytes()[:-100])
        case "no pointers":
            (folder / "last.json").unlink()
            (folder / "best.json").write_text("{")
        case "the best damaged":
            (folder / "step-8.pt").write_bytes(b"")
        case "none whole":
            for path in folder.glob("*.pt"):
                path.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ("whole", 12),
        ("killed before its entry", 12),
        ("killed before last.json", 12),
        ("the newest cut short", 8),
        ("no pointers", 12),
        ("the best damaged", None),
        ("none whole", None),
    ],
)
def test_to_look_for_the_latest_changes_nothing(folder: Path, how: str, step: int | None) -> None:
    store = filled(folder, 4, 8, 8, keep=Keep.all)
    spoil(folder, how)
    before = contents(folder)
    if step is None:
        with pytest.raises(CheckpointError):
            store.latest()
    else:
        newest = store.latest()
        assert (newest.entry.step, newest.state["step"]) == (step, step)
    assert contents(folder) == before
    if step is not None:
        store.rewind(newest.entry)
        assert store.latest().entry == newest.entry


@pytest.mark.parametrize(
    ("best_steps", "kept"),
    [
        ([4, 8, 12, 16], [12, 16]),
        ([4, 4, 4, 4], [4, 12, 16]),
        ([4, 8, 8, 16], [8, 12, 16]),  # falling back to 12 needs its best, 8
        ([-1, -1, -1], [8, 12]),  # NaN so far: no best
    ],
)
def test_E6_pruning_keeps_the_last_two_and_their_bests(
    folder: Path, best_steps: list[int], kept: list[int]
) -> None:
    filled(folder, *best_steps)
    assert {path.name for path in folder.glob("step-*")} == files_of(*kept)


def test_keep_all_keeps_every_checkpoint_to_the_end(folder: Path) -> None:
    store = filled(folder, 4, 4, 4, 4, keep=Keep.all)
    store.finish()
    assert names(folder) == files_of(4, 8, 12, 16) | {"best.json", "last.json"}


def test_keep_best_leaves_the_best_alone_in_the_end(folder: Path) -> None:
    store = filled(folder, 4, 8, 8, 8)
    store.finish()
    assert names(folder) == files_of(8) | {"best.json"}
    assert store.best()["step"] == 8


def test_E6_without_a_best_the_end_prunes_nothing(folder: Path) -> None:
    store = filled(folder, -1, -1)
    store.finish()
    assert resume(store)["step"] == 8


def test_digest_sees_every_bit_the_type_the_shape_and_the_name() -> None:
    base = {"a": torch.tensor([0.0, 1.0])}
    assert checkpoint.digest(base) == checkpoint.digest({"a": torch.tensor([0.0, 1.0])})
    others = [
        {"a": torch.tensor([-0.0, 1.0])},
        {"a": torch.tensor([0.0, 1.0]).bfloat16()},
        {"a": torch.tensor([[0.0, 1.0]])},
        {"b": torch.tensor([0.0, 1.0])},
    ]
    assert len({checkpoint.digest(value) for value in [base, *others]}) == 5
