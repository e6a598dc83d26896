"""`gptexp table`: its rows and columns, every form that it can take, and mistakes."""

import csv
import io
import json
import math

import pytest
from run_directories import valley, write_run
from small_runs import ONE_LINE
from table_runs import grid

from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState

# One row for each run


def test_each_run_is_a_row_with_the_keys_that_differ(gptexp, tmp_path):
    grid(tmp_path / "a", seeds=(0, 1))
    write_run(tmp_path / "a", 2, state="diverged", reason="step 7: loss nan", optim__lr=0.2)
    code, out, _ = gptexp("table", tmp_path / "a")
    head, *lines = out.partition("\n\n")[0].splitlines()
    names = "lr seed state step params val best best_step final height test run"
    assert code == 0
    assert head.split() == names.split()
    found = {" ".join(line.split()[:-1]) for line in lines}
    assert found == {
        "0.1 0 done 2,000 809,856 1.6000 1.1000 1,000 1.6000 0.5000 2.0000",
        "0.1 1 done 2,000 809,856 1.7000 1.2000 1,001 1.7000 0.5000 2.1000",
        "0.2 0 done 2,000 809,856 1.7000 1.2000 1,000 1.7000 0.5000 2.0000",
        "0.2 1 done 2,000 809,856 1.8000 1.3000 1,001 1.8000 0.5000 2.1000",
        "0.2 2 diverged 50 of 2,000 - - - - - - -",
    }
    assert out.splitlines()[-1].endswith(": diverged: step 7: loss nan")


def test_runs_are_in_the_order_of_what_differs_and_not_of_their_hashes(rows, tmp_path):
    for lr in (1e-2, 1e-3, 3.0, 0.2):
        write_run(tmp_path / "a", 0, 2.0, optim__lr=lr)
    assert [row["optim.lr"] for row in rows(tmp_path / "a")["rows"]] == [1e-3, 1e-2, 0.2, 3.0]


def test_numbers_stand_to_the_right_and_words_to_the_left(gptexp, tmp_path):
    write_run(tmp_path / "a", 0, 1.5)
    write_run(tmp_path / "a", 10, 11.5)
    head, first, second = gptexp("table", tmp_path / "a")[1].splitlines()
    for column in ("seed", "params", "best"):
        end = head.index(column) + len(column)
        assert first[end - 1].isdigit() and second[end - 1].isdigit(), column
        assert first[end : end + 1] == second[end : end + 1] == " ", column
    assert head.index("state") == first.index("done") == second.index("done")


def test_a_column_without_values_is_left_out_of_the_text_and_kept_for_programs(gptexp, tmp_path):
    write_run(tmp_path / "a", 0)
    assert " test " not in gptexp("table", tmp_path / "a")[1]
    assert ",test," in gptexp("table", tmp_path / "a", "--format", "csv")[1]


def test_runs_of_several_folders_are_told_apart_by_them(gptexp, rows, tmp_path):
    for name in ("a", "b"):
        path = write_run(tmp_path / name, 0)
    head, *lines = gptexp("table", tmp_path)[1].splitlines()
    assert head.split()[0] == "folder", "name differs too, and says nothing more"
    assert [line.split()[0] for line in lines] == ["a", "b"]
    assert lines[1].split()[-1] == path.name
    assert [row["run"] for row in rows(tmp_path)["rows"]][1] == str(path)
    assert " folder " not in gptexp("table", tmp_path / "a")[1]


def test_of_many_keys_those_that_follow_from_others_are_for_programs_alone(gptexp, rows, tmp_path):
    """A preset's name tells its layers, and a key that changes no result tells nothing."""
    presets = {"tiny": 1, "small": 2}
    for name, size in presets.items():
        sizes = {f"model__{key}": size for key in ("n_layer", "n_head", "n_embd", "block_size")}
        steps = {"trainer__batch_size": size, "trainer__eval_interval": size}
        write_run(tmp_path / "a", 0, model__name=name, trainer__log_interval=size, **sizes, **steps)
    head = gptexp("table", tmp_path / "a")[1].splitlines()[0]
    assert head.split()[:2] == ["model", "state"]
    assert rows(tmp_path / "a")["rows"][0].keys() >= {"model.n_layer", "trainer.log_interval"}
    assert [row["model.name"] for row in rows(tmp_path / "a")["rows"]] == ["small", "tiny"]


