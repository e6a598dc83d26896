"""What a sweep says: a line for each thing that happens to a point, its table, what is next."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from interruptions import before
from omegaconf import OmegaConf
from small_runs import SMALL, only
from sweep_runs import only_path, rows, table

from gptexp import console
from gptexp.console import Lead
from gptexp.experiment import train
from gptexp.files import write_text
from gptexp.runs.directory import RunDirectory
from gptexp.runs.state import Outcome, RunState
from gptexp.sweep import points as sweep_points
from gptexp.sweep.points import LEAD, VERBOSE, SweepPoint, labels, number, told, train_point
from gptexp.sweep.screen import show_end, show_over
from gptexp.training.trainer import Trainer


@pytest.fixture
def numbered(small):
    """Points of these overrides, as a sweep has them."""

    def call(*overrides: list[str]) -> list[SweepPoint]:
        found = [SweepPoint(words, small(*words)) for words in overrides]
        number(found)
        return found

    return call


@pytest.mark.slow
def test_a_point_is_a_few_lines_that_begin_with_its_number_and_label(runs):
    shown = runs("seed=0,1", "model.n_layer=1,2").out
    second = [line for line in shown.splitlines() if line.startswith("2/4  n_layer=2 s0  ")]
    words = [line.removeprefix("2/4  n_layer=2 s0  ") for line in second]
    assert re.fullmatch(r"starts: 12 steps, about 0:\d\d", words[0])
    assert [line[:13] for line in words[1:5]] == [f"step {n:>2} of 12" for n in (0, 4, 8, 12)]
    assert re.fullmatch(r"done, best \d\.\d{4}; 2 of 4 points over, about 0:0\d left", words[5])
    assert len(words) == 6
    assert "done, best" in shown
    assert "4 of 4 points over\n" in shown


def test_what_holds_for_all_is_said_by_the_first_point_alone(runs):
    shown = runs("seed=0,1").out
    assert only(re.findall(r"(.+)  on cpu, float32, 1 thread\n", shown)) == "1/2  s0"
    assert only(re.findall(r"(.+)  \S+/text.txt: [\d,]+ characters", shown)) == "1/2  s0"


@pytest.mark.slow
def test_details_are_in_the_run_s_log_and_with_v_on_the_screen(runs, monkeypatch):
    log = "sample  from the best weights", "   step   tokens  epochs"
    shown = runs("seed=0,1").out
    assert not any(text in shown for text in log)
    for run in (only_path("*-s0-*"), only_path("*-s1-*")):
        kept = RunDirectory(run).log.read_text()
        assert all(text in kept for text in log)
        assert "starts: " not in kept, "what is brief stands there in full"
    monkeypatch.setenv(VERBOSE, "1")
    shown = runs("seed=2,3").out
    assert all(shown.count(text) == 2 for text in log)
    assert "\n1/2  s2\nmodel   " in shown
    assert "1/2  s2  done, best" in shown
    assert "starts: " not in shown


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_v_is_taken_from_the_command_line_before_hydra_reads_it(command_runs, monkeypatch, flag):
    monkeypatch.setenv(VERBOSE, "")
    result = command_runs("seed=0,1", flag)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("sample  from the best weights") == 2
    assert os.environ[VERBOSE] == "1"


def test_help_names_v(command):
    assert " -v " in command("--help").out


@pytest.mark.slow
def test_a_sweep_of_one_point_says_what_a_single_run_says(command_runs, command, text_file):
    swept = command_runs("seed=0").out
    shutil.rmtree("outputs")
    single = command(*SMALL, f"data.path={text_file}", "seed=0").out
    lines = [re.sub(r"(?<=e-0\d) .*|\d+:\d\d", "", out).splitlines() for out in (swept, single)]
    assert [x.split() for x in lines[0][: len(lines[1])]] == [x.split() for x in lines[1]]
    assert lines[0][len(lines[1]) + 1] == "1 point: 1 done"
    assert "best    " not in "\n".join(lines[0][len(lines[1]) :])


def test_errors_and_warnings_of_a_point_are_on_the_screen_behind_its_label(runs, monkeypatch):
    def fail(trainer):
        if trainer.state.seed == 1:
            sweep_points.log.warning("careful")
            raise ZeroDivisionError("oops")

    before(Trainer, "train_step", fail, monkeypatch)
    result = runs("seed=0,1")
    warning, error = result.err.splitlines()
    assert warning == "gptexp: warning: 2/2 s1: careful"
    assert error.startswith("gptexp: error: 2/2 s1: outputs/")
    assert "ZeroDivisionError: oops" in error
    assert "2/2  s1  failed; 2 of 2 points over\n" in result.out


@pytest.mark.slow
def test_the_table_has_the_best_first_and_what_to_type_is_below_it(runs):
    result = runs("model.n_head=3,1", "optim.lr=1e-9,1e-2", "logger=none,tensorboard")
    shown = rows(result.out)
    best = [float(row.best) for row in shown if row.best]
    assert best == sorted(best)
    assert [row.state for row in shown][len(best) :] == ["refused"] * 4
    assert [row.number for row in shown][len(best) :] == [1, 2, 3, 4]
    label, run = re.split(r"  +", shown[0].rest)
    end = result.out.partition("\nbest    ")[2].splitlines()
    assert end[0] == f"{shown[0].best} at {label}: outputs/default/{run}"
    assert end[1:] == [
        "next    gptexp table outputs/default",
        "        gptexp report outputs/default",
        f"        gptexp sample outputs/default/{run}",
        "        gptexp tensorboard outputs/default",
    ]


def test_of_several_tokenizers_no_point_is_the_best(runs):
    result = runs("tokenizer=byte,char", "trainer.max_steps=2")
    assert [row.number for row in rows(result.out)] == [1, 2], "in the order of the command"
    end = result.out.partition("\nbest    ")[2].splitlines()
    assert end[0] == "by bits per byte, which gptexp table has: these are of several tokenizers"
    assert end[-1].strip() == "gptexp sample best:outputs/default"


def test_of_points_that_are_judged_otherwise_none_is_the_best(runs):
    result = runs("data.val_fraction=0.3,0.2", "trainer.max_steps=2")
    end = result.out.partition("\nbest    ")[2].splitlines()
    assert end[0] == "none: these are judged on several texts, or otherwise than each other"


def test_a_sweep_without_a_result_ends_with_its_table(runs):
    result = runs("model.n_head=3,5")
    assert "best " not in result.out.partition("state")[2].partition("\n")[2]


@pytest.mark.slow
def test_one_config_under_two_names_is_trained_once_and_says_so(runs, trained):
    shown = runs("name=a,b", "seed=0,1").out
    assert len(trained) == 2
    assert [row.rest.endswith(", reused from a") for row in table(shown)] == [False] * 2 + [
        True
    ] * 2
    assert re.search(r"3/4  name=b s0  done, best .*, reused from a; 3 of 4 points over", shown)
    again = runs("name=c", "seed=0,1").out
    assert len(trained) == 2
    assert again.startswith("done          2 of 2 points, reused from a\n")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=0", "seed=1"], ["s0", "s1"]),
        (["optim.lr=1e-3", "optim.lr=3e-3"], ["lr=0.001", "lr=0.003"]),
        (["optim.lr=1e-3", "optim.lr=0.001"], ["optim.lr=1e-3", "optim.lr=0.001"]),
        (['name="1.10"', "name=a"], ["name=1.10", "name=a"]),
        (
            ["trainer.sample_top_k=null", "trainer.sample_top_k=3"],
            ["sample_top_k=null", "sample_top_k=3"],
        ),
        (["model='tiny'", "model=laptop"], ["model=tiny", "model=laptop"]),
    ],
)
def test_a_label_is_what_varies_as_one_would_say_it(numbered, overrides, expected):
    assert labels(numbered(*([word] for word in overrides))) == expected


def test_a_label_leaves_out_what_all_points_have(numbered):
    points = numbered(["optim.lr=1e-2", "seed=0"], ["optim.lr=1e-2", "seed=1"])
    assert [point.label for point in points] == ["s0", "s1"]


def test_the_lead_of_a_point_reaches_the_process_that_trains_it(numbered):
    odd = 'name=it\'s "a", ${b} \\'
    [point, _] = numbered(["seed=0"], ["seed=1"])
    point.lead = Lead(odd, first=True)
    *others, last = point.job()
    assert others == point.overrides
    parsed = OverridesParser.create().parse_override(last)
    assert parsed.key_or_group == f"hydra.job.env_set.{LEAD}"
    environment = OmegaConf.create({LEAD: parsed.value()})
    assert told({LEAD: environment[LEAD]}) == Lead(odd, first=True, shared=True)
    assert told({}) is None
    assert SweepPoint(["seed=0"], point.config).job() == ["seed=0"]


@pytest.mark.parametrize("details", [False, True])
def test_on_a_screen_that_processes_share_each_line_has_its_lead(
    small, tmp_path, monkeypatch, capsys, details
):
    monkeypatch.chdir(tmp_path)
    console.setup()
    lead = Lead("1/2  s0", details=details, shared=True)
    outcome = train_point(small(), [], lead)
    shown = capsys.readouterr().out.splitlines()
    assert all(line.startswith("1/2  s0") for line in shown)
    assert any("sample  from the best" in line for line in shown) is details
    assert shown[-1] == f"1/2  s0  done, best {outcome.best_val_loss:.4f}"


@pytest.mark.slow
def test_a_search_sweeper_leaves_each_run_as_a_single_one(command_runs):
    result = command_runs("seed=0,1", "hydra/sweeper=basic")
    assert result.out.count("sample  from the best weights") == 2


def test_the_lead_is_json_of_plain_values(numbered):
    [point, _] = numbered(["seed=0"], ["seed=1"])
    lead = only([word for word in point.job() if LEAD in word]).partition("=")[2]
    assert json.loads(json.loads(lead))["words"] == "1/2  s0"


@pytest.mark.slow
def test_a_dashboard_is_told_what_the_sweep_varies_and_not_what_all_points_share(
    command_runs, monkeypatch
):
    titles, opened = [], train.open_tracker

    def open_tracker(*arguments):
        titles.append(arguments[-1])
        return opened(*arguments)

    monkeypatch.setattr(train, "open_tracker", open_tracker)
    assert command_runs("optim.lr=1e-3,3e-3", "seed=1").code == 0
    assert titles == ["lr=0.001", "lr=0.003"]


def finished_points(tmp_path, small, names, **chosen):
    """Points that are done in these directories, with this logger."""
    config = small(f"name={names[0].partition('/')[0]}")
    config = replace(config, logger=replace(config.logger, **chosen))
    found = []
    for name in names:
        (path := Path("outputs") / name).mkdir(parents=True)
        outcome = Outcome(RunState.already_done, path, 2.0)
        found.append(SweepPoint([f"name={name}"], config, outcome))
    return found


@pytest.mark.usefixtures("runs")
def test_a_run_without_a_module_is_not_said_to_be_by_other_code(small, capsys):
    notes = ["by other code: models/gpt.py changed; without a", "without a, which rerun=true"]
    outcomes = [Outcome(RunState.already_done, note=note) for note in notes]
    show_over([SweepPoint([], small(), outcome) for outcome in outcomes])
    assert "already done  2 of 2 points, 1 by other code\n" in capsys.readouterr().out


@pytest.mark.usefixtures("runs")
def test_points_that_a_dashboard_has_none_of_are_offered_in_one_line(tmp_path, small, capsys):
    found = finished_points(tmp_path, small, ["lr/a", "lr/b", "lr/c"], wandb=True)
    write_text(found[0].outcome.path / "wandb-id", "told")
    show_over(found)
    assert only([line for line in capsys.readouterr().out.splitlines() if "export" in line]) == (
        "              gptexp export outputs/lr/b --to wandb    (W&B has none of it), 2 such points"
    )


@pytest.mark.usefixtures("runs")
def test_all_offline_runs_of_w_and_b_are_sent_by_one_line(tmp_path, small, capsys):
    found = finished_points(tmp_path, small, ["lr/a", "lr/b"], wandb=True)

    def shown():
        show_end(found)
        return capsys.readouterr().out

    assert "wandb sync" not in (online := shown()) and "W&B project" in online
    (folder := found[1].outcome.path / "wandb" / "offline-run-1-x").mkdir(parents=True)
    assert "        wandb sync outputs/lr/*/wandb/offline-run-*\n" in shown()
    (folder / "run-x.wandb.synced").touch()
    assert "wandb sync" not in shown()
