"""Checkpoints: any damage is found, nothing in them runs, and the folder keeps what it promises."""

import functools
import json
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from interruptions import resume
from small_runs import erase, metrics, samples, summary
from torch import Tensor

import gptexp
from gptexp.config import Config, Keep
from gptexp.errors import CheckpointError
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.inference.evaluation import Evaluator
from gptexp.inference.load import read_checkpoint
from gptexp.runs import checkpoint
from gptexp.runs.checkpoint import State, Store
from gptexp.runs.directory import RunDirectory
from gptexp.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """`caplog` sees the package's messages, whether or not the screen was set up before."""
    monkeypatch.setattr(logging.getLogger("gptexp"), "propagate", True)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no test here cuts the power


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def state(step: int, best_step: int) -> State:
    """The shape of a trainer's state, in little."""
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(step))
    stop = {"best_loss": 1.5, "best_step": best_step}
    return {"step": step, "model": {"weight": weight}, "stop": stop, "config": {"name": "x"}}


def filled(folder: Path, *best_steps: int, keep: Keep = Keep.best) -> Store:
    """A store with checkpoints 4, 8, ..., one for each best step as it stood then."""
    erase(folder)
    store = Store(folder, keep)
    for number, best_step in enumerate(best_steps, start=1):
        store.save(state(4 * number, best_step), 4 * number, best_step)
    return store


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files_of(*steps: int) -> set[str]:
    return {f"step-{step}.{ending}" for step in steps for ending in ("pt", "json")}


