"""`gptexp table --watch`: what it reads again, what a terminal shows, and its lines elsewhere."""

import json
import os
import signal

import pytest
from run_directories import put, valley, write_run

from gptexp.analysis import memory, watch
from gptexp.analysis.memory import Memory
from gptexp.analysis.table import Query
from gptexp.analysis.watch import Watch, frame
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import RunState


@pytest.fixture
def running(tmp_path):
    """`running(seed, evaluations)`: a run that a process, this one, is training."""
    locks = []

    def begin(seed=9, evaluations=12, **keys):
        rows = valley(2.0, 12)[:evaluations]
        run = write_run(tmp_path / "a", seed, state="running", metrics=rows, **keys)
        locks.append(RunDirectory(run).locked())
        locks[-1].__enter__()
        return run

    yield begin
    for lock in locks:
        lock.__exit__(None, None, None)


@pytest.fixture
def stages(monkeypatch):
    """What happens between the looks of a watch, one after another; no time passes but its own."""
    waiting, now = [], [0.0]

    class Clock:
        @staticmethod
        def monotonic():
            return now[0]

        @staticmethod
        def sleep(seconds):
            now[0] += seconds
            if waiting:
                waiting.pop(0)()

    monkeypatch.setattr(watch, "time", Clock)
    return waiting


def finished(run, seed=9, **keys):
    """The files of the run, as of one that is done."""
    done = write_run(run.parent.parent / "elsewhere", seed, 1.5, **keys)
    (done / "summary.json").replace(run / "summary.json")
    RunDirectory(run).set_status(RunState.done)


# What is read again


def test_a_run_that_is_done_is_read_once(tmp_path, running, monkeypatch):
    for seed in range(3):
        write_run(tmp_path / "a", seed)
    write_run(tmp_path / "a", 3, state="failed", reason="why")
    run = running()
    read, journals = [], []
    look, progress = memory.records.look, memory.read_progress
    monkeypatch.setattr(memory.records, "look", lambda path: read.append(path) or look(path))
    monkeypatch.setattr(
        memory, "read_progress", lambda path: journals.append(path) or progress(path)
    )
    watched = Watch([tmp_path / "a"], Query())
    watched.look()
    assert (len(read), len(journals)) == (6, 2), "the folder, its runs; the two that are not done"
    view = watched.view
    watched.look()
    assert read[6:] == [tmp_path / "a"], "which may hold a config.yaml by now"
    assert (len(journals), watched.view) == (2, view)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 1150, "train/loss": 2.0, "seconds": 30.0}) + "\n")
    watched.look()
    assert journals[2:] == [run]
    assert watched.facts[-1].progress.step == 1150
    finished(run)
    write_run(tmp_path / "a", 4)
    watched.look()
    assert {path.name for path in read[8:]} >= {run.name}
    assert [item.run.state for item in watched.facts].count("done") == 5


def test_a_run_whose_process_is_gone_is_killed_without_a_change_of_its_files(tmp_path):
    run = write_run(tmp_path / "a", 0, state="running")
    known = Memory()
    with RunDirectory(run).locked():
        assert known.runs([tmp_path / "a"])[0][0].state is RunState.running
    assert known.runs([tmp_path / "a"])[0][0].state is RunState.killed


def test_a_run_that_has_just_begun_is_no_damage(gptexp, tmp_path):
    """Its status is written before its config."""
    write_run(tmp_path / "a", 0)
    run = write_run(tmp_path / "a", 1, state="running")
    (run / "config.yaml").replace(tmp_path / "config.yaml")
    with RunDirectory(run).locked():
        code, out, _ = gptexp("table", tmp_path / "a")
        assert (code, out.count("laptop-")) == (0, 1)
        known = Memory()
        assert len(known.runs([tmp_path / "a"])[0]) == 1
        (tmp_path / "config.yaml").replace(run / "config.yaml")
        assert len(known.runs([tmp_path / "a"])[0]) == 2


# On a terminal


def seen(folder, width=200, height=50, **query):
    watched = Watch([folder], Query(**query))
    watched.look()
    return frame(watched, width, height)


def test_the_running_runs_come_first_and_then_the_best(tmp_path, running):
    for seed, best in enumerate([1.3, 1.1, 1.2]):
        write_run(tmp_path / "a", seed, best)
    write_run(tmp_path / "a", 4, state="failed", metrics=[])
    running(5)
    head, _, columns, *rows = seen(tmp_path / "a")
    assert head.endswith(": 5 runs, 1 running, 3 done, 1 failed")
    assert columns.split()[:3] == ["seed", "state", "step"]
    assert [row.split()[0] for row in rows] == ["5", "1", "2", "0", "4"]
    assert "running  1,100 of 2,000" in rows[0]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_terminal(tmp_path, running, width):
    for lr in (1e-3, 3e-3):
        for seed in range(30):
            write_run(tmp_path / "a", seed, optim__lr=lr, model__n_layer=round(1000 * lr))
    running(5)
    lines = seen(tmp_path / "a", width, 24)
    assert len(lines) <= 24
    assert max(map(len, lines[1:])) <= width
    assert lines[-1] == f"and {61 - (len(lines) - 4)} more"
    words = lines[2].split()
    assert {"lr", "seed", "state", "best"} <= {*words}
    assert ("run" in words, "val" in words) == (width == 200, width >= 80)


