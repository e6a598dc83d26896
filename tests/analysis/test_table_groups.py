"""`gptexp table --by`: means over seeds, what is left out of them, and what is marked."""

import csv
import io
import math

import pytest
from run_directories import SOURCES, curve, write_run
from table_runs import grid

from gptexp.runs.directory import RunDirectory

OTHER = {**SOURCES, "model.py": "9" * 64}


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


def test_G7_a_damaged_run_is_marked_in_its_group(gptexp, tmp_path):
    grid(tmp_path / "a", [0.1], [0, 1])
    hurt = write_run(tmp_path / "a", 2, optim__lr=0.1)
    (hurt / "summary.json").write_text("{")
    code, out, _ = gptexp("table", tmp_path / "a", "--by", "optim.lr")
    assert code == 2
    assert "2 of 3, damaged 1" in out
    assert f"{hurt}/summary.json: damaged: " in out


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


def texts(folder, path, *digests, **keys):
    """Runs of one data.path, seeds 0, 1, ..., each of the text with that digest."""
    return [
        write_run(folder, seed, data_sha256=digest * 64, data__path=path, **keys)
        for seed, digest in enumerate(digests)
    ]


def flagged(rows, folder):
    """The names of the runs with a flag, and the notes."""
    found = rows(folder)
    return {row["run"] for row in found["rows"] if row["flags"]}, found["notes"]


@pytest.mark.parametrize("digests", ["ab", "aab", "abc", "abbb", "aabbc", "abcdefghijklm"])
def test_G6_a_sweep_over_texts_flags_none(rows, tmp_path, digests):
    for number, digest in enumerate(digests):
        texts(tmp_path / "a", f"{number}.txt", digest)
    assert flagged(rows, tmp_path / "a") == (set(), [])


def test_G6_a_sweep_over_texts_and_seeds_flags_a_text_that_changed_under_it(rows, tmp_path):
    texts(tmp_path / "a", "one.txt", "a", "a", "a")
    odd = texts(tmp_path / "a", "two.txt", "b", "b", "c")[2]
    found, notes = flagged(rows, tmp_path / "a")
    assert found == {str(odd)}
    assert notes == [f"other data than the rest: 1 of 3: {odd}"]


def test_G6_the_last_points_of_a_sweep_over_another_text_are_flagged(rows, tmp_path):
    runs = texts(tmp_path / "a", "text.txt", "a", "a", "a", "b", "b")
    found, notes = flagged(rows, tmp_path / "a")
    assert found == {str(run) for run in runs[3:]}
    assert notes == [f"other data than the rest: 2 of 5: {runs[3]}, {runs[4]}"]


@pytest.mark.parametrize(("digests", "shares"), [("ab", "11"), ("aabb", "22"), ("aabbc", "221")])
def test_G6_where_no_text_of_one_path_is_that_of_most_a_note_says_so(
    rows, tmp_path, digests, shares
):
    runs = texts(tmp_path / "a", "text.txt", *digests)
    likes = [f"{n} like {runs[digests.index(d)]}" for n, d in zip(shares, "abc", strict=False)]
    versions = f"{len(shares)} versions of the data, none of them that of most runs"
    assert flagged(rows, tmp_path / "a") == (set(), [f"{versions}: {', '.join(likes)}"])


def test_G6_where_no_code_is_that_of_most_a_note_says_so(rows, tmp_path):
    runs = [write_run(tmp_path / "a", s, sources=OTHER if s else None) for s in (0, 1)]
    found, [note] = flagged(rows, tmp_path / "a")
    assert not found
    assert note.startswith("2 versions of the code, none of them that of most runs: 1 like ")
    assert all(str(run) in note for run in runs)


def test_G6_half_of_the_runs_of_one_code_and_the_rest_of_many_is_no_majority(rows, tmp_path):
    for seed in range(4):
        others = {"model.py": str(seed) * 64} if seed > 1 else None
        write_run(tmp_path / "a", seed, sources=others)
    found, [note] = flagged(rows, tmp_path / "a")
    assert not found and note.startswith("3 versions of the code")


def test_G6_one_run_alone_is_like_itself(rows, tmp_path):
    texts(tmp_path / "a", "text.txt", "a")
    assert flagged(rows, tmp_path / "a") == (set(), [])


def test_G6_runs_that_do_not_say_their_text_are_no_majority(rows, tmp_path):
    runs = texts(tmp_path / "a", "text.txt", "a", "b", "a")
    for seed in (3, 4, 5, 6):
        run = write_run(tmp_path / "a", seed, state="failed", data__path="text.txt")
        (run / "manifest.json").unlink()
    found, notes = flagged(rows, tmp_path / "a")
    assert found == {str(runs[1])}
    assert f"other data than the rest: 1 of 7: {runs[1]}" in notes


def test_groups_that_mix_texts_on_purpose_say_so(table, tmp_path):
    for digest in "abc":
        texts(tmp_path / "a", f"{digest}.txt", digest, digest)
    [line], [note] = table(tmp_path / "a", "--by", "model.n_embd")
    assert "6, mixed" in line
    assert note == "groups mix values of data.path: add it to --by"
    lines, notes = table(tmp_path / "a", "--by", "data.path")
    assert len(lines) == 3 and not notes and not any("mixed" in line for line in lines)


@pytest.mark.parametrize("form", ["text", "markdown", "csv", "json"])
def test_groups_may_show_the_runs_in_them(gptexp, tmp_path, form):
    grid(tmp_path / "a", [0.1, 0.2], [0, 1])
    code, out, _ = gptexp(
        "table", tmp_path / "a", "--by", "lr", "--columns", "run", "--format", form
    )
    assert code == 0 and out.count("laptop-text") == 4


def test_rows_of_csv_are_as_wide_as_its_head_whatever_a_group_holds(gptexp, tmp_path):
    """Of runs that are not done a cell has their values, beside means of those that are."""
    grid(tmp_path / "a", [0.1], [0, 1])
    for seed in (0, 1):
        rows = curve(2.0)[: 3 + 2 * seed]
        write_run(tmp_path / "a", seed, state="failed", optim__lr=0.2, metrics=rows)
    for columns in ("step,val,best", "val,runs,step"):
        for folders in (["--where", "lr=0.2"], []):
            words = [tmp_path / "a", "--by", "lr", "--columns", columns, *folders]
            _, out, _ = gptexp("table", *words, "--format", "csv")
            assert ";" in out
            assert len({len(row) for row in csv.reader(io.StringIO(out))}) == 1, out


def test_a_row_is_a_line_whatever_words_its_runs_have(gptexp, tmp_path):
    for seed, name in enumerate(("a\nb", "c")):
        write_run(tmp_path / "a", seed, name=name)
    words = [tmp_path / "a", "--by", "lr", "--columns", "lr,name,runs"]
    assert len(gptexp("table", *words)[1].partition("\n\n")[0].splitlines()) == 2
