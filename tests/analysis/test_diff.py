"""`gptexp diff` of two runs: where they part."""

import json
import math
import re

import pytest
from run_directories import ENVIRONMENT, SOURCES, curve, write_run
from small_runs import ONE_LINE, problem_lines
from typer.testing import CliRunner

from gptexp.analysis.diff import part, report
from gptexp.cli.app import app
from gptexp.errors import ConfigError, DamagedError
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory


def lines(a, b):
    result = CliRunner().invoke(app, ["diff", str(a), str(b)], catch_exceptions=False)
    assert result.exit_code == 0
    return [" ".join(line.split()) for line in result.output.splitlines()]


def section(shown, title):
    """The words of a section's rows."""
    start = next(i for i, line in enumerate(shown) if line.startswith(title))
    rows = []
    for line in shown[start + 1 :]:
        if line.startswith(("config,", "data ", "code ", "environment ", "losses ", "weights ")):
            break
        rows.append(line)
    return rows


def refuse(a, b):
    with pytest.raises((ConfigError, DamagedError)) as raised:
        report(a, b)
    [line] = problem_lines(raised.value)
    assert ONE_LINE.fullmatch(line), line
    return line


def edit(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


# Two runs


def test_equal_runs_are_equal_bit_for_bit_with_the_digests_of_their_weights(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    shown = lines(a, b)
    assert "config, hashed the same" in shown
    assert section(shown, "config, not hashed") == ["name a b"]
    for title in ("data", "code", "environment"):
        assert f"{title} the same" in shown
    assert "losses the same: 11 values at the same steps" in shown
    assert "weights equal bit for bit" in shown
    summary = json.loads((a / "summary.json").read_text())
    for name in ("best", "final"):
        assert f"{name} {summary[name]['weights_sha256']}" in shown


def test_keys_that_count_stand_apart_from_those_that_do_not(tmp_path):
    a = write_run(tmp_path / "a", 0, optim__lr=0.1)
    b = write_run(tmp_path / "a", 1, optim__lr=0.2, trainer__keep="all", data__path="b.txt")
    shown = lines(a, b)
    assert section(shown, "config, hashed") == ["optim.lr 0.1 0.2", "seed 0 1"]
    assert section(shown, "config, not hashed") == [
        "data.path text.txt b.txt",
        "trainer.keep best all",
    ]


def test_code_environment_and_data_are_compared_one_by_one(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", data_sha256="d" * 64)
    packages = {"torch": "2.14.0", "numpy": "2.4.6"}
    edit(
        b,
        sources={"model.py": "9" * 64, "trainer.py": SOURCES["trainer.py"], "new.py": "7" * 64},
        git={"commit": "e" * 40, "changed": [" M gptexp/model.py"]},
        environment={**ENVIRONMENT, "threads": 2, "packages": packages},
        resumes=[{"step": 4, "differs": ["threads 1 -> 2"]}],
    )
    shown = lines(a, b)
    assert section(shown, "data") == ["text aaaaaaaaaaaa dddddddddddd"]
    assert section(shown, "code") == [
        "commit cccccccccccc eeeeeeeeeeee",
        "not committed - M gptexp/model.py",
        "model.py 111111111111 999999999999",
        "new.py - 777777777777",
    ]
    assert section(shown, "environment") == [
        "threads 1 2",
        "torch 2.13.0 2.14.0",
        "resumed at step 4 - threads 1 -> 2",
    ]


def test_the_first_step_at_which_any_loss_parts_is_shown_with_exact_values(tmp_path):
    rows = curve(2.0)
    changed = [dict(row) for row in rows]
    for row in changed:
        row["seconds"] = -1.0  # time is exempt
        if row["step"] >= 40 and "val/loss" in row:
            row["val/loss"] = math.nextafter(row["val/loss"], 9)
        if row["step"] == 50:
            row["train/loss"] = 7.5
    a, b = write_run(tmp_path / "a", metrics=rows), write_run(tmp_path / "b", metrics=changed)
    shown = lines(a, b)
    assert "losses part at step 40" in shown
    value = next(row["val/loss"] for row in rows if row["step"] == 40 and "val/loss" in row)
    assert section(shown, "losses") == [f"val/loss {value!r} {math.nextafter(value, 9)!r}"]
    assert "weights the same" in shown, "and not said to be equal bit for bit"


def test_losses_that_became_null_part_from_numbers_and_among_themselves():
    nan = {"step": 3, "train/loss": None, "nonfinite": {"train/loss": "nan"}}
    inf = {"step": 3, "train/loss": None, "nonfinite": {"train/loss": "inf"}}
    assert part([nan], [dict(nan)]).step is None
    assert part([nan], [inf]).pairs == [("train/loss", "nan", "inf")]
    assert part([nan], [{"step": 3, "train/loss": 1.0}]).step == 3


def test_a_mean_training_loss_over_other_steps_is_not_compared():
    """Step 6 is a mean over 3 steps where every third is logged, and over 6 in the other run."""
    often = [{"step": step, "train/loss": 1.0 + step} for step in (3, 6, 9, 12)]
    rarely = [{"step": step, "train/loss": 2.0 + step} for step in (6, 12)]
    parting = part(often, rarely)
    assert (parting.step, parting.points, parting.ends) == (None, 0, (12, 12))
    val = {"step": 12, "val/loss": 1.0}
    assert part([*often, val], [*rarely, {**val, "val/loss": 1.5}]).step == 12


def test_a_run_that_ends_sooner_is_compared_as_far_as_it_goes(tmp_path):
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", state="interrupted", metrics=curve(2.0)[:4])
    shown = lines(a, b)
    assert "losses the same: 6 values at the same steps" in shown
    assert "a ends at step 50, b at step 20" in shown
    assert "weights known of finished runs alone" in shown
    assert shown[1].endswith("(interrupted)")


def test_runs_without_a_common_step_are_said_to_have_none(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", state="failed", metrics=[])
    shown = lines(a, b)
    assert "losses none of the same step in both" in shown
    assert "a ends at step 50, b nowhere" in shown


@pytest.mark.slow
def test_real_runs_are_equal_bit_for_bit_and_part_by_a_seed(small, tmp_path, quick):
    runs = [run_experiment(small(f"name={name}"), tmp_path).path for name in ("a", "b")]
    other = run_experiment(small("seed=1"), tmp_path).path
    assert "weights equal bit for bit" in lines(*runs)
    shown = lines(runs[0], other)
    assert section(shown, "config, hashed") == ["seed 0 1"]
    assert "losses part at step 0" in shown


def test_beside_a_run_a_folder_of_one_is_that_run(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    for words in ((a, tmp_path / "b"), (tmp_path / "a", b)):
        assert lines(*words)[:2] == [f"a {a} (done)", f"b {b} (done)"]


# Mistakes


def test_what_cannot_be_compared_is_one_line(tmp_path):
    run = write_run(tmp_path / "a")
    assert refuse(run, tmp_path / "none").startswith(f"{tmp_path / 'none'}: not there")
    (tmp_path / "empty").mkdir()
    empty = tmp_path / "empty"
    assert refuse(tmp_path / "a", empty).startswith(f"{empty}: holds no runs")
    write_run(tmp_path / "two", 0)
    write_run(tmp_path / "two", 1)
    assert refuse(run, tmp_path / "two").startswith(f"{tmp_path / 'two'}: holds 2 runs: ")
    (run / "summary.json").write_text("{")
    assert re.match(rf"{run}/summary.json: damaged: .*\. Fix: ", refuse(run, run))
    (run / "summary.json").unlink()
    (run / "config.yaml").unlink()
    assert refuse(run, run).startswith(f"{run}/config.yaml: No such file")


def test_a_run_that_has_just_begun_is_not_compared_yet(tmp_path):
    """Its process writes the status first, and then the config."""
    run = write_run(tmp_path / "a")
    begun = write_run(tmp_path / "b", state="running")
    (begun / "config.yaml").unlink()
    with RunDirectory(begun).locked():
        assert refuse(run, begun).startswith(f"{begun}: has just begun")