def entry(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def same(one: State, other: State) -> bool:
    """Whether two states are equal to the bit."""
    plain = [{k: v for k, v in value.items() if k != "model"} for value in (one, other)]
    digests = [checkpoint.digest(value["model"]) for value in (one, other)]
    return plain[0] == plain[1] and digests[0] == digests[1]


def damages(data: bytes) -> dict[str, bytes]:
    lengths = [0, 1, 4, 100, *range(200, len(data), len(data) // 12), len(data) - 1]
    cut = {f"cut at {length}": data[:length] for length in lengths}
    return cut | {"zeros": bytes(len(data)), "zeros at the end": data[:-512] + bytes(512)}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


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


def test_C1_a_run_whose_newest_checkpoint_is_damaged_ends_as_if_uninterrupted(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    config = small()
    straight = run_experiment(config, tmp_path / "straight").directory
    stopped = stop_before(config, tmp_path / "other", 9)
    (stopped / "checkpoints/step-8.pt").write_bytes(b"\0" * 1000)
    assert run_experiment(config, tmp_path / "other").exit_code == 0
    for of in (summary, metrics, samples):
        assert of(stopped) == of(straight)


def test_C1_a_damaged_best_checkpoint_is_found_before_training_goes_on(
    small: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = small("optim.lr=3.0", "trainer.max_steps=20", "trainer.patience=9")
    stopped = stop_before(config, tmp_path, 17)
    best = stopped / "checkpoints" / entry(stopped / "checkpoints/best.json")["file"]
    assert best.name not in ("step-12.pt", "step-16.pt"), "the best is to be older than the last"
    best.write_bytes(flipped(best.read_bytes(), 12345))
    steps = []
    monkeypatch.setattr(Trainer, "train_step", lambda self: steps.append(self.step))
    outcome = run_experiment(config, tmp_path)
    assert (outcome.exit_code, steps) == (2, [])
    assert best.name in caplog.text


def test_C2_one_flipped_bit_anywhere_is_found(folder: Path) -> None:
    filled(folder, 4)
    path = folder / "step-4.pt"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 37):  # 37 has no factor of 8: every bit of a byte comes up
        path.write_bytes(flipped(whole, bit))
        with pytest.raises(CheckpointError, match=r"step-4\.pt: damaged"):
            checkpoint.read(path)


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


@pytest.mark.parametrize("name", ["last.json", "best.json", "step-12.json", "step-8.json"])
def test_C2_one_flipped_bit_in_an_entry_is_found_or_changes_nothing(
    folder: Path, name: str
) -> None:
    store = filled(folder, 4, 8, 8)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    whole = files[folder / name]
    numbers = [8 * at + low for at in range(whole.index(b'"step"'), len(whole)) for low in range(4)]
    for bit in [
        *range(0, 8 * len(whole), 19),
        *(b for b in numbers if whole[b // 8 :][:1].isdigit()),
    ]:
        for path, data in files.items():
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


@pytest.mark.parametrize("version", [0, 2, None])
def test_C5_another_format_version_is_named_beside_the_one_that_is_read(
    tmp_path: Path, version: int | None
) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": version}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"version {version}, and this gptexp reads 1"):
        read_checkpoint(tmp_path / "a.pt")


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
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert resume(store)["step"] == 12
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


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


def test_C11_a_checkpoint_of_a_compiled_run_has_the_keys_of_a_plain_one(
    small: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []

    def compile_without_a_c_compiler(module: torch.nn.Module) -> torch.nn.Module:
        compiled.append(eager(module))
        return compiled[-1]

    eager = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", compile_without_a_c_compiler)
    states = []
    for switch in ("false", "true"):
        config = small(f"trainer.compile={switch}", "trainer.max_steps=2", "trainer.keep=all")
        states.append(read_checkpoint(run_experiment(config, tmp_path).directory))
    [network] = compiled
    assert all(name.startswith("_orig_mod.") for name in network.state_dict()), "else no test"
    plain, other = states
    assert keys(plain) == keys(other)


def keys(value: Any) -> Any:
    """All keys of nested dicts, in their order."""
    return {k: keys(v) for k, v in value.items()} if isinstance(value, dict) else None


def test_C12_best_is_the_minimum_of_the_logged_losses_and_evaluates_to_it_again_to_the_bit(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    config = small("optim.lr=0.3", "trainer.max_steps=20", "trainer.on_overfit=observe")
    run = run_experiment(config, tmp_path).directory
    losses = {row["step"]: row["val/loss"] for row in metrics(run) if "val/loss" in row}
    loaded = gptexp.load(run)
    assert loaded.step == min(losses, key=lambda step: losses[step])
    assert 0 < loaded.step < 20, "the best is to be neither the first nor the last"
    inputs, size = prepare(config, identify(config, tmp_path)), config.trainer.eval_batch_size
    evaluator = Evaluator(loaded.model, inputs.corpus, loaded.tokenizer, inputs.runtime, size)
    assert evaluator.evaluate("val").loss == losses[loaded.step]
    assert losses[loaded.step] == summary(run)["best"]["val_loss"]


def test_P3_a_checkpoint_holds_tensors_numbers_strings_and_containers_alone(
    small: Callable[..., Config], tmp_path: Path
) -> None:
    run = run_experiment(small("trainer.max_steps=2"), tmp_path).directory
    [path] = (run / "checkpoints").glob("*.pt")
    loaded = torch.load(path, weights_only=True)
    assert {"model", "optimizer", "stop", "rng", "step", "config", "tokenizer"} <= loaded.keys()
    assert kinds(loaded) <= {Tensor, int, float, str, bool, type(None)}


def kinds(value: Any) -> set[type]:
    if isinstance(value, dict):
        return set().union(*map(kinds, [*value.keys(), *value.values()]))
    if isinstance(value, list | tuple):
        return set().union(*map(kinds, value))
    return {type(value)}


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


class Stopped(BaseException):
    """Goes through everything, as a kill does."""


def stop_before(config: Config, outputs: Path, step: int) -> Path:
    """The directory of a run that ended before its update number `step` + 1."""

    def train_step(self: Trainer) -> None:
        if self.step == step:
            raise Stopped
        original(self)

    original = Trainer.train_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Trainer, "train_step", train_step)
        run_experiment(config, outputs)
    [run] = (outputs / config.name).iterdir()
    return run
