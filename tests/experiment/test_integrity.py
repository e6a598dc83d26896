"""`gptexp reproduce --level verify`: whatever was changed in a run directory is found and named."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from judged_runs import Judge, change, contents, rewrite
from small_runs import metrics, only, refusal
from small_stores import damages, flipped

from gptexp.experiment import integrity
from gptexp.experiment.reproduce import reproduce
from gptexp.files import sha256
from gptexp.runs import checkpoint
from gptexp.runs.seal import SEAL

FILES = ("config.yaml", "manifest.json", "status.json", "summary.json")
JOURNALS = ("metrics.jsonl", "samples.jsonl")
POINTERS = ("checkpoints/best.json", "checkpoints/step-12.json")


def test_P8_a_run_is_what_it_says_and_stays_as_it_is(finished: Path, judge: Judge) -> None:
    before = contents(finished)
    code, lines = judge(finished)
    assert (code, lines[-1].partition(":")[0]) == (0, "IDENTICAL"), lines
    line = next(line for line in metrics(finished) if line["step"] == 12 and "val/loss" in line)
    shown = f"val/loss {line['val/loss']!r} and val/bpb {line['val/bpb']!r}: to the bit"
    assert any(shown in line for line in lines)
    assert contents(finished) == before


@pytest.mark.parametrize("name", [*FILES, *JOURNALS, *POINTERS])
def test_C2_one_flipped_bit_in_any_file_of_a_run_is_found_and_named(
    finished: Path, name: str
) -> None:
    path = finished / name
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), max(1, len(whole) // 8) * 8 + 3):
        path.write_bytes(flipped(whole, bit))
        lines: list[str] = []
        code = reproduce(finished, "verify", None, lines.append)
        assert code == 5, f"bit {bit % 8} of {whole[bit // 8 :][:20]!r}: {lines}"
        assert lines[-1].startswith("DIFFERENT: ") and name in lines[-1], lines


def test_C2_so_is_one_in_a_checkpoint(finished: Path) -> None:
    path = finished / "checkpoints" / "step-12.pt"
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 2 * len(whole) + 1):
        path.write_bytes(flipped(whole, bit))
        lines: list[str] = []
        assert reproduce(finished, "verify", None, lines.append) == 5
        assert lines[-1].startswith("DIFFERENT: checkpoints/step-12.pt: damaged: "), lines


@pytest.mark.parametrize(("on", "verdict", "code"), [(False, "IDENTICAL", 0), (True, "CANNOT", 2)])
def test_a_key_that_was_taken_out_is_no_damage(
    finished: Path, judge: Judge, on: bool, verdict: str, code: int
) -> None:
    change(finished, "config.yaml", lambda values: values["model"].update(head_gate=on))
    rewrite(finished / "summary.json", lambda value: value["config"]["model"].update(head_gate=on))
    found, lines = judge(finished)
    assert (found, lines[-1].partition(":")[0]) == (code, verdict), lines
    assert ("model.head_gate is true, and the key was taken out" in lines[-1]) == on


@pytest.mark.parametrize("name", [*FILES, *JOURNALS, *POINTERS, "checkpoints/step-12.pt"])
def test_C1_a_file_that_is_torn_or_gone_is_one_line(finished: Path, name: str) -> None:
    path = finished / name
    odd = (b"\xff\xfe", b"[" * 5000, b"null\n", None)
    for damaged in [*list(damages(path.read_bytes()).values())[::5], *odd]:
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        lines: list[str] = []
        assert reproduce(finished, "verify", None, lines.append) in (2, 5)
        assert lines[-1].startswith("DIFFERENT: "), lines
        assert name in lines[-1] or name == "summary.json", lines


@pytest.mark.slow
def test_what_two_files_say_of_one_thing_must_be_the_same(finished: Path, judge: Judge) -> None:
    """Whoever makes the seals anew has still to change all that agrees."""
    cases = [
        ("status.json", lambda value: value.update(reason="all is well"), "status.json"),
        ("summary.json", lambda value: value.update(stop_reason="bored"), "status.json"),
        ("summary.json", lambda value: value["final"].update(val_loss=1.0), "summary.json: final"),
        ("summary.json", lambda value: value["best"].update(step=8), "best.json"),
        ("summary.json", lambda value: value.update(sample="\nTo be"), "summary.json: sample"),
        ("summary.json", lambda value: value["ngrams"].reverse(), "summary.json: ngrams"),
        ("manifest.json", lambda value: value.update(seed=3), "manifest.json: seed"),
        ("manifest.json", lambda value: value.update(sources={}), "manifest.json: its sources"),
        ("metrics.jsonl", lambda lines: lines[0].pop("val/bpb"), "metrics.jsonl: line 1"),
        ("manifest.json", lambda value: value.update(config_hash="0" * 64), "manifest.json: run"),
        ("manifest.json", lambda value: value["data"]["bounds"].update(val=[0, 9]), "bounds"),
        ("manifest.json", lambda value: value["tokenizer"].update(sha256="0"), "tokenizer"),
        ("samples.jsonl", lambda lines: lines[-1].update(text="to be!!!"), "samples.jsonl: text"),
        ("metrics.jsonl", lambda lines: lines[-1].update({"val/loss": 2.5}), "metrics.jsonl: val"),
    ]
    for number, (name, alter, named) in enumerate(cases):
        run = finished.with_name(f"{finished.name}.old{number}")
        shutil.copytree(finished, run)
        change(run, name, alter)
        code, lines = judge(run)
        assert code == 5 and named in lines[-1], (name, named, lines[-1])


def test_C8_a_config_that_is_not_that_of_its_directory_is_named_with_its_keys(
    finished: Path, judge: Judge
) -> None:
    change(finished, "config.yaml", lambda values: values["optim"].update(lr=0.5))
    assert "config.yaml: not the config in summary.json" in judge(finished)[1][-1]
    rewrite(finished / "summary.json", lambda value: value["config"]["optim"].update(lr=0.5))
    code, lines = judge(finished)
    assert code == 5
    assert lines[-1] == "DIFFERENT: config.yaml: optim.lr is another in step-12.pt"


def test_C8_so_is_one_whose_hash_is_not_in_the_name(finished: Path, judge: Judge) -> None:
    moved = finished.with_name(f"{finished.name[:-8]}00000000")
    finished.rename(moved)
    code, lines = judge(moved)
    assert code == 5
    assert "config.yaml: its hash is " in lines[-1] and "and 00000000 in the dir" in lines[-1]


@pytest.mark.parametrize("name", ["a copy", "x.old3", "run-of-friday"])
def test_a_directory_of_another_name_says_nothing_of_a_hash(
    finished: Path, judge: Judge, name: str
) -> None:
    moved = finished.parent.parent / name
    finished.rename(moved)
    assert judge(moved)[0] == 0


@pytest.mark.parametrize("version", [0, 2, None])
def test_C5_another_version_of_the_format_is_called_that(
    finished: Path, judge: Judge, version: int | None
) -> None:
    folder = finished / "checkpoints"
    state = torch.load(folder / "step-12.pt", weights_only=True) | {"version": version}
    torch.save(state, folder / "step-12.pt")
    data = (folder / "step-12.pt").read_bytes()
    facts = {"size": len(data), "sha256": sha256(folder / "step-12.pt")}
    for name in ("step-12.json", "best.json"):
        rewrite(folder / name, lambda value: value.update(facts))
    code, lines = judge(finished)
    assert code == 5
    assert f"format version {version}, and this gptexp reads {checkpoint.VERSION}" in lines[-1]


def test_other_weights_than_the_summary_knows_are_named(finished: Path, judge: Judge) -> None:
    folder = finished / "checkpoints"
    state = checkpoint.read(folder / "step-12.pt")
    next(iter(state["model"].values())).add_(1.0)
    store = checkpoint.Store(folder)
    store.save({k: v for k, v in state.items() if k != "best_step"}, 12, 12)
    (folder / "last.json").unlink()
    code, lines = judge(finished)
    assert code == 5
    assert lines[-1].startswith("DIFFERENT: summary.json: weights_sha256 of best ")


def test_runs_of_before_there_were_seals_are_judged_by_what_agrees(
    finished: Path, judge: Judge
) -> None:
    for name in ("manifest.json", "status.json", "summary.json"):
        value = json.loads((finished / name).read_text())
        del value[SEAL]
        for key in ("files", "max_steps", "trunk_steps", "beginning_hash", "plugins"):
            value.pop(key, None)
        (finished / name).write_text(json.dumps(value, indent=2) + "\n")
    code, lines = judge(finished)
    assert code == 0 and "none is sealed" in lines[0]
    text = (finished / "manifest.json").read_text().replace('"seed"', '"sead"')
    (finished / "manifest.json").write_text(text)
    assert "manifest.json: no seal, and a key that is not known: sead" in judge(finished)[1][-1]


@pytest.mark.slow
@pytest.mark.parametrize("odd", [None, [], "", 10**400, {}, "../../x", -1, True])
def test_P3_a_stranger_may_write_anything_anywhere(
    finished: Path, judge: Judge, odd: object
) -> None:
    """Each value of each file, with the seals made anew: a verdict and never a traceback."""
    for name in ("manifest.json", "summary.json", "status.json", "checkpoints/step-12.json"):
        path = finished / name
        whole = path.read_bytes()
        for key in json.loads(whole):
            change(finished, name, lambda value, key=key: value.update({key: odd}))
            record = integrity.read_record(finished)
            assert all(finding.subject for finding in record.damage)
            path.write_bytes(whole)


def test_what_is_no_run_directory_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "empty", finished / "config.yaml"):
        line = only(refusal(reproduce, path, "verify", None, print).splitlines())
        assert line.startswith(f"{path}: not ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_one_line(finished: Path, judge: Judge) -> None:
    (finished / "metrics.jsonl").chmod(0)
    assert judge(finished)[0] == 5


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "metrics.jsonl"])
def test_I2_a_link_in_the_place_of_a_file_is_named(finished: Path, name: str) -> None:
    (finished / name).rename(finished / "elsewhere")
    (finished / name).symlink_to("elsewhere")
    assert name in {found.subject for found in integrity.read_record(finished).damage}
