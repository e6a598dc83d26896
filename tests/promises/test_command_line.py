"""What `python run.py` says of a mistake, and that its quick commands stay quick."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_runs import CHOICES, ONE_LINE, ROOT, only

from gptexp.cli.app import main
from gptexp.config import grid

# A1, A2, A9, A11: what the command line says


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("model.n_embdd=3", "model.n_embd"),
        ("optim.learning_rate=1", "optim."),
        ("sede=1", "seed"),
    ],
)
def test_A1_a_misspelt_key_is_named_with_the_nearest_real_one(refused, given, near):
    line = only(refused(given))
    assert line.startswith(f"{given.partition('=')[0]}: ")
    assert near in line.replace(given.partition("=")[0], "")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("+model.n_embdd=3", "model.n_embd"),
        ("++model.n_embdd=3", "model.n_embd"),
        ("+sede=1", "seed"),
    ],
)
def test_A2_a_plus_before_a_misspelt_key_does_not_let_it_pass(refused, given, near):
    line = only(refused(given))
    assert line.startswith(f"{given.strip('+').partition('=')[0]}: ")
    assert re.search(rf"\b{re.escape(near)}\b", line.partition(": ")[2])


def test_A1_a_key_like_no_other_is_answered_with_the_keys_there_are(refused):
    line = only(refused("zzzzzzzz=1"))
    assert line.startswith("zzzzzzzz: ")
    assert "seed" in line


def test_A1_a_key_of_another_variant_is_answered_with_the_keys_of_this_one(refused):
    line = only(refused("optim=sgd", "optim.beta1=0.9"))
    assert line.startswith("optim.beta1: ")
    assert "optim.momentum" in line


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("optim=adm", "optim=adam"),
        ("model=meduim", "model=medium"),
        ("recipe=mediun", "recipe=medium"),
        ("recipe=tiny,smal", "recipe=small"),
        ("experiment=nanogpt_shakespear", "experiment=nanogpt_shakespeare"),
        ("tokenizer=words", "for one"),
    ],
)
def test_A1_a_choice_that_does_not_exist_is_answered_with_those_that_do(refused, given, fix):
    line = only(refused(given))
    for choice in CHOICES[given.partition("=")[0]]:
        assert choice in line
    assert fix in line.partition("Fix: ")[2]


def test_A1_a_wrong_key_refuses_a_whole_sweep(refused):
    assert "model.n_embdd" in only(refused("-m", "model.n_embdd=3", "seed=1,2"))


@pytest.mark.parametrize("given", ["model=null", "~model", "~seed", "~trainer.batch_size"])
def test_A1_what_cannot_be_left_out_is_named(refused, given):
    assert given.strip("~").partition("=")[0].rpartition(".")[2] in only(refused(given))


def test_A1_a_comma_list_without_multirun_is_answered_with_the_flag(refused):
    line = only(refused("seed=1,2"))
    assert "seed" in line
    assert re.search(r"-m\b|--multirun", line.partition("Fix: ")[2])


@pytest.mark.parametrize(
    ("arguments", "line", "config"),
    [
        (["seed=1", "seed=2"], "seed is given again: 2 counts, and not 1", "seed: 2\n"),
        (["seed=1", "++seed=1"], "", "seed: 1\n"),
        (["name=a\nb", "name=c"], r"name is given again: c counts, and not a\nb", "name: c\n"),
        (
            ["model=tiny", "optim.lr=1", "model=small"],
            "model is given again: small counts, and not tiny",
            "  name: small\n",
        ),
    ],
)
def test_A9_of_a_key_given_twice_the_last_counts_with_a_note(command, arguments, line, config):
    shown = command(*arguments, "--cfg", "job")
    assert shown.code == 0
    assert shown.err == (f"gptexp: warning: {line}\n" if line else "")
    assert config in shown.out


def test_A9_every_key_that_is_given_twice_is_noted(command):
    shown = command("seed=1", "seed=2", "name=a", "name=b", "--cfg", "job")
    assert len(shown.err.splitlines()) == 2


def test_A9_of_a_swept_key_too(warnings):
    assert len(grid.of_command(["-m", "seed=1,2", "seed=3"])) == 1
    assert warnings() == ["seed is given again: 3 counts, and not 1,2"]


def test_A9_one_key_of_two_sections_is_not_given_twice(command):
    shown = command("model.name=a", "data.name=a", "name=a", "--cfg", "job")
    assert (shown.code, shown.err) == (0, "")


@pytest.mark.parametrize("bare", ["seed", "seed=[a"])
def test_A11_an_argument_that_is_no_override_is_shown(refused, bare):
    assert only(refused(bare)).startswith(bare)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("name: mine\n n_layer: 3\n", 2),
        ("name: mine\nn_layer: [\n", 3),
        ("\tname: mine\n", 1),
        ("name: mine\nn_layer: 1\nn_layer: 2\n", 3),
    ],
)
def test_A11_broken_yaml_is_named_with_file_and_line(refused, tmp_path, content, line):
    shown = refused_file(refused, tmp_path, content.encode())
    assert "mine.yaml" in shown
    assert re.search(rf"line {line}\b", shown)


def test_A11_a_config_file_that_is_not_text_is_named(refused, tmp_path):
    assert "mine.yaml" in refused_file(refused, tmp_path, b"\xff\xfe bad")
    assert "mine.yaml" in only(refused("--config-dir", str(tmp_path / "own"), "model=mine"))


@pytest.mark.parametrize("content", ["n_layr: 3\n", "n_layer: abc\n"])
def test_A11_a_wrong_key_or_type_in_a_file_is_named_with_the_file(refused, tmp_path, content):
    shown = refused_file(refused, tmp_path, f"defaults: [laptop, _self_]\n{content}".encode())
    assert "n_layer" in shown
    assert "model/mine" in shown


def refused_file(refused: Callable[..., list[str]], tmp_path: Path, content: bytes) -> str:
    """What the command says of a model file of the user's own."""
    folder = tmp_path / "own" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_bytes(content)
    return only(refused(f"--config-dir={folder.parent}", "model=mine"))


