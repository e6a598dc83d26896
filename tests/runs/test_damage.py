"""Damaged checkpoints: any flipped bit is found, and the checkpoint before is used."""

from pathlib import Path

import pytest
from small_stores import damages, entry, files_of, filled, flipped, names, resume, same, state

from gptexp.errors import CheckpointError
from gptexp.inference.weights import read_checkpoint
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State
from gptexp.runs.directory import RunDirectory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_C1_damaged_at_any_length_it_is_named_and_the_one_before_is_used(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(folder, 4, 8)
    for damaged in damages((folder / "step-8.pt").read_bytes()).values():
        store = filled(folder, 4, 8)
        (folder / "step-8.pt").write_bytes(damaged)
        caplog.clear()
        assert same(resume(store), checkpoint.read(folder / "step-4.pt"))
        [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "step-8.pt" in warning.getMessage()
        assert "Using the one before" in warning.getMessage()


@pytest.mark.parametrize("with_entry", [True, False])
def test_C1_a_damaged_checkpoint_that_was_named_explicitly_is_refused(
    folder: Path, with_entry: bool
) -> None:
    filled(folder, 4)
    path = folder / "step-4.pt"
    if not with_entry:
        (folder / "step-4.json").unlink()
    assert read_checkpoint(path)["step"] == 4
    for damaged in damages(path.read_bytes()).values():
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"step-4\.pt: .*Fix: "):
            read_checkpoint(path)


def test_C1_where_none_is_whole_the_run_is_refused(folder: Path) -> None:
    store = filled(folder, 4, 8)
    for path in folder.glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint in it is whole"):
        resume(store)


def test_C2_one_flipped_bit_anywhere_is_found(folder: Path) -> None:
    filled(folder, 4)
    path = folder / "step-4.pt"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 37):  # 37 has no factor of 8: every bit of a byte comes up
        path.write_bytes(flipped(whole, bit))
        with pytest.raises(CheckpointError, match=r"step-4\.pt: damaged"):
            checkpoint.read(path)


@pytest.mark.slow
def test_C2_one_flipped_bit_in_a_copy_without_its_entry_is_found_or_changes_nothing(
    folder: Path, tmp_path: Path
) -> None:
    filled(folder, 4)
    whole = (folder / "step-4.pt").read_bytes()
    wanted = checkpoint.read(folder / "step-4.pt")
    path = tmp_path / "copy.pt"
    found = 0
    for bit in range(0, 8 * len(whole), 29):
        path.write_bytes(flipped(whole, bit))
        try:
            assert same(checkpoint.read(path), wanted), f"bit {bit} of byte {bit // 8}"
        except CheckpointError:
            found += 1
    assert found > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last.json", "best.json", "step-12.json", "step-8.json"])
def test_C2_one_flipped_bit_in_an_entry_is_found_or_changes_nothing(
    folder: Path, name: str
) -> None:
    store = filled(folder, 4, 8, 8)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    whole = files[folder / name]
    numbers = [8 * at + low for at in range(whole.index(b'"step"'), len(whole)) for low in range(4)]
    for bit in [
        *range(0, 8 * len(whole), 43),  # which has no factor of 8 either
        *(b for b in numbers if whole[b // 8 :][:1].isdigit()),
    ]:
        for path, data in files.items():
            if not path.exists() or path.read_bytes() != data:
                path.write_bytes(data)
        (folder / name).write_bytes(flipped(whole, bit))
        resumed = resume(store)
        case = f"{name}, bit {bit % 8} of {whole[bit // 8 :][:12]!r}"
        assert resumed is not None and resumed["step"] in (8, 12), case
        assert same(resumed, state_on_disk(resumed["step"])), case
        assert store.best()["step"] == 8, case


def state_on_disk(step: int) -> State:
    head = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "best_step": 8}
    return {**head, **state(step, 8)}


def test_C9_a_pointer_to_a_missing_file_falls_back_to_the_one_before(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(folder, 4, 8)
    (folder / "step-8.pt").unlink()
    assert resume(store)["step"] == 4
    assert "step-8.pt" in caplog.text
    assert store.best_entry().step == 4


def test_C9_a_missing_pointer_is_rebuilt_from_the_entries(folder: Path) -> None:
    store = filled(folder, 4, 4)
    (folder / "last.json").unlink()
    (folder / "best.json").write_text("{")
    assert resume(store)["step"] == 8
    assert entry(folder / "last.json")["step"] == 8
    assert store.best_entry().step == 4


def test_C9_the_damaged_entry_of_the_best_and_last_checkpoint_is_rebuilt(folder: Path) -> None:
    store = filled(folder, 4, 8)
    (folder / "step-8.json").write_text("")
    assert resume(store)["step"] == 8
    assert store.best()["step"] == 8
    store.save(state(12, 8), 12, 8)
    assert names(folder) == files_of(8, 12) | {"best.json", "last.json"}


def test_C9_leftover_temporary_files_are_swept(folder: Path) -> None:
    store = filled(folder, 4)
    (folder / ".step-8.pt.abc123.tmp").write_bytes(b"half a checkpoint")
    with RunDirectory(folder.parent).locked():
        assert resume(store)["step"] == 4
    assert names(folder) == files_of(4) | {"best.json", "last.json"}


def test_D3_a_first_checkpoint_that_was_cut_short_before_its_entry_is_no_obstacle(
    folder: Path,
) -> None:
    store = filled(folder, 4)
    for name in ("step-4.json", "best.json", "last.json"):
        (folder / name).unlink()
    assert resume(store) is None
