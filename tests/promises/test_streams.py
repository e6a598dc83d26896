"""Screens that are closed, gone, full or short of characters: a run goes on, a verb just ends."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interruptions import Small, die, forked
from small_runs import ROOT, SMALL

from gptexp import console
from gptexp.cli.app import main
from gptexp.config import Config
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory

SHORT = [*SMALL, "trainer.max_steps=2"]
SHORT.remove("trainer.max_steps=12")


def verb(monkeypatch, *words: str) -> int:
    """The exit code of `gptexp WORDS`."""
    monkeypatch.setattr("sys.argv", ["gptexp", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def closed_file() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


def states() -> list[object]:
    return [RunDirectory(path.parent).state() for path in Path("outputs").glob("*/*/status.json")]


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdin", "stdout", "stderr"]])
@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]])
def test_J5_a_run_and_a_sweep_go_on_without_streams(command, monkeypatch, text_file, closed, sweep):
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    assert command(*sweep, *SHORT, f"data.path={text_file}").code == 0
    assert states() == ["done"] * (2 if sweep else 1)


@pytest.mark.parametrize("screen", [None, closed_file()], ids=["none", "closed"])
def test_J5_a_library_without_a_screen_trains(small, tmp_path, monkeypatch, screen):
    console.setup()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, screen)
    assert run_experiment(small("trainer.max_steps=2"), tmp_path).state == "done"


@pytest.mark.parametrize("words", [["table", "OUT"], ["sample", "RUN"], ["--help"], ["table", "x"]])
def test_J5_so_do_the_verbs(finished, monkeypatch, words):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    paths = {"RUN": str(finished), "OUT": str(finished.parent)}
    assert verb(monkeypatch, *(paths.get(word, word) for word in words)) == (
        2 if "x" in words else 0
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_J5_a_character_that_an_encoding_lacks_is_escaped(command, monkeypatch, encoding):
    for call in (
        lambda: command("--cfg", "job", "data.path=☃").code,
        lambda: verb(monkeypatch, "plan", "data=text", "data.path=☃.txt"),
    ):
        screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", screen)
        code = call()
        screen.flush()
        assert b"\\u2603" in screen.buffer.getvalue()
        assert code == 0


@pytest.mark.parametrize("words", [["--help"], ["table", "OUT"]])
def test_J5_a_reader_that_had_enough_is_no_error(finished, monkeypatch, capsys, words):
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writer, "w"))
    assert verb(monkeypatch, *(str(finished.parent) if w == "OUT" else w for w in words)) == 0
    assert capsys.readouterr().err == ""


def test_J5_a_screen_that_is_full_is_a_line_of_a_verb_and_nothing_to_a_run(
    command, finished, text_file, monkeypatch, capsys
):
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert verb(monkeypatch, "table", str(finished)) == 4
        assert "output: No space left on device" in capsys.readouterr().err
        monkeypatch.setattr(sys, "stdout", full)
        assert command(*SHORT, f"data.path={text_file}").code == 0
        monkeypatch.undo()


def test_a_process_that_is_killed_as_it_writes_a_line_does_not_block_another(
    small: Small, tmp_path: Path
) -> None:
    """Both forked, as the workers of a pool may be, from one that has trained."""

    class Deadly(io.StringIO):
        def write(self, text: str) -> int:
            die()
            return len(text)

    def work(screen: io.StringIO, seed: int) -> int:
        with contextlib.redirect_stdout(screen):
            return run_experiment(small(f"seed={seed}", "trainer.max_steps=2"), tmp_path).exit_code

    console.setup()
    assert work(io.StringIO(), 0) == 0
    assert forked(lambda: work(Deadly(), 1)) == -signal.SIGKILL
    assert forked(lambda: work(io.StringIO(), 1)) == 0


@pytest.mark.slow
def test_J5_no_file_of_a_run_takes_the_place_of_a_stream(tmp_path, small):
    config: Config = small()
    words = [*SHORT, f"data.path={config.data.path}"]
    line = f'exec "{sys.executable}" "{ROOT / "run.py"}" "$@" <&- >&- 2>&-'
    ended = subprocess.run(["sh", "-c", line, "sh", *words], cwd=tmp_path, check=False)
    assert ended.returncode == 0
    [run] = tmp_path.glob("outputs/*/*")
    assert (run / "run.log").read_text().count("\n") > 5
