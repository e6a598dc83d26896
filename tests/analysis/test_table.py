"""`gptexp table`: rows, groups of seeds, what is marked, and every form it can take."""

import csv
import io
import json
import math
import sys

import pytest
from run_directories import SOURCES, write_run
from small_runs import ONE_LINE

from gptexp.cli.app import main
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory

OTHER = {**SOURCES, "model.py": "9" * 64}


@pytest.fixture
def gptexp(capsys, monkeypatch):
    """`gptexp("table", folder)`: exit code, output, error, through the front door."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gptexp", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return call


@pytest.fixture
def table(gptexp):
    """`table(folder, ...)`: the lines of the rows, without the head, and those of the notes."""

    def call(*arguments):
        code, out, err = gptexp("table", *arguments)
        assert (code, err) == (0, "")
        rows, _, notes = out.rstrip("\n").partition("\n\n")
        return rows.splitlines()[1:], notes.splitlines()

    return call


@pytest.fixture
def rows(gptexp):
    """`rows(folder, ...)`: what `--format json` says."""

    def call(*arguments):
        code, out, err = gptexp("table", *arguments, "--format", "json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


def grid(folder, lrs=(0.1, 0.2), seeds=(0, 1, 2)):
    """Best losses 1 + lr + seed / 10."""
    for lr in lrs:
        for seed in seeds:
            write_run(folder, seed, 1 + lr + seed / 10, optim__lr=lr, test=2 + seed / 10)
    return folder


# One row for each run


def test_each_run_is_a_row_with_the_keys_that_differ(gptexp, tmp_path):
    grid(tmp_path / "a", seeds=(0, 1))
    write_run(tmp_path / "a", 2, state="diverged", reason="step 7: loss nan", optim__lr=0.2)
    code, out, _ = gptexp("table", tmp_path / "a")
    head, *lines = out.partition("\n\n")[0].splitlines()
    names = "optim.lr seed state params best best_step final height test run"
    assert code == 0
    assert head.split() == names.split()
    found = {tuple(line.split()[:-1]) for line in lines}
    assert found == {
        ("0.1", "0", "done", "809,856", "1.1000", "1,000", "1.6000", "0.5000", "2.0000"),
        ("0.1", "1", "done", "809,856", "1.2000", "1,001", "1.7000", "0.5000", "2.1000"),
        ("0.2", "0", "done", "809,856", "1.2000", "1,000", "1.7000", "0.5000", "2.0000"),
        ("0.2", "1", "done", "809,856", "1.3000", "1,001", "1.8000", "0.5000", "2.1000"),
        ("0.2", "2", "diverged", "-", "-", "-", "-", "-", "-"),
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


def test_runs_of_the_same_name_in_two_folders_are_shown_with_them(table, tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path / name, 0)
    lines, _ = table(tmp_path)
    assert [line.split()[-1].rpartition("/")[0] for line in lines] == [
        str(tmp_path / "a"),
        str(tmp_path / "b"),
    ]
    assert [line.split()[0] for line in lines] == ["a", "b"], "name differs"


# Groups


def test_a_group_is_a_mean_over_seeds_with_its_interval(table, rows, tmp_path):
    """Best 1.1, 1.2, 1.3: mean 1.2, s 0.1, t(0.975, 2) = 4.302653, so 0.430265 / sqrt(3)."""
    lines, notes = table(grid(tmp_path / "a"), "--by", "optim.lr")
    half = "± 0.2484"
    assert not notes
    assert [line.split("  ")[-5:] for line in map(squeezed, lines)] == [
        [f"1.2000 {half}", "1,001 ± 2", f"1.7000 {half}", "0.5000 ± 0.0000", f"2.1000 {half}"],
        [f"1.3000 {half}", "1,001 ± 2", f"1.8000 {half}", "0.5000 ± 0.0000", f"2.1000 {half}"],
    ]
    first = rows(tmp_path / "a", "--by", "optim.lr")["rows"][0]
    assert first["best"] == {
        "n": 3,
        "mean": pytest.approx(1.2),
        "ci95": pytest.approx(4.302652730 * 0.1 / math.sqrt(3), rel=1e-9),
    }
    assert (first["optim.lr"], first["runs"], first["expected"]) == (0.1, 3, 3)
    assert (first["params"], first["marks"], first["flags"]) == (809856, [], [])


def squeezed(line):
    """Columns two blanks apart."""
    return "  ".join(part.strip() for part in line.split("  ") if part.strip())


def test_a_group_of_one_run_has_no_interval(table, tmp_path):
    [line], _ = table(grid(tmp_path / "a", [0.1], [0]), "--by", "optim.lr")
    assert line.split() == ["0.1", "1", "809,856", "1.1000", "1,000", "1.6000", "0.5000", "2.0000"]


def test_several_keys_make_a_group_and_are_sorted_as_numbers(rows, tmp_path):
    for width in (128, 64, 1024):
        for fraction in (1.0, 0.5):
            write_run(tmp_path / "a", 0, model__n_embd=width, data__fraction=fraction)
    found = rows(tmp_path / "a", "--by", "model.n_embd, data.fraction")["rows"]
    assert [(row["model.n_embd"], row["data.fraction"]) for row in found] == [
        (width, fraction) for width in (64, 128, 1024) for fraction in (0.5, 1.0)
    ]


@pytest.mark.parametrize("state", ["failed", "diverged", "interrupted", "running"])
def test_G7_a_run_that_is_not_done_is_marked_and_left_out_of_the_mean(table, tmp_path, state):
    grid(tmp_path / "a", [0.1])
    grid(tmp_path / "a", [0.2], [0, 1])
    hurt = write_run(tmp_path / "a", 2, state=state, reason="why", optim__lr=0.2)
    with RunDirectory(hurt).locked():
        lines, notes = table(tmp_path / "a", "--by", "optim.lr")
    assert squeezed(lines[0]).split("  ")[1] == "3"
    assert squeezed(lines[1]).split("  ")[1:3] == [f"2 of 3, {state} 1", "809,856"]
    assert "1.2500 ± 0.6353" in lines[1], "the mean of two, with the t of one degree of freedom"
    assert notes == [f"optim.lr=0.2: seed 2 {state}: why ({hurt})"]


def test_G7_a_seed_that_other_groups_have_is_marked_as_missing(table, tmp_path):
    grid(tmp_path / "a", [0.1])
    grid(tmp_path / "a", [0.2], [1])
    lines, notes = table(tmp_path / "a", "--by", "optim.lr")
    assert squeezed(lines[1]).split("  ")[1] == "1 of 3, missing 2"
    assert notes == ["optim.lr=0.2: seed 0 is missing", "optim.lr=0.2: seed 2 is missing"]


def test_a_table_by_seed_misses_no_seeds(table, tmp_path):
    grid(tmp_path / "a", [0.1])
    assert table(tmp_path / "a", "--by", "seed")[1] == []


def test_G7_a_damaged_run_is_marked_in_its_group(table, tmp_path):
    grid(tmp_path / "a", [0.1], [0, 1])
    hurt = write_run(tmp_path / "a", 2, optim__lr=0.1)
    (hurt / "summary.json").write_text("{")
    [line], notes = table(tmp_path / "a", "--by", "optim.lr")
    assert "2 of 3, damaged 1" in line
    assert any(note.startswith(f"{hurt}: summary.json is damaged. Fix: ") for note in notes)


def test_a_run_without_a_finite_loss_is_marked(table, tmp_path):
    grid(tmp_path / "a", [0.1], [0, 1])
    write_run(tmp_path / "a", 2, None, optim__lr=0.1)
    [line], [note] = table(tmp_path / "a", "--by", "optim.lr")
    assert "3, not finite 1" in line
    assert "(2)" in line, "the mean is of two"
    assert "seed 2 has no finite validation loss" in note


def test_groups_that_mix_another_key_say_which(table, tmp_path):
    grid(tmp_path / "a")
    [line], [note] = table(tmp_path / "a", "--by", "model.n_embd")
    assert "6, mixed" in line
    assert note == "groups mix values of optim.lr: add it to --by"


def test_a_key_that_cannot_change_a_result_does_not_mix_groups(table, tmp_path):
    write_run(tmp_path / "a", 0, trainer__log_interval=5)
    write_run(tmp_path / "a", 1, trainer__log_interval=7)
    assert table(tmp_path / "a", "--by", "optim.lr")[1] == []


def test_the_same_run_in_two_folders_is_not_two_seeds_in_silence(table, tmp_path):
    for name in ("a", "b"):
        grid(tmp_path / name, [0.1])
    [line], [note] = table(tmp_path, "--by", "optim.lr")
    assert "6, mixed" in line
    assert note.startswith("optim.lr=0.1: one seed, several runs: ")


# G6: other code, other data


def test_G6_runs_of_other_code_are_flagged(table, tmp_path):
    grid(tmp_path / "a", [0.1])
    odd = write_run(tmp_path / "a", 3, sources=OTHER, optim__lr=0.1)
    lines, notes = table(tmp_path / "a")
    assert [line for line in lines if "other code" in line] == [
        line for line in lines if odd.name in line
    ]
    assert notes == [f"other code than the rest: 1 of 4: {odd}"]
    [group], notes = table(tmp_path / "a", "--by", "optim.lr")
    assert group.endswith("  other code")
    assert notes == [f"other code than the rest: 1 of 4: {odd}"]


def test_G6_a_run_that_went_on_under_other_code_is_flagged(table, tmp_path):
    grid(tmp_path / "a", [0.1], [0, 1])
    odd = write_run(tmp_path / "a", 2, resumes=[{"before": {"sources": OTHER}}], optim__lr=0.1)
    assert table(tmp_path / "a")[1] == [f"other code than the rest: 1 of 3: {odd}"]


@pytest.mark.parametrize("old", [False, True])
def test_G6_runs_of_other_data_are_flagged(table, tmp_path, old):
    grid(tmp_path / "a", [0.1])
    odd = write_run(tmp_path / "a", 3, data_sha256="d" * 64, optim__lr=0.1, old=old)
    [group], notes = table(tmp_path / "a", "--by", "optim.lr")
    assert group.endswith("  other data")
    assert notes == [f"other data than the rest: 1 of 4: {odd}"]


def test_G6_two_corpora_of_different_names_are_no_other_data(table, tmp_path):
    write_run(tmp_path / "a", 0)
    write_run(tmp_path / "a", 0, data_sha256="d" * 64, data__name="other")
    lines, notes = table(tmp_path / "a")
    assert not notes
    assert not any("other data" in line for line in lines)


def test_G6_many_odd_runs_are_counted_and_not_all_listed(table, tmp_path):
    for seed in range(20):
        write_run(tmp_path / "a", seed, sources=OTHER if seed < 8 else None)
    [note] = table(tmp_path / "a")[1]
    assert note.startswith("other code than the rest: 8 of 20: ")
    assert note.endswith(" and 3 more")


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
    assert head.startswith("| model.n_embd | runs | params | best | best_step |")
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
        (["--by", "n_embd"], "--by: n_embd is not known. Fix: did you mean model.n_embd?"),
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
