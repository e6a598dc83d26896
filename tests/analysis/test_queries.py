"""`gptexp table` with --where, --columns, --sort and --limit."""

import csv
import io

import pytest
from run_directories import valley, write_run
from table_runs import grid

from gptexp.analysis.where import Condition, parse
from gptexp.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """Six runs that are done and one that failed: best losses 1 + lr + seed / 10."""
    grid(tmp_path / "a", [0.1, 0.2])
    write_run(tmp_path / "a", 3, state="failed", optim__lr=0.3, metrics=valley(1.05, 12))
    return tmp_path / "a"


# Conditions


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["optim.lr=0.1"], 3),
        (["lr=1e-1"], 3),
        (["lr==0.1"], 3),
        (["lr!=0.1"], 4),
        (["lr=0.1,0.3"], 4),
        (["lr=0.15..0.3"], 4),
        (["lr=..0.2"], 6),
        (["lr=0.2.."], 4),
        (["lr>0.1"], 4),
        (["lr >= 0.1"], 7),
        (["lr<0.2"], 3),
        (["lr<=0.2", "seed=0"], 2),
        (["state=failed"], 1),
        (["state!=failed", "seed=1,2"], 4),
        (["best<1.15"], 2),  # the failed run's best so far is 1.05
        (["final=null"], 1),
        (["final!=null"], 6),
        (["data=text"], 7),
        (["bias=true"], 7),
        (["best_step=1001"], 2),
        (["val/bpb>2"], 1),  # the helper's other journals hold none
        (["test.loss>=2.2"], 2),
        (["folder=a"], 7),
        (["step<2000"], 1),
    ],
)
def test_rows_meet_all_conditions(rows, folder, conditions, count):
    options = [word for text in conditions for word in ("--where", text)]
    assert len(rows(folder, *options)["rows"]) == count


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("a=null", None, True),
        ("a!=1", None, True),
        ("a<1", None, False),
        ("a>=1", None, False),
        ("a=1", True, False),
        ("a=TRUE", True, True),
        ("a=1", 1, True),
        ("a=1", "1", True),
        ("a=1..2", "1..2", True),
        ("a=..", 1, False),
        ("a=1..x", 1, False),
        ("a=2..1", 1.5, False),
        ("a=1,5", "1,5", True),
        ("a=x", ["x", "y"], True),
        ("a=", "", True),
        ("a=../my=text.txt", "../my=text.txt", True),
    ],
)
def test_a_value_is_compared_as_what_it_is(text, value, holds):
    assert parse(text).holds(value) is holds


def test_blanks_around_a_condition_do_not_matter():
    assert parse(" lr <= 1e-3 ") == Condition("lr", "<=", "1e-3")


@pytest.mark.parametrize("text", ["", "lr", "=1", "<", "lr<", "lr>=x", "lr<null"])
def test_J3_what_compares_nothing_is_one_line(text):
    with pytest.raises(ConfigError, match=r"^--where: [^\n]+\. Fix: [^\n]+$"):
        parse(text)


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "json"])
def test_where_no_run_meets_them_a_note_says_what_there_is(gptexp, folder, form):
    code, out, err = gptexp("table", folder, "--where", "lr=7", "--format", form)
    assert code == 0
    assert "no run of 7 has optim.lr=7: optim.lr is 0.1, 0.2, 0.3" in out + err
    code, out, err = gptexp("table", folder, "--where", "lr=0.1", "--where", "state=failed")
    assert out == "no run of 7 meets optim.lr=0.1 and state=failed\n"


@pytest.mark.parametrize(
    ("condition", "there"),
    [
        ("run=nothing", "run is "),
        ("flags=nothing", "flags is empty"),
        ("flags<2", "flags is empty"),
    ],
)
def test_a_column_of_several_words_that_no_run_meets_is_told_too(gptexp, folder, condition, there):
    code, out, _ = gptexp("table", folder, "--where", condition)
    assert code == 0 and f"no run of 7 has {condition}: {there}" in out


def test_runs_are_filtered_before_they_are_grouped(rows, folder):
    found = rows(folder, "--by", "lr", "--where", "seed<2")["rows"]
    assert [(row["optim.lr"], row["runs"], row["expected"]) for row in found] == [
        (0.1, 2, 2),
        (0.2, 2, 2),
    ]


def test_a_run_is_found_by_its_name_as_by_its_path(rows, folder):
    path = rows(folder)["rows"][2]["run"]
    for word in (path, path.rpartition("/")[2]):
        assert [row["run"] for row in rows(folder, "--where", f"run={word}")["rows"]] == [path]


# Columns


def test_columns_are_keys_of_configs_summaries_and_journals(rows, folder):
    names = "lr,state,best.val_bpb,tokens,flops,epochs,stop_reason,val/loss,val,params.total"
    done, *_, failed = rows(folder, "--columns", names)["rows"]
    assert list(done) == ["optim.lr", *names.split(",")[1:]]
    assert (done["best.val_bpb"], done["flops"], done["epochs"]) == (3.0, 1e9, 20.0)
    assert done["stop_reason"] == "all steps are done"
    assert (failed["tokens"], failed["epochs"], failed["flops"]) == (9900, 11.0, None)
    assert failed["best.val_bpb"] == pytest.approx(1.05 * 1.4)
    assert failed["val/loss"] == failed["val"] > 1.05