def test_a_run_that_is_not_done_shows_how_far_it_is(gptexp, rows, tmp_path):
    last = {"step": 1130, "tokens": 10170, "epoch": 11.3, "seconds": 1130 / 40, "train/loss": 2.0}
    last |= {"train/tokens_per_second": 15234.0}
    write_run(tmp_path / "a", 0, 1.5)
    run = write_run(tmp_path / "a", 1, state="running", metrics=[*valley(2.0, 12), last])
    write_run(tmp_path / "a", 2, state="diverged", metrics=valley(2.0, 12))
    with RunDirectory(run).locked():
        lines = gptexp("table", tmp_path / "a")[1].splitlines()
        found = rows(tmp_path / "a")["rows"][1]
    seen = "1 running 1,130 of 2,000 - 2.4167 2.0000 500 - - 15.2k 0:22"
    assert lines[0].split()[-3:] == ["tok/s", "left", "run"]
    assert " ".join(lines[2].split()[:-1]) == seen.replace("500", "600")
    assert lines[3].split()[-2] == "-", "one that diverged does not go on"
    assert (found["step"], found["max_steps"], found["tok/s"]) == (1130, 2000, 15234.0)
    assert found["left"] == pytest.approx(870 / 40)
    assert found["final"] is None


def test_the_steps_of_a_budget_are_those_of_the_manifest(rows, small, tmp_path, quick):
    """Of a run of before, whose manifest does not say, no steps are guessed."""
    outcome = run_experiment(small("trainer.max_tokens=100"), tmp_path)
    run = outcome.path
    (run / "summary.json").unlink()
    RunDirectory(run).set_status(RunState.failed)
    [row] = rows(tmp_path)["rows"]
    assert row["step"] == row["max_steps"] > 0
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["max_steps"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    [row] = rows(tmp_path)["rows"]
    assert (row["max_steps"], row["left"]) == (None, None)


def test_I1_a_journal_that_is_none_is_a_note_beside_the_other_runs(gptexp, tmp_path):
    write_run(tmp_path / "a", 0)
    hurt = write_run(tmp_path / "a", 1, state="interrupted")
    (hurt / "metrics.jsonl").unlink()
    (hurt / "metrics.jsonl").mkdir()
    code, out, _ = gptexp("table", tmp_path / "a")
    assert code == 2
    assert [line.split()[1] for line in out.splitlines()[1:3]] == ["done", "interrupted"]
    assert f"{hurt}/metrics.jsonl: not a regular file. Fix: remove it" in out


# Forms


def test_csv_holds_exact_numbers_and_the_notes_go_to_standard_error(gptexp, tmp_path):
    grid(tmp_path / "a", [0.1])
    write_run(tmp_path / "a", 3, state="failed", reason='a "bad", thing', optim__lr=0.1)
    code, out, err = gptexp("table", tmp_path / "a", "--by", "optim.lr", "--format", "csv")
    [row] = csv.DictReader(io.StringIO(out))
    assert code == 0
    assert (row["optim.lr"], row["runs"], row["expected"]) == ("0.1", "3", "4")
    assert row["marks"] == "failed 1"
    assert float(row["best_ci95"]) == pytest.approx(4.302652730 * 0.1 / math.sqrt(3), rel=1e-9)
    assert err.startswith('optim.lr=0.1: seed 3 failed: a "bad", thing')
    losses = [
        row["best"]
        for row in csv.DictReader(
            io.StringIO(gptexp("table", tmp_path / "a", "--format", "csv")[1])
        )
    ]
    assert sorted(losses) == sorted(["", *(repr(1.1 + seed / 10) for seed in (0, 1, 2))])


def test_every_form_has_as_many_cells_in_each_row(gptexp, tmp_path):
    grid(tmp_path / "a", [0.1], [0])
    write_run(tmp_path / "a", 1, None, state="failed", optim__lr=0.2, model__name="a|b")
    for by in ([], ["--by", "optim.lr"], ["--by", "model.name"]):
        _, out, _ = gptexp("table", tmp_path / "a", *by, "--format", "csv")
        assert len({len(row) for row in csv.reader(io.StringIO(out))}) == 1
        _, out, _ = gptexp("table", tmp_path / "a", *by, "--format", "markdown")
        table = out.partition("\n\n")[0].replace("\\|", "").splitlines()
        assert len({line.count("|") for line in table}) == 1


def test_markdown_is_a_table_and_a_list(gptexp, tmp_path):
    grid(tmp_path / "a")
    _, out, _ = gptexp("table", tmp_path / "a", "--by", "model.n_embd", "--format", "markdown")
    head, rule, row, blank, note = out.splitlines()
    assert head.startswith("| n_embd | runs | params | best | best_step |")
    assert rule.startswith("| ---: | --- | ---: | ---: |")
    assert row.startswith("| 128 | 6, mixed | 809,856 | 1.2500 ± ")
    assert (blank, note) == ("", "- groups mix values of optim.lr: add it to --by")


@pytest.mark.parametrize("key", ["best", "optim.lr", "runs", "flags"])
def test_rows_are_sorted_by_a_column(rows, tmp_path, key):
    write_run(tmp_path / "a", 0, 1.0, optim__lr=0.9)
    write_run(tmp_path / "a", 0, 3.0, optim__lr=0.1)
    write_run(tmp_path / "a", 0, 2.0, optim__lr=0.5)
    write_run(tmp_path / "a", 0, state="failed", optim__lr=0.7)
    found = [r["optim.lr"] for r in rows(tmp_path, "--by", "optim.lr", "--sort", key)["rows"]]
    orders = {"best": [0.9, 0.5, 0.1, 0.7], "runs": [0.7, 0.1, 0.5, 0.9]}
    assert found == orders.get(key, [0.1, 0.5, 0.7, 0.9])


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--by", "model.n_embdd"], "--by: model.n_embdd is not known. Fix: did you mean mo"),
        (["--by", "best"], "--by: best is not known. Fix: did you mean "),
        (["--by", "optim.lr,"], "--by: an empty word is not known. Fix: use one of name, "),
        (["--sort", "bset"], "--sort: bset is not known. Fix: did you mean best?"),
        (["--format", "xml"], "--format: xml is not known. Fix: use one of text, csv, markd"),
        (["--format", "jsno"], "--format: jsno is not known. Fix: did you mean json?"),
        (["nowhere"], "nowhere: not there. Fix: "),
        (["."], ".: holds no runs. Fix: "),
    ],
)
def test_a_mistake_is_one_line(gptexp, tmp_path, monkeypatch, arguments, line):
    write_run(tmp_path / "a", 0)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, out, err = gptexp("table", tmp_path / "a", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"gptexp: error: {line}")
    assert ONE_LINE.fullmatch(err.removeprefix("gptexp: error: ").rstrip("\n"))


