"""I1 to I8: a run directory from somebody else, whatever its files hold, is read or refused."""

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest
from fuzzing import in_a_process
from interruptions import forked, only_run, stop_before_step
from mutations import Mutation, of_bytes, of_values
from run_directories import write_run
from small_runs import ROOT, SMALL, refusal

import gptexp
from gptexp import files
from gptexp.analysis import diff
from gptexp.analysis.records import read_config
from gptexp.analysis.render import render_table
from gptexp.analysis.table import Query, build_table
from gptexp.cli.app import main
from gptexp.config import Config
from gptexp.errors import GptexpError
from gptexp.experiment.ensemble import ensemble
from gptexp.experiment.evaluate import evaluate_run
from gptexp.experiment.identity import Identity
from gptexp.experiment.run import run_experiment
from gptexp.experiment.screen import show_again, show_summary
from gptexp.interchange.dashboards import export_dashboard
from gptexp.playground.page import write_playground
from gptexp.report import style
from gptexp.report.figures import ReportFigure
from gptexp.report.page import write_report
from gptexp.report.plot import plot
from gptexp.report.results import read_results
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep.plan import progress

Door = Callable[[Path, Config], object]


def identity_of(run: Path) -> Identity:
    return Identity("a" * 64, None, "b" * 64, RunDirectory(run))


def table(run: Path, _: Config) -> None:
    """And a whole run beside it is shown whatever the other one holds."""
    made = build_table([run.parent])
    for form in ("text", "csv", "json"):
        assert "whole" in render_table(made, form)


READERS: dict[str, Door] = {
    "table": table,
    "groups": lambda run, _: render_table(
        build_table([run.parent], Query(by=["model.n_embd"])), "text"
    ),
    "diff": lambda run, _: diff.report(run, next(run.parent.glob("*whole*"))),
    "results": lambda run, _: read_results(run.parent),
    "plan": lambda run, config: progress(config, identity_of(run), 12),
}

SLOW_READERS: dict[str, Door] = {
    "report": lambda run, _: write_report(run.parent, run.parents[1] / "page"),
    "playground": lambda run, _: write_playground([run], run.parents[1] / "p.html", "float16"),
    "plot": lambda run, _: plot([run.parent], "step", run.parents[1] / "a.png"),
    "sample": lambda run, _: gptexp.load(run).sample(tokens=2),
    "evaluate": lambda run, _: evaluate_run(run, "val", []),
    "ensemble": lambda run, _: ensemble([run], counts=True).table(),
    "export": lambda run, _: export_dashboard(run, "tensorboard"),
}


@pytest.fixture
def config(small) -> Config:
    return small("trainer.keep=all")


@pytest.fixture(params=["done", "killed"])
def original(request, config, tmp_path) -> Path:
    """The directory of a run that is done, or that was killed at step 9 of 12."""
    outputs = tmp_path / "original"
    if request.param == "killed":
        stop_before_step(config, outputs, 9)
    else:
        run_experiment(config, outputs)
    return only_run(config, outputs)


@pytest.fixture
def copied(original, tmp_path) -> Callable[[Mutation], Path]:
    """`copied(mutation)`: the directory in outputs/, mutated, beside a whole run."""
    folder = tmp_path / "outputs" / original.parent.name
    whole = write_run(folder)
    whole.rename(folder / "whole")

    def copy(mutation: Mutation) -> Path:
        for other in folder.iterdir():
            if other.name != "whole":
                shutil.rmtree(other)
        run = Path(shutil.copytree(original, folder / original.name))
        mutation.apply(run)
        return run

    return copy


def all_of(run: Path) -> Iterator[Mutation]:
    yield from of_bytes(run)
    yield from of_values(run)


def refused_in_one_line(door: Door, run: Path, config: Config, label: str) -> bool:
    """Whether it was refused, properly; what it raises else goes through, with the label."""
    try:
        door(run, config)
    except GptexpError as error:
        assert error.exit_code != 1, label
        assert all("\n" not in str(problem) for problem in error.problems), label
        return True
    except Exception as error:
        raise AssertionError(label) from error
    return False


def test_I1_I2_whatever_a_file_holds_the_verbs_read_or_refuse_it(original, copied, config):
    mutations = [*islice(of_bytes(original), 0, None, 3), *islice(of_values(original), 0, None, 61)]
    assert len(mutations) > 60
    for mutation in mutations:
        run = copied(mutation)
        for door in READERS.values():
            refused_in_one_line(door, run, config, mutation.label)


def run_again(run: Path, config: Config, label: str) -> None:
    outcome = run_experiment(config, run.parents[1])
    assert outcome.exit_code in (0, 2, 4), (label, outcome.error)
    assert "\n" not in outcome.error


def test_I1_I2_whatever_a_file_holds_the_run_goes_on_or_is_refused(
    original, copied, config, caplog
):
    mutations = [
        *islice(of_bytes(original), 0, None, 17),
        *islice(of_values(original), 0, None, 211),
    ]
    assert len(mutations) > 10
    for mutation in mutations:
        run_again(copied(mutation), config, mutation.label)
    assert "bug" not in caplog.text