def test_columns_that_were_asked_for_are_shown_without_values_too(gptexp, folder):
    out = gptexp("table", folder, "--columns", "seed,tok/s", "--where", "lr=0.1")[1]
    assert [line.split() for line in out.splitlines()] == [
        ["seed", "tok/s"],
        *([seed, "-"] for seed in "012"),
    ]


def test_columns_of_groups_are_means_or_what_their_runs_have(rows, gptexp, folder):
    names = "runs,n_layer,seed,seconds,best,state"
    found = rows(folder, "--by", "lr", "--columns", names)["rows"]
    assert found[0]["seconds"] == {"n": 3, "mean": 60.0, "ci95": 0.0}
    assert (found[0]["seed"], found[0]["model.n_layer"]) == ([0, 1, 2], 4)
    assert (found[2]["best"], found[2]["state"], found[2]["marks"]) == (
        None,
        "failed",
        ["failed 1", "missing 3"],
    )
    out = gptexp("table", folder, "--by", "lr", "--columns", names, "--format", "csv")[1]
    first, *_, last = csv.DictReader(io.StringIO(out))
    assert (first["best_ci95"] != "", first["seconds_ci95"], last["best_ci95"]) == (True, "0.0", "")


def test_a_short_name_of_several_keys_is_that_which_differs_or_refused(gptexp, tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / "a", 0, schedule__lr=name, model__lr=1)
    code, _, err = gptexp("table", tmp_path / "a", "--columns", "lr")
    assert code == 0, err
    write_run(tmp_path / "a", 0, schedule__lr=name, model__lr=2)
    code, _, err = gptexp("table", tmp_path / "a", "--columns", "lr")
    assert code == 2
    assert "--columns: lr may be model.lr or schedule.lr. Fix: name it in full, as model.lr" in err


@pytest.mark.slow
@pytest.mark.parametrize("by", [[], ["--by", "lr"]])
def test_every_option_takes_every_column_shown_as_it_is_shown(gptexp, folder, by):
    head = gptexp("table", folder, *by)[1].splitlines()[0].split()
    for name in head:
        for options in (["--columns", name], ["--sort", f"-{name}"], ["--where", f"{name}!=x"]):
            if (name, options[0]) == ("runs", "--where"):
                continue  # of groups, and conditions are about runs
            code, out, err = gptexp("table", folder, *by, *options)
            assert (code, err) == (0, ""), (name, options)
            assert name in out.splitlines()[0].split()


# Order


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (["--sort", "best"], [1.05, 1.1, 1.2, 1.2, 1.3, 1.3, 1.4]),
        (["--sort", "-best"], [1.4, 1.3, 1.3, 1.2, 1.2, 1.1, 1.05]),
        (["--sort=-best"], [1.4, 1.3, 1.3, 1.2, 1.2, 1.1, 1.05]),
        (["--sort", "best", "--descending"], [1.4, 1.3, 1.3, 1.2, 1.2, 1.1, 1.05]),
        (["--sort", "lr,-best"], [1.3, 1.2, 1.1, 1.4, 1.3, 1.2, 1.05]),
        (["--sort", "-seed,lr"], [1.05, 1.3, 1.4, 1.2, 1.3, 1.1, 1.2]),
        (["--sort", "flops,-best", "--limit", "2"], [1.4, 1.3]),
    ],
)
def test_rows_are_sorted_by_columns_either_way(rows, folder, options, order):
    found = [row["best"] for row in rows(folder, *options)["rows"]]
    assert found == pytest.approx(order)


def test_what_has_no_value_comes_last_either_way(rows, folder):
    for key in ("final", "-final"):
        assert rows(folder, "--sort", key)["rows"][-1]["state"] == "failed"


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "json"])
def test_a_limit_takes_the_first_rows_and_says_so(gptexp, folder, form):
    code, out, err = gptexp(
        "table", folder, "--sort", "-best", "--limit", 1, "--columns", "best", "--format", form
    )
    assert code == 0
    assert "1.4" in out and "1.3" not in out
    assert "1 of 7 runs shown" in out + err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--columns", "lr,bset"], "--columns: bset is not known. Fix: did you mean best?"),
        (["--columns", "val/los"], "--columns: val/los is not known. Fix: did you mean val/loss?"),
        (["--sort", "-bset"], "--sort: bset is not known. Fix: did you mean best?"),
        (["--where", "n_lair=2"], "--where: n_lair is not known. Fix: did you mean model.n_layer"),
        (["--sort", "runs"], "--sort: runs is not known. Fix: did you mean run?"),
        (["--by", "lr", "--where", "runs>1"], "--where: runs is not known. Fix: did you mean run"),
        (["--limit", "0"], "gptexp table: Invalid value for '--limit': "),
    ],
)
def test_J3_a_name_that_is_not_known_is_one_line(gptexp, folder, options, line):
    code, out, err = gptexp("table", folder, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err
