"""`python -m gptexp.reference`: what it prints, and each of its errors in one line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import ONE_LINE, ROOT, only

from gptexp import reference


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "few.txt"
    path.write_text("\n emma \n\nolivia\r\nava\n")
    return path


def shown(capsys, *arguments):
    """Standard output of the command, line by line."""
    reference.main([str(argument) for argument in arguments])
    return capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_the_command_trains_and_samples(names, capsys):
    lines = shown(capsys, names, "--steps", 3, "--samples", 4)
    assert lines[0] == "3 documents, 8 tokens, 3584 parameters"
    assert [line.partition(":")[0] for line in lines[1:4]] == [f"step {i} of 3" for i in (1, 2, 3)]
    assert len(lines) == 4 + 4
    assert all(set(name) <= set("emaolivia") for name in lines[4:])


@pytest.mark.slow
def test_the_command_gives_the_same_for_the_same_seed(names, capsys):
    one, same, other = (
        shown(capsys, names, "--steps", 2, "--seed", seed, "--samples", 2) for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def test_without_a_file_the_command_reads_names_in_the_cache(names, capsys, monkeypatch):
    names.rename(names.with_name("names.txt"))
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(names.parent))
    assert shown(capsys, "--steps", 0, "--samples", 0) == ["3 documents, 8 tokens, 3584 parameters"]
    monkeypatch.delenv("GPTEXP_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(names.parent / "cache"))
    folder = names.parent / "cache" / "gptexp"
    folder.mkdir(parents=True)
    (folder / "names.txt").write_text("ab\n")
    assert shown(capsys, "--steps", 0, "--samples", 0)[0].startswith("1 documents, 3 tokens")


def refused(capsys, *arguments):
    """The one line that the command leaves, without its prefix."""
    with pytest.raises(SystemExit) as ended:
        reference.main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    line = only(capsys.readouterr().err.splitlines())
    assert line.startswith("gptexp: error: ")
    line = line.removeprefix("gptexp: error: ")
    assert ONE_LINE.fullmatch(line), line
    return line


def test_a_missing_cache_is_one_line_that_says_how_to_fetch_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GPTEXP_DATA_DIR", str(tmp_path))
    line = refused(capsys)
    assert line.startswith("names.txt: cannot be read")
    assert str(tmp_path / "names.txt") in line
    assert "Fix: python run.py data=names fetches it, or give a" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "holds no text"),
        (b" \n\t\n", "holds no text"),
        (b"emma\n\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 5"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, capsys, content, said):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    line = refused(capsys, path)
    assert line.startswith(f"{path}: ")
    assert said in line
    assert "Fix: give a UTF-8 file with a name a line" in line


def test_a_folder_and_a_name_of_two_lines_are_one_line_too(tmp_path, capsys):
    assert "directory" in refused(capsys, tmp_path)
    assert "two\\nlines" in refused(capsys, "two\nlines")


@pytest.mark.parametrize("arguments", [["--steps", "many"], ["--stepps", "3"], ["--seed"]])
def test_bad_options_are_one_line(capsys, arguments):
    assert refused(capsys, *arguments).endswith("python -m gptexp.reference --help")


def test_a_byte_order_mark_is_not_a_character(tmp_path):
    path = tmp_path / "bom.txt"
    path.write_text("emma\n", encoding="utf-8-sig")
    assert reference.read_documents(path) == ["emma"]


def test_ctrl_c_ends_the_command_quietly_with_130(names):
    command = [sys.executable, "-m", "gptexp.reference", str(names), "--steps", "1000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline().startswith("3 documents")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""


@pytest.mark.slow
def test_a_reader_that_had_enough_is_no_error(names):
    command = [sys.executable, "-m", "gptexp.reference", str(names), "--steps", "20"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        assert process.stdout.readline().startswith("3 documents")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