def test_unknown_keys_are_named_together(gptexp, tmp_path):
    write_run(tmp_path / "a", 0)
    err = gptexp("table", tmp_path / "a", "--by", "optim.lrr,sed")[2]
    assert [line.split()[2:4] for line in err.splitlines()] == [
        ["--by:", "optim.lrr"],
        ["--by:", "sed"],
    ]


@pytest.mark.slow
def test_real_runs_make_a_table(small, tmp_path, quick, rows):
    outputs = tmp_path / "outputs"
    for seed in (0, 1):
        run_experiment(small(f"seed={seed}"), outputs)
    moved = run_experiment(small("seed=1", "rerun=true"), outputs)
    assert moved.state == "done"
    [row] = rows(outputs, "--by", "model.n_embd")["rows"]
    assert (row["model.n_embd"], row["runs"], row["expected"], row["marks"]) == (16, 2, 2, [])
    losses = [
        json.loads(path.read_text())["best"]["val_loss"]
        for path in outputs.glob("*/*/summary.json")
        if ".old" not in path.parent.name
    ]
    assert row["best"]["mean"] == pytest.approx(sum(losses) / 2, rel=1e-12)
    assert row["flags"] == []


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-x", "@sum"])
def test_I7_a_cell_of_csv_is_never_a_formula(gptexp, tmp_path, begin):
    for seed, name in enumerate([begin, "plain"]):
        write_run(tmp_path / "a", seed, data__name=name, optim__lr=-0.5)
    code, out, _ = gptexp("table", tmp_path / "a", "--format", "csv")
    cells = [row["data.name"] for row in csv.DictReader(io.StringIO(out, newline=""))]
    assert (code, sorted(cells)) == (0, sorted(["plain", "'" + begin]))
    code, out, _ = gptexp("table", tmp_path / "a", "--format", "csv", "--by", "optim.lr")
    assert next(csv.DictReader(io.StringIO(out)))["optim.lr"] == "-0.5", "a number stays one"


def test_I1_damage_is_shown_beside_the_other_runs_and_ends_in_2(gptexp, tmp_path):
    whole, hurt = write_run(tmp_path / "a", 0), write_run(tmp_path / "a", 1)
    (hurt / "summary.json").write_text("{}")
    for form in ("text", "csv", "markdown", "json"):
        code, out, err = gptexp("table", tmp_path / "a", "--format", form)
        assert code == 2
        assert whole.name in out and hurt.name in out
        assert f"{hurt}/summary.json: damaged: " in out + err


ORDERS = "\x1b[2J\x07\x9b1m\u202e\u200b\nx"  # to a terminal, and to an eye


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "json"])
def test_I7_what_a_run_holds_gives_a_terminal_no_orders(gptexp, tmp_path, form):
    write_run(tmp_path / "a", 0, data__name=ORDERS)
    write_run(tmp_path / "a", 1, state="failed", reason=ORDERS)
    code, out, err = gptexp("table", tmp_path / "a", "--format", form)
    assert code == 0
    assert not set(ORDERS) - {"[", "2", "J", "1", "m", "x", "\n"} & set(out + err)
    if form == "json":
        names = {row["data.name"] for row in json.loads(out)["rows"]}
        assert names == {ORDERS, "text"}


def test_I7_neither_does_a_difference(gptexp, tmp_path):
    a = write_run(tmp_path / "a", 0, data__name=ORDERS)
    b = write_run(tmp_path / "b", 0, command=[ORDERS])
    code, out, _ = gptexp("diff", a, b)
    assert code == 0
    assert "\x1b" not in out and "\u202e" not in out
