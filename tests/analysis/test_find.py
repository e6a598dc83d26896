"""Runs by what a person types: best:FOLDER, latest:FOLDER, a folder of one, the begin of a name."""

import os
import shutil
from pathlib import Path

import pytest
from run_directories import write_run
from small_runs import ONE_LINE, problem_lines
from typer.main import get_command

from gptexp.analysis.find import find_run, look_up
from gptexp.analysis.labels import hash_of
from gptexp.analysis.records import is_run
from gptexp.cli.app import app
from gptexp.errors import ConfigError
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Six runs in outputs/lr, which lie in the working directory; by lr and seed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "lr"
    runs = {
        (lr, seed): write_run(folder, seed, 2 + lr + seed / 1000, optim__lr=lr)
        for lr in (0.1, 0.2)
        for seed in (1, 2, 10)
    }
    for number, run in enumerate(runs.values()):
        age(run, 1000 + number)
    return {key: run.relative_to(tmp_path) for key, run in runs.items()}


def age(run, seconds):
    """Make all that the run wrote as old as that, counted from 1970."""
    for file in run.iterdir():
        os.utime(file, (seconds, seconds))


def refused(words):
    with pytest.raises(ConfigError) as raised:
        find_run(words)
    [line] = problem_lines(raised.value)
    assert ONE_LINE.fullmatch(line), line
    return line


def fixes(line):
    """The ways out that a line names."""
    fix = line.partition(" Fix: ")[2].removeprefix("name one, as ")
    return fix.removeprefix("did you mean ").rstrip("?").split(" or ")


def test_a_path_that_is_there_is_taken_as_it_is(grid, tmp_path):
    run = grid[0.1, 1]
    assert (find_run(run).path, find_run(run).why) == (run, "")
    (tmp_path / "step-1.pt").write_text("any file")
    assert find_run("step-1.pt").path.name == "step-1.pt"
    (tmp_path / "weights" / "checkpoints").mkdir(parents=True)
    assert find_run("weights").path.name == "weights", "with no file but its checkpoints"


def test_the_best_is_that_of_the_lowest_validation_loss_among_the_done(grid):
    write_run(grid[0.1, 1].parent, 3, None, optim__lr=0.1)
    write_run(grid[0.1, 1].parent, 4, state="running", optim__lr=0.1)
    found = find_run("best:outputs/lr")
    assert (found.path, found.notes) == (grid[0.1, 1], ())
    assert found.why == "lr=0.1 s1, the best of 6 at 2.1010"
    assert find_run("best:").path == grid[0.1, 1], "of all outputs"
    assert find_run(f"best:{grid[0.2, 2]}").path == grid[0.2, 2]


def test_the_latest_is_the_one_that_wrote_last_done_or_not(grid):
    assert find_run("latest:outputs/lr").path == grid[0.2, 10]
    os.utime(grid[0.1, 2] / "metrics.jsonl", (5000, 5000))
    os.utime(grid[0.2, 2] / "config.yaml", (9000, 9000))  # by a person
    assert find_run("latest:outputs").path == grid[0.1, 2]
    write_run(grid[0.1, 1].parent, 3, state="failed")
    assert find_run("latest:").path.name.startswith("laptop-text-f1-s3-")


def test_a_folder_stands_for_the_one_run_that_it_holds(grid, tmp_path):
    shutil.copytree(grid[0.1, 1], tmp_path / "alone" / "deep" / grid[0.1, 1].name)
    shutil.copytree(grid[0.1, 1], tmp_path / "alone" / f"{grid[0.1, 1].name}.old1")
    found = find_run("alone")
    assert found.path.parts[:2] == ("alone", "deep")
    assert found.why == "the only run in alone"


def test_a_folder_of_several_says_which_and_each_way_out_works(grid):
    line = refused("outputs/lr")
    assert line.startswith(
        f"outputs/lr: holds 6 runs: {hash_of(grid[0.1, 1])} (lr=0.1 s1), "
        f"{hash_of(grid[0.1, 10])} (lr=0.1 s10), "
    )
    assert fixes(line) == [str(grid[0.1, 1]), "latest:outputs/lr", "best:outputs/lr"]
    for words in fixes(line):
        assert find_run(words).path in grid.values()


