"""C1, C2, C4: whatever happens to a checkpoint or its entry, no other weights come out of it."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from fuzzing import assert_one_line_each, examples
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import VALUES
from small_stores import filled, resume, same

from gptexp.errors import CheckpointError
from gptexp.inference.weights import read_checkpoint
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State

ENTRIES = ("last.json", "best.json", "step-4.json", "step-8.json")
KEYS = ("file", "size", "sha256", "step", "best_step", "weights_sha256")

SHARE = st.floats(0, 1, exclude_max=True)  # where in a file, of whatever length

# One change to bytes: (kind, where, how far, with what).
CHANGE = st.tuples(
    st.sampled_from(["cut", "flip", "overwrite", "insert", "remove", "repeat", "swap"]),
    SHARE,
    SHARE,
    st.binary(min_size=1, max_size=8),
)
CHANGES = st.lists(CHANGE, min_size=1, max_size=3)

MEMBER_CHANGES = ["rename", "drop", "repeat", "replace", "compress", "encrypt", "absolute"]


def changed(data: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, where, far, new in changes:
        at = int(where * len(data))
        end = at + 1 + int(far * (len(data) - at))
        match kind:
            case "cut":
                data = data[:at]
            case "flip":
                data = (
                    data[:at]
                    + bytes(b ^ (1 << new[0] % 8) for b in data[at : at + 1])
                    + data[at + 1 :]
                )
            case "overwrite":
                data = data[:at] + new + data[at + len(new) :]
            case "insert":
                data = data[:at] + new + data[at:]
            case "remove":
                data = data[:at] + data[end:]
            case "repeat":
                data = data[:end] + data[at:end] + data[end:]
            case "swap":
                data = data[end:] + data[at:end] + data[:at]
    return data


def rezipped(data: bytes, member: int, kind: str, content: bytes) -> bytes:
    """The archive with one member another, its checksums right."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as whole, zipfile.ZipFile(written, "w") as file:
        infos = whole.infolist()
        chosen = infos[member % len(infos)]
        for info in infos:
            name, inside = info.filename, whole.read(info)
            if info is not chosen:
                file.writestr(name, inside)
                continue
            if kind == "drop":
                continue
            if kind == "absolute":
                name = f"/tmp/../{name}"
            if kind == "rename":
                name = f"{name}{content.hex()}"
            if kind == "replace":
                inside = content
            file.writestr(name, inside, zipfile.ZIP_DEFLATED if kind == "compress" else None)
            if kind == "repeat":
                file.writestr(name + "2", inside)
        if kind == "encrypt":
            file.filelist[0].flag_bits |= 1
    return written.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of a store of two checkpoints, of which the older is the best."""
    filled(tmp_path / "whole", 4, 4)
    return {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}


def restored(folder: Path, whole: dict[str, bytes]) -> checkpoint.Store:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in whole.items():
        (folder / name).write_bytes(data)
    return checkpoint.Store(folder)


def state_of(whole: dict[str, bytes], step: int, folder: Path) -> State:
    path = folder.parent / f"alone-{step}.pt"
    path.write_bytes(whole[f"step-{step}.pt"])
    return checkpoint.read(path)


def resumed(store: checkpoint.Store) -> State | None:
    try:
        return resume(store)
    except CheckpointError as error:
        assert_one_line_each(error)
        return None


@pytest.mark.slow
@example([("cut", 0.0, 0.0, b"x")])
@example([("flip", 0.5, 0.0, b"\0")])
@examples(40)
@given(CHANGES)
def test_C1_C2_any_change_to_the_bytes_of_a_checkpoint_is_found(folder, whole, changes):
    store = restored(folder, whole)
    data = changed(whole["step-8.pt"], changes)
    (folder / "step-8.pt").write_bytes(data)
    found, kept = resumed(store), 8 if data == whole["step-8.pt"] else 4
    assert found is not None and same(found, state_of(whole, kept, folder))
    assert same(store.best(), state_of(whole, 4, folder))


@pytest.mark.slow
@examples(300)
@given(CHANGES)
def test_C1_C2_of_a_copy_without_its_entry_it_is_found_or_changes_nothing(folder, whole, changes):
    folder.mkdir(exist_ok=True)
    alone = folder / "alone.pt"
    alone.write_bytes(changed(whole["step-8.pt"], changes))
    try:
        found = read_checkpoint(alone)
    except CheckpointError as error:
        assert_one_line_each(error)
    else:
        assert same(found, state_of(whole, 8, folder))


@examples(40)
@given(st.integers(0, 9), st.sampled_from(MEMBER_CHANGES), st.binary(max_size=40))
def test_C2_C4_another_archive_is_found_by_its_entry_and_alone_is_read_or_refused(
    folder, whole, member, kind, content
):
    store = restored(folder, whole)
    data = rezipped(whole["step-8.pt"], member, kind, content)
    (folder / "step-8.pt").write_bytes(data)
    found = resumed(store)
    assert found is not None and same(found, state_of(whole, 4, folder))
    (folder / "alone.pt").write_bytes(data)
    try:
        read_checkpoint(folder / "alone.pt")
    except CheckpointError as error:
        assert_one_line_each(error)


@examples(60)
@given(
    st.sampled_from(ENTRIES), st.one_of(CHANGES, st.sampled_from(KEYS)), st.sampled_from([*VALUES])
)
def test_C2_C9_whatever_an_entry_holds_the_weights_are_those_of_a_whole_checkpoint(
    folder, whole, name, change, value
):
    store = restored(folder, whole)
    if isinstance(change, str):
        entry = json.loads(whole[name]) | {change: "PLACE"}
        data = json.dumps(entry).replace('"PLACE"', VALUES[value]).encode()
    else:
        data = changed(whole[name], change)
    (folder / name).write_bytes(data)
    try:
        assert same(store.best(), state_of(whole, 4, folder))
    except CheckpointError as error:
        assert_one_line_each(error)
    found = resumed(store)
    assert found is not None and same(found, state_of(whole, found["step"], folder))
    assert found["step"] == 8