def test_A11_a_missing_config_file_is_named(refused):
    assert "nowhere" in only(refused("--config-name=nowhere"))


def test_A11_a_missing_config_folder_is_named_and_not_called_a_type(refused, tmp_path):
    line = only(refused(f"--config-dir={tmp_path / 'nowhere'}"))
    assert "nowhere" in line
    assert "type" not in line


def test_A11_a_value_that_must_be_given_is_named_with_how_to_give_it(refused):
    line = only(refused("data=text"))
    assert line.startswith("data.path: ")
    assert "data.path=" in line.partition("Fix: ")[2]


def test_A11_an_interpolation_of_nothing_is_named(refused):
    line = only(refused("model.n_layer=${nope}"))
    assert line.startswith("model.n_layer: ")
    assert "nope" in line


# Processes: what a shell sees, and that the quick commands stay quick


def test_the_quick_commands_do_not_import_torch(tmp_path, finished):
    """--cfg, --help, completion and a wrong key answer without torch, numpy or TensorBoard.

    A table and the help of both commands do without Hydra too.
    """
    script = """
import contextlib, os, runpy, sys
heavy = {"torch", "numpy", "tensorboard", "tqdm"}
from gptexp.cli import main
for arguments in (["--help"], ["table", "outputs"]):
    sys.argv = ["gptexp", *arguments]
    try:
        main()
    except SystemExit as ended:
        print("verb", ended.code)
loaded = {*heavy, "hydra", "omegaconf"} & set(sys.modules)
assert not loaded, loaded
line = "python run.py model="
os.environ |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
for arguments in (["--cfg", "job"], ["--help"], ["-sc", "query=bash"], ["model.n_embdd=3"]):
    sys.argv = [os.environ["RUN_PY"], *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        print("code", ended.code)
    assert not heavy & set(sys.modules), (arguments, heavy & set(sys.modules))
import gptexp, gptexp.config, gptexp.errors
assert not heavy & set(sys.modules), "the package"
"""
    environment = os.environ | {"RUN_PY": str(ROOT / "run.py"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("verb 0") == 2
    assert done.stdout.count("code 0") == 3
    assert done.stdout.count("code 2") == 1
    assert {f"model={name}" for name in CHOICES["model"]} <= set(done.stdout.split())
    sweeps = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))
    for group, choices in {**CHOICES, "sweeps": sweeps}.items():
        assert f"  {group}  " in done.stdout and all(name in done.stdout for name in choices)


def test_a_shell_sees_exit_code_2_and_one_line_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "model.n_embdd=3"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"gptexp: error: model\.n_embdd: .+\n", done.stderr)


@pytest.mark.parametrize(
    ("typed_so_far", "offered"),
    [
        ("", {f"{group}=" for group in CHOICES} | {"model.", "trainer.", "seed="}),
        ("model.n_", {"model.n_layer=", "model.n_head=", "model.n_embd="}),
    ],
)
def test_tab_completion_offers_groups_choices_and_keys(command, monkeypatch, typed_so_far, offered):
    line = f"python run.py {typed_so_far}"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    result = command("-sc", "query=bash")
    assert result.code == 0
    assert offered <= set(result.out.split())


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("optim.lr=abc", "optim.lr=0.1, a number"),
        ("seed=1.5", "a whole number"),
        ("rerun=maybe", "rerun=true or false"),
        ("trainer.on_overfit=stopp", "trainer.on_overfit=stop"),
        ("data=my.txt", "data=text data.path=my.txt"),
        ("seed=range(0,3)", "run.py -m"),
        ("~optim.lr", "optim.lr=VALUE"),
        ("optim.lr", "optim.lr=VALUE"),
        ("data=~/my.txt", "data=text 'data.path=~/my.txt'"),
    ],
)
def test_A1_the_fix_is_something_to_type(refused, given, fix):
    assert fix in only(refused(given)).partition("Fix: ")[2]


# The verbs


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sampel"], "sampel"),
        (["sample"], "'run'"),
        (["sample", "--nmu", "3", "x"], "--nmu"),
        (["sample", "x", "--num", "many"], "--num"),
        (["table", "--by"], "--by"),
        ([], None),
        (["--version"], None),
    ],
)
def test_a_wrong_word_to_a_verb_is_one_line(words, named, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gptexp", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    if named is None:
        assert not ended.value.code
        assert "gptexp" in shown.out
        return
    assert ended.value.code == 2
    line = only(shown.err.splitlines()).removeprefix("gptexp: error: ")
    assert named in line
    assert ONE_LINE.fullmatch(line), line