def test_no_best_is_offered_where_no_run_is_done(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, seed, state="running")
    first, latest = fixes(refused(tmp_path))
    assert find_run(first).path == find_run(f"{tmp_path}/s0").path
    assert latest == f"latest:{tmp_path}"
    assert fixes(refused(f"best:{tmp_path}")) == [latest]
    assert find_run(latest).path.parent == tmp_path


def test_the_begin_of_a_name_or_a_hash_is_enough(grid):
    run = grid[0.2, 2]
    for word in (hash_of(run)[:5], hash_of(run), run.name[:-3], run.name):
        for words in (f"outputs/lr/{word}", f"outputs/{word}", word):
            assert find_run(words).path == run, words
    assert find_run(hash_of(run)[:5]).why == f"begins with {hash_of(run)[:5]}"


def test_in_a_folder_of_runs_a_bare_begin_is_looked_for_there(grid, monkeypatch):
    monkeypatch.chdir(grid[0.2, 2].parent)
    assert str(find_run(hash_of(grid[0.2, 2])[:5]).path) == grid[0.2, 2].name


def test_a_begin_that_ends_a_field_is_not_that_of_a_longer_field(grid):
    assert "2 runs go by that" in refused("outputs/lr/laptop-text-f1-s1"), "and not of s10"
    assert "6 runs go by that" in refused("outputs/lr/laptop-text-f1-s")


def test_words_of_a_label_are_enough(grid):
    assert find_run("outputs/lr/lr=0.2 s10").path == grid[0.2, 10]
    assert find_run("s10 lr=0.2").path == grid[0.2, 10]
    line = refused("outputs/lr/lr=0.2")
    assert "3 runs go by that: " in line and "(lr=0.2 s10)" in line
    assert find_run(fixes(line)[0]).path == grid[0.2, 1]


def test_a_name_that_is_there_comes_before_what_it_begins(grid):
    """A folder is named as a run's begin is, and one as a choice."""
    for name in ("latest:outputs", hash_of(grid[0.1, 1])[:5]):
        copy = shutil.copytree(grid[0.2, 2], name)
        assert str(find_run(name).path) == copy


def test_copies_of_a_run_are_told_apart_by_their_paths(grid):
    shutil.copytree(grid[0.1, 1], f"outputs/copy/{grid[0.1, 1].name}")
    line = refused(hash_of(grid[0.1, 1]))
    assert f"2 runs go by that: outputs/copy/{grid[0.1, 1].name}, {grid[0.1, 1]}." in line
    assert find_run(fixes(line)[0]).path.parts[1] == "copy"


def test_links_to_one_run_are_one(grid):
    grid[0.1, 1].parent.with_name("again").symlink_to("lr")
    assert find_run(hash_of(grid[0.1, 1])).path == grid[0.1, 1]


def test_what_was_moved_aside_is_found_by_its_path_alone(grid):
    aside = grid[0.1, 1].rename(f"{grid[0.1, 1]}.old1")
    assert find_run(aside).path == aside
    assert look_up(hash_of(grid[0.1, 1])) is None


