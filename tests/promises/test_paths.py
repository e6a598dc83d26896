"""`~` in every path that a run or a verb takes, and folders that are links or no folders."""

import shutil
from pathlib import Path

import pytest
from small_runs import SMALL

import gptexp
from gptexp import assets
from gptexp.config import grid
from gptexp.config.words import as_typed
from gptexp.data.find import find_corpus
from gptexp.data.read import corpus_digest
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory

SHORT = [word.replace("max_steps=12", "max_steps=2") for word in SMALL]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def verb(gptexp):
    """`verb("table", "~/outputs")`: the exit code, and what is shown."""

    def call(*words: str) -> tuple[int, str]:
        code, out, err = gptexp(*words)
        return code, out + err

    return call


def test_J4_a_run_takes_its_text_and_its_weights_from_home(command, home, text_file, finished):
    shutil.copy(text_file, home / "my text.txt")
    shutil.copytree(finished, home / "first")
    words = [*SHORT, "data.path=~/my text.txt"]
    assert command(*words).code == 0
    assert command(*words, "init_from=~/first").code == 0
    assert len(list(Path("outputs/default").iterdir())) == 2
    assert not Path("~").exists()


def test_J4_a_sweep_takes_several_and_hydras_folders_are_at_home_too(home):
    points = grid.of_command(["-m", "data=text", "data.path=~/a.txt,~/it's.txt"])
    assert [config.data.path for _, config in points] == ["~/a.txt", "~/it's.txt"]
    assert as_typed(["hydra.sweep.dir=~/x"]) == [f"hydra.sweep.dir={home}/x"]


def test_J4_the_cache_may_be_at_home(home, monkeypatch):
    monkeypatch.setenv("GPTEXP_DATA_DIR", "~/cache")
    assert assets.cache_folder() == home / "cache"


def test_J4_so_may_what_a_verb_takes(home, finished, verb):
    shutil.copytree(finished.parent.parent, home / "outputs")
    run = f"~/outputs/{finished.parent.name}/{finished.name}"
    for words in (
        ["table", "~/outputs", "~/outputs/default"],
        ["sample", run, "--tokens=1"],
        ["evaluate", f"{run}/checkpoints/step-12.pt"],
        ["diff", run, run],
        ["sample", "best:~/outputs", "--tokens=1"],
        ["reproduce", "latest:~/outputs"],
        ["export", run, "--to=tensorboard"],
    ):
        code, shown = verb(*words)
        assert code == 0, shown
    assert gptexp.load(run).step == 12
    assert verb("table", "~nobody-here/outputs")[0] == 2
    assert verb("import", "~/none.json")[1].count("\n") == 1


def test_J4_so_may_a_folder_of_configs(command, home):
    (home / "own" / "model").mkdir(parents=True)
    (home / "own" / "model" / "mine.yaml").write_text("defaults: [tiny, _self_]\nn_embd: 24\n")
    shown = command("--config-dir=~/own", "model=mine", "--cfg", "job")
    assert (shown.code, "n_embd: 24" in shown.out) == (0, True)


def test_J4_a_text_of_nobody_s_home_is_looked_for_elsewhere(finished, tmp_path):
    config = RunDirectory(finished).config()
    sha256 = corpus_digest(config.data)
    shutil.copy(str(config.data.path), tmp_path / "text.txt")
    config.data.path = "~nobody-here/text.txt"
    assert find_corpus(config.data, sha256, finished).path == str(tmp_path / "text.txt")


@pytest.mark.slow
def test_J4_so_may_what_a_verb_draws_and_explains(home, finished, verb):
    shutil.copytree(finished, home / "outputs" / "run")
    for words in (
        ["explain", "~/outputs/run"],
        ["report", "~/outputs", "--to=~/page"],
        ["plot", "~/outputs", "--to=~/cliff.svg"],
    ):
        code, shown = verb(*words)
        assert code == 0, shown
    assert (home / "page" / "index.html").exists() and (home / "cliff.svg").exists()


@pytest.mark.parametrize("kind", ["a file", "a dangling link", "a link to itself"])
def test_D7_outputs_that_are_no_folder_are_called_what_they_are(command, text_file, kind):
    if kind == "a file":
        Path("outputs").write_text("mine")
    else:
        Path("outputs").symlink_to("gone" if kind == "a dangling link" else "outputs")
    what = "a file where" if kind == "a file" else "a link to "
    line = f"outputs: {what}"
    alone = command(*SHORT, f"data.path={text_file}")
    assert alone.code == 4
    assert alone.errors[0].startswith(line)
    sweep = command("-m", *SHORT, f"data.path={text_file}", "seed=0,1")
    assert sweep.code == 1
    rows = [row for row in sweep.out.splitlines() if row.startswith("failed ")]
    assert len(rows) == 2 and all(line in row and "Fix: move it" in row for row in rows)
    option = command("--config-dir=.", *SHORT, f"data.path={text_file}")
    assert (option.code, option.errors[0][: len(line)]) == (4, line)


@pytest.mark.parametrize("door", ["a run", "a verb"])
def test_D7_a_current_folder_that_was_removed_is_one_line(command, verb, tmp_path, door):
    (tmp_path / "work").rmdir()
    if door == "a run":
        code, shown = (result := command("seed=1")).code, result.err
    else:
        code, shown = verb("table", str(tmp_path))
    assert (code, shown.count("\n")) == (4, 1)
    assert "the current folder: not there any more" in shown


def test_B3_a_linked_folder_of_runs_is_found_and_cycles_are_not_followed(
    small, tmp_path, verb, finished
):
    outputs, disk = tmp_path / "here", tmp_path / "disk"
    outputs.mkdir()
    shutil.copytree(finished, disk / finished.name)
    (outputs / "default").symlink_to(disk)
    (outputs / "again").symlink_to(disk)
    (outputs / "itself").symlink_to("itself")
    (outputs / "up").symlink_to(tmp_path)
    (disk / "back").symlink_to(outputs)
    (disk / "round").symlink_to(disk)
    code, shown = verb("table", str(outputs))
    assert (code, shown.count(finished.name)) == (0, 1)


def test_D6_a_disk_that_is_full_for_the_log_too_ends_with_the_reason(small, tmp_path, monkeypatch):
    from gptexp.training.trainer import Trainer

    def fill(self: Trainer) -> None:
        self.parts.tracker.metrics.file.close()
        self.parts.tracker.metrics.file = Path("/dev/full").open("a")  # noqa: SIM115

    config = small()
    whole = run_experiment(config, tmp_path / "whole").path
    run = tmp_path / "full" / whole.parent.name / whole.name
    run.mkdir(parents=True)
    (run / "run.log").symlink_to("/dev/full")
    with monkeypatch.context() as patch:
        train_step = Trainer.train_step
        patch.setattr(Trainer, "train_step", lambda self: (fill(self), train_step(self))[1])
        outcome = run_experiment(config, tmp_path / "full")
    assert (outcome.exit_code, "metrics.jsonl: No space left" in outcome.error) == (4, True)
    assert run_experiment(config, tmp_path / "full").state == "done", "without a log"