@pytest.fixture
def drawn_once(monkeypatch) -> None:
    """Each figure of a report in one of its shapes; as a PNG `plot` draws it."""
    monkeypatch.setattr(
        ReportFigure,
        "svgs",
        lambda self: [style.svg(self.draw(self.shapes[0], False), self.name)],
    )
    monkeypatch.setattr(ReportFigure, "png", lambda self: b"")


@pytest.mark.drawn
@pytest.mark.slow(minutes=2)
def test_I1_I2_every_mutation_of_every_file(original, copied, config, caplog, drawn_once):
    caplog.set_level(logging.ERROR)
    every = 1 if (original / "summary.json").exists() else 3
    count = 0
    for number, mutation in enumerate(islice(all_of(original), 0, None, every)):
        run = copied(mutation)
        for door in READERS.values():
            refused_in_one_line(door, run, config, mutation.label)
        if number % 31 == 0:
            for door in SLOW_READERS.values():
                refused_in_one_line(door, run, config, mutation.label)
            run_again(run, config, mutation.label)
        count += 1
    assert count * every > 1500
    assert "bug" not in caplog.text, caplog.text


@pytest.mark.drawn
@pytest.mark.slow
def test_I1_I2_a_hundred_mutations_as_processes(small, tmp_path):
    """So is what stands around the readers, which takes a process of its own to see."""
    config = small("name=mutated")
    original = run_experiment(config, tmp_path / "original").path
    (whole := write_run(tmp_path / "outputs" / "mutated")).rename(whole.with_name("whole"))
    run, codes = whole.with_name(original.name), Counter()
    again = [ROOT / "run.py", f"data.path={config.data.path}", "name=mutated", *SMALL]
    commands = [
        ["-m", "gptexp.cli", "table", whole.parent],
        ["-m", "gptexp.cli", "diff", run, whole.with_name("whole")],
        ["-m", "gptexp.cli", "table", run, "--by", "model.n_embd", "--format", "json"],
        again,
    ]
    mutations = [*islice(of_bytes(original), 0, None, 5), *islice(of_values(original), 0, None, 21)]
    for mutation, command in zip(mutations, cycle(commands), strict=False):
        mutation.apply(Path(shutil.copytree(original, run)))
        result = in_a_process(*command, cwd=tmp_path)
        assert result.code in (0, 2, 4), (mutation.label, result.err)
        assert "Traceback" not in result.err and "a bug" not in result.err, mutation.label
        if command is commands[0]:
            assert "whole" in result.out, mutation.label
        codes[result.code] += 1
        shutil.rmtree(run)
    print(f"\nmutated directories, by the exit code of a process: {dict(codes)}")
    assert codes.total() >= 100 and codes[0] and codes[2]


def test_I7_a_sample_gives_a_terminal_no_orders(small, tmp_path, monkeypatch, capsys):
    text = tmp_path / "orders.txt"
    text.write_text("\x1b[2J\x9b\u202e" * 200)
    run = run_experiment(small(f"data.path={text}"), tmp_path / "outputs").path
    monkeypatch.setattr("sys.argv", ["gptexp", "sample", str(run), "--prompt", "[2J"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert (ended.value.code, "[2J" in shown) == (0, True)
    assert "\\x1b" in shown or "\\u009b" in shown
    assert not {"\x1b", "\x9b", "\u202e"} & set(shown)


def test_J2_what_may_not_be_read_is_not_to_be_deleted(finished, monkeypatch):
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files, "open_regular", refuse)
    directory = RunDirectory(finished)
    for read in (
        directory.summary,
        directory.manifest,
        directory.config,
        lambda: read_config(finished),
    ):
        assert refusal(read).endswith("Permission denied. Fix: make it readable")


@pytest.mark.parametrize("name", [".lock", "run.log", "status.json", "manifest.json"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_I2_what_a_run_writes_is_waited_for_nowhere(small, tmp_path, name, make):
    config = small()
    stop_before_step(config, tmp_path, 7)
    run = only_run(config, tmp_path)
    (run / name).unlink(missing_ok=True)
    make(run / name)
    assert forked(lambda: run_experiment(config, tmp_path).exit_code) in (0, 2, 4)
    if (run / name).is_dir() and name != "run.log":
        said = run_experiment(config, tmp_path).error
        assert f"{name}: " in said
        (run / name).rmdir()
        assert run_experiment(config, tmp_path).state == "done", said


@pytest.mark.parametrize("tokenizer", ["x", [], {"name": []}, {"name": "nobody's"}, None])
def test_I1_a_summary_of_an_odd_config_is_shown_again(finished, tokenizer, caplog):
    summary = json.loads((finished / "summary.json").read_text())
    summary["config"]["tokenizer"] = tokenizer
    show_summary(summary, finished)
    (finished / "summary.json").write_text(json.dumps(summary))
    caplog.set_level(logging.INFO, "gptexp")
    config = RunDirectory(finished).config()
    show_again(Outcome(RunState.already_done), RunDirectory(finished), config)
    assert any(line.endswith("5 tokens") for line in caplog.messages)