@pytest.mark.parametrize(
    ("words", "way"),
    [
        ("last:outputs/lr", "latest:outputs/lr"),
        ("best", "best:outputs"),
        ("outputs/lr/laptop-text-f1-s7", "outputs/lr/laptop-text-f1-s"),
        ("outputs/lr/zzz", "one of those that gptexp table outputs/lr lists"),
        ("zzz/zzz", "name a run directory, as in outputs/NAME/RUN"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(grid, words, way):
    line = refused(words)
    assert line.startswith(f"{words}: not there, and no run goes by that.")
    [fix] = fixes(line)
    assert fix.startswith(way)
    if not fix.startswith(("one of", "name a")):
        assert find_run(fix).path in grid.values()


@pytest.mark.parametrize("words", ["best:nowhere", "latest:nowhere", "latest:empty", "empty"])
def test_a_folder_that_is_not_there_or_empty_is_one_line(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    what = "not there" if "nowhere" in words else "holds no runs"
    assert refused(words).startswith(f"{words.rpartition(':')[2]}: {what}.")


def test_damaged_runs_are_passed_over_with_a_note(grid):
    (grid[0.1, 1] / "summary.json").write_text("{")
    found = find_run("best:outputs/lr")
    assert found.path == grid[0.1, 2]
    [note] = found.notes
    assert str(note).startswith(f"{grid[0.1, 1]}/summary.json: damaged: ")


def test_losses_that_do_not_compare_are_compared_with_a_note(grid):
    other = write_run(grid[0.1, 1].parent, 0, 1.0, data_sha256="d" * 64)
    found = find_run("best:outputs/lr")
    assert found.path.name == other.name
    assert "on several texts" in str(found.notes[0])


def test_a_large_tree_around_a_mistyped_path_is_not_walked(tmp_path):
    write_run(tmp_path / "a" / "b" / "c", 0)
    assert look_up(tmp_path / "laptop") is None
    assert look_up(tmp_path / "a" / "b" / "laptop") is not None


def test_home_is_known_behind_a_choice(grid, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    for words in ("best:~/outputs/lr", f"~/outputs/lr/{hash_of(grid[0.1, 1])[:5]}"):
        assert find_run(words).path == tmp_path / grid[0.1, 1]


# Through the front door


def test_which_run_was_meant_is_said_on_standard_error(grid, gptexp):
    code, out, err = gptexp("diff", "best:outputs", grid[0.2, 2])
    assert code == 0
    assert out.startswith(f"a  {grid[0.1, 1]}  ({RunState.done})\n")
    assert err == f"run     {grid[0.1, 1]} (lr=0.1 s1, the best of 6 at 2.1010)\n"
    (grid[0.2, 1] / "summary.json").write_text("{")
    code, _, err = gptexp("diff", "best:outputs", grid[0.2, 2])
    assert code == 0
    assert err.startswith(f"gptexp: warning: {grid[0.2, 1]}/summary.json: damaged: ")


VERBS = {  # that ask for a run: the rest of their words
    "sample": [],
    "evaluate": [],
    "explain": [],
    "reproduce": [],
    "export": ["--to=microgpt"],
    "diff": ["outputs"],
    "ensemble": ["outputs"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_takes_a_run_takes_these_words(grid, gptexp, verb):
    code, out, err = gptexp(verb, "outputs/lr/laptop", *VERBS[verb])
    assert (code, out) == (2, "")
    assert err.startswith("gptexp: error: outputs/lr/laptop: 6 runs go by that: ")
    help_text = " ".join(gptexp(verb, "--help")[1].split())
    assert "latest:FOLDER, best:FOLDER" in help_text


def test_a_word_that_is_no_run_is_still_no_corpus(grid, gptexp):
    code, _, err = gptexp("explain", "namse")
    assert (code, err.endswith("Fix: gptexp explain names\n")) == (2, True)


def test_completion_looks_for_nothing(grid, capsys):
    command = get_command(app).commands["sample"]
    command.make_context("sample", ["best:outputs"], resilient_parsing=True)
    assert capsys.readouterr() == ("", "")


def test_a_config_alone_is_no_run_and_a_folder_is_not_searched_to_its_bottom(tmp_path, monkeypatch):
    """As a checkout has conf/config.yaml, and `/` has everything."""
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "outputs" / "a", 0)
    (tmp_path / "conf").mkdir()
    shutil.copy(run / "config.yaml", tmp_path / "conf")
    assert not is_run(tmp_path / "conf")
    assert find_run("outputs").path == Path("outputs") / "a" / run.name
    deep = tmp_path / "outputs" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    shutil.move(run, deep)
    with pytest.raises(ConfigError, match="holds no runs"):
        find_run("outputs")


def test_the_best_of_runs_that_nothing_compares_is_one_line(tmp_path):
    """Bare ids have no bytes, so runs with other tokens have no loss in common."""
    for name in ("ids", "byte"):
        write_run(tmp_path, bpb=None, tokenizer__name=name)
    assert "tokens differ, and none has bits per byte" in refused(f"best:{tmp_path}")


def test_a_run_that_has_just_begun_hides_no_other(tmp_path):
    """Its process writes the status first, and then the config."""
    folder = tmp_path / "outputs"
    run = write_run(folder, 1)
    begun = write_run(folder, 2, state="running")
    (begun / "config.yaml").unlink()
    with RunDirectory(begun).locked():
        assert find_run(folder).path == run
        assert refused(folder / "s2").startswith(f"{folder / 's2'}: not there")
        shutil.rmtree(run)
        assert refused(folder).startswith(f"{begun}: has just begun")


def test_no_run_goes_by_a_name_that_no_folder_can_have():
    assert "no run goes by that" in refused("a\0b/run")
