"""`gptexp reproduce`: a run made again, here or elsewhere, and what that says of it."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from interruptions import Small, kill_before_step, only_run, stop_before_step
from judged_runs import Judge, change, contents
from signalled_runs import terminate_after
from small_runs import ROOT, SMALL, refusal
from spoiled_updates import loss_at

from gptexp.cli.app import main
from gptexp.experiment import at_commit, rerun, verify
from gptexp.experiment.integrity import read_record
from gptexp.experiment.reproduce import reproduce
from gptexp.experiment.run import run_experiment
from gptexp.experiment.verdict import Claim, Verdict, compare_curves
from gptexp.interchange.convert import import_file
from gptexp.runs import provenance
from gptexp.runs.directory import RunDirectory, code_digest
from gptexp.runs.state import RunState
from gptexp.runtime.device import Hardware


def verdict(lines: list[str]) -> str:
    return lines[-1].partition(":")[0]


def shift(step: int, name: str, by: float) -> Callable[[list[dict]], None]:
    """Move one value of metrics.jsonl."""

    def alter(lines: list[dict]) -> None:
        [line] = [line for line in lines if line["step"] == step and name in line]
        line[name] += by

    return alter


@pytest.mark.slow
def test_R1_R4_a_run_made_again_with_a_kill_and_a_resume_is_identical_and_left_alone(
    finished: Path, judge: Judge
) -> None:
    before = contents(finished)
    code, lines = judge(finished, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    assert any(line.endswith("12 of 12 steps, killed at step 6 and resumed") for line in lines)
    assert contents(finished) == before
    [line] = [line for line in lines if line.startswith("weights ")]
    assert line.endswith("of step 12: to the bit")


@pytest.mark.slow
def test_what_was_seen_inside_the_model_is_made_again_too(small, tmp_path: Path, judge: Judge):
    run = run_experiment(small("trainer.diagnostics_interval=2"), tmp_path / "outputs").path
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    change(run, "metrics.jsonl", shift(4, "diag/logit_max", 0.5))
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (5, "DIFFERENT at step 4"), lines
    assert any("diag/logit_max is " in line for line in lines)


def test_a_run_in_float64_is_judged_in_float64(small, tmp_path: Path, judge: Judge) -> None:
    run = run_experiment(small("trainer.dtype=float64"), tmp_path / "outputs").path
    code, lines = judge(run)
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines


@pytest.mark.slow
def test_a_killed_run_of_before_there_was_mfu_is_compared_to_its_last_line(
    small, tmp_path: Path, judge: Judge
) -> None:
    stop_before_step(small(), tmp_path / "outputs", 6)
    run = only_run(small(), tmp_path / "outputs")
    change(run, "metrics.jsonl", lambda lines: [line.pop("train/mfu", None) for line in lines])
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines


def test_P8_a_copy_elsewhere_finds_its_corpus_by_its_digest(
    finished: Path, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(json.loads((finished / "manifest.json").read_text())["data"]["path"])
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(folder))
    (tmp_path / "text.txt").unlink(missing_ok=True)
    hidden = own.rename(own.with_name("hidden"))
    try:
        (folder / "decoy.txt").write_text("another text")
        code, lines = judge(finished)
        assert (code, verdict(lines)) == (2, "CANNOT")
        assert "SHA-256" in lines[-1] and f"put it into {folder}" in lines[-1]
        shutil.copy(hidden, folder / "of another name.txt")
        code, lines = judge(finished, "prefix", 3)
        assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
        assert any("of another name.txt: SHA-256" in line for line in lines)
    finally:
        hidden.rename(own)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train/loss", "train/grad_norm"])
def test_only_a_rerun_finds_a_training_loss_that_was_changed_with_its_seals(
    finished: Path, judge: Judge, name: str
) -> None:
    change(finished, "metrics.jsonl", shift(3, name, 1e-9))
    assert judge(finished)[0] == 0
    assert judge(finished, "prefix", 2)[0] == 0  # before it
    code, lines = judge(finished, "prefix", 3)
    assert code == 5
    assert lines[-1].startswith(f"DIFFERENT at step 3: metrics.jsonl: {name} is ")
    assert ", by 1e-09 at step 3" in lines[-1]


@pytest.mark.slow
def test_only_a_rerun_finds_a_sample_or_a_line_that_was_changed_with_its_seals(
    finished: Path, judge: Judge
) -> None:
    other = shutil.copytree(finished, finished.with_name(f"{finished.name}.old1"))
    change(finished, "samples.jsonl", lambda lines: lines[0].update(text="to be!!!"))
    code, lines = judge(finished, "full")
    assert code == 5
    assert lines[-1].startswith("DIFFERENT at step 6: samples.jsonl: ")
    change(other, "metrics.jsonl", lambda lines: lines.pop(1))
    code, lines = judge(other, "prefix", 4)
    assert code == 5
    assert lines[-1].startswith("DIFFERENT at step 3: metrics.jsonl: the run lacks ")


@pytest.mark.slow
def test_R8_another_environment_is_said_and_allows_a_tolerance(
    finished: Path, judge: Judge
) -> None:
    change(finished, "metrics.jsonl", shift(6, "train/loss", 1e-4))
    change(finished, "manifest.json", lambda value: value["environment"].update(threads=64))
    code, lines = judge(finished, "full")
    assert (code, verdict(lines)) == (0, "EQUIVALENT"), lines
    assert lines[-1].endswith("the environment differs: threads 64 -> 1")
    assert any(line.startswith("environment ") and "threads 64 -> 1" in line for line in lines)
    change(finished, "metrics.jsonl", shift(6, "train/loss", 1.0))
    code, lines = judge(finished, "prefix", 6)
    assert code == 5
    assert lines[-1].startswith("DIFFERENT at step 6: metrics.jsonl: train/loss ")
    assert lines[-1].endswith("(the environment differs: threads 64 -> 1)")


@pytest.mark.slow
def test_R8_where_all_bits_are_equal_another_environment_is_no_more_than_a_word(
    finished: Path, judge: Judge
) -> None:
    change(finished, "manifest.json", lambda value: value["environment"].update(threads=64))
    code, lines = judge(finished, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL")
    assert lines[-1].endswith("though the environment differs: threads 64 -> 1")


def test_R8_each_part_of_the_environment_that_can_change_bits_is_named() -> None:
    before = {
        "threads": 1,
        "packages": {"torch": "1", "numpy": "2"},
        "torch_build": "a",
        "gpu": None,
    }
    now = {**before, "threads": 2, "packages": {"torch": "3", "numpy": "2"}, "torch_build": "b"}
    now |= {"cpu_capability": "AVX2", "cpu": "of another maker"}
    assert provenance.differences(before, now) == [
        "threads 1 -> 2",
        "cpu unknown -> of another maker",
        "cpu_capability unknown -> AVX2",
        "torch 1 -> 3",
        "torch_build",
    ]
    assert provenance.differences(now, now) == []


@pytest.mark.slow
def test_other_code_is_said_and_compared_all_the_same(finished: Path, judge: Judge) -> None:
    change(finished, "manifest.json", lambda value: value["sources"].update({"models/gpt.py": "0"}))
    code_of = code_digest(RunDirectory(finished).manifest())
    change(finished, "summary.json", lambda summary: summary.update(code=code_of))
    code, lines = judge(finished, "prefix", 3)
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    assert lines[-1].endswith("though the code differs: models/gpt.py")


@pytest.mark.slow
def test_R4_a_run_that_was_resumed_is_compared_as_one_that_was_not(
    small: Small, tmp_path: Path, judge: Judge
) -> None:
    config = small()
    terminate_after(5, config, tmp_path)
    config.trainer.log_interval, config.trainer.sample_tokens = 2, 5  # not hashed, so they may
    run = run_experiment(config, tmp_path).path
    assert run is not None
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines


@pytest.mark.slow
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "interrupted"])
def test_a_run_that_has_not_ended_is_compared_as_far_as_it_came(
    small: Small, tmp_path: Path, judge: Judge, killed: bool
) -> None:
    config = small()
    if killed:
        kill_before_step(config, tmp_path, 7)
    else:
        terminate_after(6, config, tmp_path)
    run = only_run(config, tmp_path)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "tok' * killed)
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().replace("2.7", "2.8"))
    code, lines = judge(run, "prefix", 4)
    assert code == 5 and "metrics.jsonl" in lines[-1], lines


@pytest.mark.slow
def test_a_run_that_diverged_diverges_again(
    small: Small, tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        loss_at(6, math.nan, patch)
        run = run_experiment(small(), tmp_path).path
        assert run is not None
        code, lines = judge(run, "full")  # whose children are forked with the spoiled loss
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    assert any(line.endswith("diverged as it did") for line in lines)
    code, lines = judge(run, "prefix", 6)
    assert (code, verdict(lines)) == (5, "DIFFERENT at step 6")


@pytest.mark.slow
def test_documents_and_bigrams_are_made_again(
    trained: Path, composed: Callable, documents: Path, tmp_path: Path, judge: Judge
) -> None:
    words = ["data=documents", f"data.path={documents}", "logger=none", "trainer.device=cpu"]
    words += ["trainer.max_steps=12", "trainer.sample_documents=2"]
    config = composed("experiment=ladder_bigram", *words)
    counted = run_experiment(config, tmp_path).path
    assert counted is not None
    for run in (trained, counted):
        code, lines = judge(run, "full")
        assert (code, verdict(lines)) == (0, "IDENTICAL"), lines


def test_an_import_is_verified_and_cannot_be_trained_again(
    foreign: Path, words: list[str], tmp_path: Path, judge: Judge
) -> None:
    run = import_file(foreign, words, tmp_path / "outputs")
    foreign.unlink()
    code, lines = judge(run)
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (2, "CANNOT")
    assert "imported, and not trained here" in lines[-1]


def test_a_run_that_made_again_does_not_end_where_it_did_is_said_to(
    finished: Path, tmp_path: Path
) -> None:
    record = read_record(finished)
    again = shutil.copytree(finished, tmp_path / "again")
    (again / "summary.json").unlink()  # as where patience would not stop it here
    findings = rerun.compare(record, {}, rerun.Again(again, record.last_step()), Claim([], []))
    [other] = [finding for finding in findings if finding.verdict is not Verdict.IDENTICAL]
    assert str(other).endswith("differs: made again, the run does not end at step 12")


def test_of_several_values_that_differ_at_a_step_the_line_names_the_first() -> None:
    names = [f"train/{letter}" for letter in "abcdefghijklmnop"]
    stored, again = ([{"step": 1, **dict.fromkeys(names, value)}] for value in (1.0, 2.0))
    assert compare_curves(stored, again, Claim([], []), whole=True).text.startswith(
        "train/a is 1.0"
    )


@pytest.mark.slow
def test_a_run_from_the_weights_of_another_needs_them(
    finished: Path, small: Small, tmp_path: Path, judge: Judge
) -> None:
    config = small("trainer.max_steps=4")
    config.init_from = str(finished)
    run = run_experiment(config, tmp_path / "more").path
    assert run is not None
    code, lines = judge(run, "full")
    assert (code, verdict(lines)) == (0, "IDENTICAL"), lines
    shutil.rmtree(finished)
    code, lines = judge(run)
    assert (code, verdict(lines)) == (2, "CANNOT")
    assert "init_from" in lines[-1]


def test_a_device_that_is_not_here_cannot_be_compared(
    finished: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "probe_hardware", lambda: Hardware(0, False, frozenset()))
    monkeypatch.setattr(Hardware, "devices", lambda self: ["mps"])
    code, lines = judge(finished)
    assert (code, verdict(lines)) == (2, "CANNOT")
    assert "trainer.device: cpu is not there" in " ".join(lines[-1].split())


def test_a_run_that_a_process_works_in_is_refused(finished: Path) -> None:
    (finished / "summary.json").unlink()
    directory = RunDirectory(finished)
    with directory.locked():
        directory.set_status(RunState.running)
        line = refusal(reproduce, finished, "verify", None, print)
    assert "a process works in it" in line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--level", "deep"], "--level: 'deep' is not known"),
        (["--steps", "3"], "--steps: --level verify has none"),
        (["--level", "prefix", "--steps", "0"], "--steps: 0 is below 1"),
        (["--level", "prefix", "--steps", "x"], "--steps"),
    ],
)
def test_a_wrong_word_is_one_line(finished, words, named, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["gptexp", "reproduce", str(finished), *words])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert named in error and error.count("\n") == 1 and " Fix: " in error


def test_the_exit_code_of_the_command_is_that_of_the_verdict(finished, monkeypatch, capsys) -> None:
    for code, word in ((0, "IDENTICAL"), (5, "DIFFERENT")):
        monkeypatch.setattr(sys, "argv", ["gptexp", "reproduce", str(finished)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        assert capsys.readouterr().out.splitlines()[-1].startswith(word)
        (finished / "samples.jsonl").write_text("")


@pytest.mark.parametrize(
    ("git", "named"),
    [
        ({}, "the manifest names no commit"),
        ({"commit": "HEAD"}, "the manifest names no commit"),
        ({"commit": "--output=x"}, "the manifest names no commit"),
        ({"commit": "0" * 40}, "is no checkout that has commit 000000000000"),
        ({"commit": "0" * 40, "changed": [" M gptexp/a.py"]}, "part of the run: gptexp/a.py"),
        ({"commit": "0" * 40, "changed": [""]}, "uncommitted changes were part"),
        ({"commit": "0" * 40, "changed": 5}, "uncommitted changes were part of the run: 5"),
    ],
)
def test_a_commit_that_cannot_be_had_is_a_verdict(finished: Path, git: dict, named: str) -> None:
    change(finished, "manifest.json", lambda value: value.update(git=git))
    lines: list[str] = []
    assert reproduce(finished, "full", None, lines.append, at_commit=True) == 2
    assert len(lines) == 1 and lines[0].startswith("CANNOT: --at-commit: ") and named in lines[0]


def test_own_modules_are_found_by_the_code_of_another_commit(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PYTHONPATH", "mine")
    assert at_commit.code_from(tmp_path)["PYTHONPATH"] == f"{tmp_path}{os.pathsep}mine"
    monkeypatch.delenv("PYTHONPATH")
    assert at_commit.code_from(tmp_path)["PYTHONPATH"] == str(tmp_path)


@pytest.mark.slow
def test_P8_a_run_is_judged_by_the_code_of_its_commit_in_a_worktree_that_goes_away(
    tmp_path: Path, text_file: Path
) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not in a checkout")
    clone, scratch = tmp_path / "clone", tmp_path / "scratch"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "clone", "--quiet", str(ROOT), str(clone)], check=True)
    scratch.mkdir()
    env = {**os.environ, "PYTHONPATH": str(clone), "TMPDIR": str(scratch)}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    made = python(str(clone / "run.py"), *SMALL, f"data.path={text_file}")
    assert made.returncode == 0, made.stderr
    [run] = (tmp_path / "outputs" / "default").iterdir()
    changed = clone / "gptexp" / "training" / "trainer.py"
    code = changed.read_text().replace("self.parts.peak_lr *", "0.5 * self.parts.peak_lr *")
    changed.write_text(code)
    subprocess.run([*git, "-C", str(clone), "commit", "--quiet", "-am", "Other code"], check=True)
    verb = ("-m", "gptexp.cli", "reproduce", str(run), "--level", "prefix")
    here = python(*verb)
    assert here.returncode == 5
    assert "the code differs: training/trainer.py" in here.stdout.splitlines()[-1]
    then = python(*verb, "--at-commit")
    assert (then.returncode, then.stderr) == (0, ""), then
    assert then.stdout.splitlines()[-1].startswith("IDENTICAL: ")
    trees = subprocess.run(["git", "-C", str(clone), "worktree", "list"], capture_output=True)
    assert trees.stdout.count(b"\n") == 1
    assert list(scratch.glob("gptexp-*")) == []


@pytest.mark.slow
def test_P8_as_a_stranger_types_it_in_processes_of_their_own(finished: Path) -> None:
    command = [sys.executable, "-m", "gptexp.cli", "reproduce", str(finished), "--level", "full"]
    done = subprocess.run(command, cwd=finished.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("IDENTICAL: ")
