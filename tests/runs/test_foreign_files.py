"""What is no checkpoint of ours is refused, and nothing in it runs."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import before
from small_stores import entry, filled, resume, state

from gptexp.errors import CheckpointError
from gptexp.inference.weights import read_checkpoint
from gptexp.runs import checkpoint, entries
from gptexp.runs.checkpoint import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


class Bomb:
    """Executes code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["pickle", "old archive", "archive"])
@pytest.mark.parametrize("with_entry", [True, False])
def test_C3_a_pickle_that_executes_code_is_refused_and_nothing_runs(
    folder: Path, tmp_path: Path, form: str, with_entry: bool, caplog: pytest.LogCaptureFixture
) -> None:
    marker, path = tmp_path / "executed", folder / "step-4.pt"
    filled(folder, 4)
    loaded = {"format": checkpoint.FORMAT, "version": 1, **state(4, 4), "config": Bomb(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(loaded))
    else:
        torch.save(loaded, path, _use_new_zipfile_serialization=form == "archive")
    if with_entry:  # of the file as it is: whoever can write the one can write the other
        named = entry(folder / "step-4.json") | {"sha256": checkpoint.hashlib.sha256().hexdigest()}
        named["sha256"] = checkpoint.hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("step-4.json", "last.json", "best.json"):
            (folder / name).write_text(json.dumps(named))
    else:
        (folder / "step-4.json").unlink()
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(path)
    with pytest.raises(CheckpointError):
        resume(Store(folder))
    messages = str(refused.value) + caplog.text
    assert "step-4.pt" in messages
    assert "weights_only" not in messages and "allowlist" not in messages.lower()
    assert not marker.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists(), "the bomb was a dud"


FOREIGN: dict[str, Any] = {
    "nanoGPT": {"model": {}, "optimizer": {}, "model_args": {"n_layer": 1}, "iter_num": 5},
    "Lightning": {"state_dict": {}, "pytorch-lightning_version": "2.5.0", "epoch": 1},
    "bare tensor": torch.zeros(3),
}


@pytest.mark.parametrize("name", ["text", "safetensors", "zip", *FOREIGN])
def test_C4_a_foreign_file_is_not_a_gptexp_checkpoint(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    if name in FOREIGN:
        torch.save(FOREIGN[name], path)
    elif name == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("word/document.xml", "<xml/>")
    else:
        path.write_bytes({"text": b"hello\n", "safetensors": b"\x02" + bytes(7) + b"{}"}[name])
    with pytest.raises(CheckpointError, match=r"model\.pt: not a gptexp checkpoint"):
        read_checkpoint(path)


def test_C4_the_importer_is_named_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"config": {"n_embd": 16}, "state_dict": {"wte": [[0.5]]}}')
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(path)
    [problem] = refused.value.problems
    assert problem.fix == f"gptexp import {path} --from microgpt"


@pytest.mark.parametrize("name", ["../../x.pt", "/etc/passwd", "step-4.pt/../x", "x.pt", "", "."])
def test_I3_a_name_in_an_entry_leads_nowhere_else(folder: Path, name: str) -> None:
    """As a pointer, in which it passes for the newest checkpoint and the best."""
    filled(folder, 4, 4)
    (folder.parent / "x.pt").write_bytes((folder / "step-8.pt").read_bytes())
    for pointer in ("last.json", "best.json", "step-8.json"):
        (folder / pointer).write_text(json.dumps(entry(folder / pointer) | {"file": name}))
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        before(entries, "open_regular", lambda path: opened.append(path), patch)
        assert Store(folder).latest().state["step"] == 4
    assert {path.resolve().parent for path in opened} == {folder.resolve()}


@pytest.mark.parametrize("version", [0, 2, None])
def test_C5_another_format_version_is_named_beside_the_one_that_is_read(
    tmp_path: Path, version: int | None
) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": version}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"version {version}, and this gptexp reads 1"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "program", [b".", b"\x80\x02]a.", b"ctorch._utils\n_rebuild_tensor_v2\n)R."]
)
def test_C4_an_archive_whose_pickle_is_nonsense_is_refused(tmp_path: Path, program: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    with pytest.raises(CheckpointError, match=r"a\.pt: .*Fix: "):
        read_checkpoint(tmp_path / "a.pt")