def test_columns_rows_and_groups_are_those_of_the_options(tmp_path, running):
    for seed in range(3):
        write_run(tmp_path / "a", seed, 1 + seed)
    running(5)
    _, _, head, *rows = seen(tmp_path / "a", columns=["seed", "best"], sort=["-best"], limit=2)
    assert [line.split() for line in (head, *rows)] == [
        ["seed", "best"],
        ["2", "3.0000"],
        ["1", "2.0000"],
    ]
    _, _, head, row = seen(tmp_path / "a", by=["lr"])
    assert "3 of 4, running 1" in row


def test_a_folder_may_be_empty_or_not_there_yet(tmp_path):
    assert "no run yet" in seen(tmp_path / "nowhere")[0]
    assert "no run yet" in seen(tmp_path)[0]
    write_run(tmp_path / "a", 0)
    [head, *_] = seen(tmp_path / "a", where=["lr=7"])
    assert head.endswith("a: none of 1 run meets the conditions")


def test_a_terminal_is_drawn_anew_at_a_change_and_left_as_it_was(
    gptexp, tmp_path, running, stages, monkeypatch
):
    monkeypatch.setattr(watch, "_is_terminal", lambda: True)
    for name, word in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, word)
    run = running(5, 8)

    def goes_on():
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(valley(2.0, 12)[8]) + "\n")

    stages += [lambda: None, goes_on, lambda: None, lambda: os.kill(os.getpid(), signal.SIGINT)]
    code, out, err = gptexp("table", tmp_path / "a", "--watch")
    screen, _, after = out.partition("\x1b[?1049l")  # back to the screen of before
    assert (code, err) == (130, "")
    assert screen.startswith("\x1b[?1049h\x1b[H\x1b[?25l"), "another screen, without a cursor"
    assert screen.count("700 of 2,000") == screen.count("800 of 2,000") == 1
    assert screen.endswith("\x1b[?25h"), "the cursor is back"
    assert after.splitlines()[-1].split()[:6] == [
        "running",
        "800",
        "of",
        "2,000",
        "2.1667",
        "2.0000",
    ]


# Elsewhere


def test_a_line_for_each_change_and_the_table_in_the_end(gptexp, tmp_path, running, stages):
    """A sweep begins after the watch: one run fails, and one is done."""
    begun = []
    for seed in range(2):
        write_run(tmp_path / "a", seed, 1.5, optim__lr=0.5)

    def goes_on():
        with (begun[0] / "metrics.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in valley(2.0, 12)[8:10])

    stages += [
        lambda: begun.append(running(7, 8, optim__lr=0.1)),
        goes_on,
        lambda: RunDirectory(begun[0]).set_status(RunState.failed, "out of paper"),
        *([lambda: None] * 20),  # seconds until the next point begins
        lambda: begun.append(running(8, 1, optim__lr=0.2)),
        lambda: finished(begun[1], 8, optim__lr=0.2),
    ]
    code, out, err = gptexp("table", tmp_path / "a", "--watch")
    lines = out.splitlines()
    assert (code, err, stages) == (0, "", [])
    assert lines[0].endswith(": 2 runs, 2 done")
    assert lines[1:6] == [
        "lr=0.1 s7: step 700 of 2,000, val 2.0833, best 2.0000, 0:32 left",
        "lr=0.1 s7: step 900 of 2,000, val 2.2500, best 2.0000, 0:28 left",
        "lr=0.1 s7: failed at step 900 of 2,000, val 2.2500, best 2.0000: out of paper",
        "lr=0.2 s8: step 0 of 2,000, val 4.0000, best 4.0000",
        "lr=0.2 s8: done at step 2,000, best 1.5000",
    ]
    assert lines[6] == ""
    assert lines[7].split()[:3] == ["lr", "seed", "state"]
    assert lines[-1].endswith(": failed: out of paper")


def test_damage_ends_in_2_as_without_a_watch(gptexp, tmp_path, stages):
    run = write_run(tmp_path / "a", 0)
    put(run, "summary.json", "{}")
    code, out, _ = gptexp("table", tmp_path / "a", "--watch")
    assert code == 2
    assert "1 damaged" in out and "summary.json: damaged: " in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_word(gptexp, tmp_path, stages, number):
    """It waits for a folder that does not come, for as long as that takes."""
    stages += [*([lambda: None] * 1000), lambda: os.kill(os.getpid(), number)]
    code, out, err = gptexp("table", tmp_path / "b", "--watch")
    assert (code, err, stages) == (128 + number, "", [])
    assert out == f"{tmp_path}/b: no run yet; waits for the first one, Ctrl-C ends it\n"
    assert signal.getsignal(number) is not watch._end


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--format", "json"], "--watch: shows text and no json. Fix: leave out --format"),
        (["--sort", "bset"], "--sort: bset is not known. Fix: did you mean best?"),
    ],
)
def test_J3_a_mistake_ends_the_watch_in_a_line(gptexp, tmp_path, stages, options, line):
    write_run(tmp_path / "a", 0)
    code, _, err = gptexp("table", tmp_path / "a", "--watch", *options)
    assert (code, err) == (2, f"gptexp: error: {line}\n")
