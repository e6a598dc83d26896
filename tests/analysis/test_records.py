"""Run directories become rows, whole or not; groups of seeds become means with intervals."""

import json
import math
import threading

import pytest
from filelock import FileLock
from run_directories import CONFIG, SOURCES, write_run
from small_runs import ONE_LINE, problem_lines

from gptexp.analysis import groups, records
from gptexp.config import flat, hashed_part, is_hashed, to_dict
from gptexp.config.identity import UNHASHED
from gptexp.errors import ConfigError
from gptexp.experiment.run import run_experiment
from gptexp.runs.directory import RunDirectory, code_digest


def only_run(path):
    [run], notes = records.collect([path])
    assert not notes
    return run


def problem(*paths):
    with pytest.raises(ConfigError) as raised:
        records.collect(paths)
    [line] = problem_lines(raised.value)
    assert ONE_LINE.fullmatch(line), line
    return line


# Reading


def test_a_row_holds_what_the_summary_says(tmp_path):
    path = write_run(tmp_path / "a", 3, 1.75, test=1.8, optim__lr=0.5)
    run = only_run(path)
    assert (run.path, run.state, run.seed, run.config["optim.lr"]) == (path, "done", 3, 0.5)
    assert (run.params, run.best, run.best_step, run.final) == (809856, 1.75, 1003, 2.25)
    assert (run.height, run.test) == (0.5, 1.8)


def test_a_done_run_is_known_from_its_summary_alone(tmp_path):
    path = write_run(tmp_path / "a")
    whole = only_run(path)
    for name in ("config.yaml", "manifest.json", "status.json", "metrics.jsonl"):
        (path / name).unlink()
    assert only_run(path) == whole


def test_an_old_summary_is_completed_from_the_config_and_the_manifest(tmp_path):
    new = only_run(write_run(tmp_path / "new" / "a"))
    old = only_run(write_run(tmp_path / "old" / "a", old=True))
    assert (old.config, old.code, old.data_sha256) == (new.config, new.code, new.data_sha256)
    assert old.code is not None


@pytest.mark.parametrize("state", ["failed", "diverged", "interrupted", "running"])
def test_a_run_that_is_not_done_is_known_from_its_status(tmp_path, state):
    path = write_run(tmp_path / "a", 2, state=state, reason="why")
    with RunDirectory(path).locked():
        run = only_run(path)
    assert (run.state, run.reason, run.seed, run.best) == (state, "why", 2, None)


def test_a_run_that_says_running_and_that_no_process_holds_was_killed(tmp_path):
    path = write_run(tmp_path / "a", state="running")
    before = sorted(path.iterdir())
    run = only_run(path)
    assert (run.state, run.reason) == ("killed", "its process is gone")
    assert sorted(path.iterdir()) == before, "looking writes nothing"
    with RunDirectory(path).locked():
        assert only_run(path).state == state(path) == "running"
    assert only_run(path).state == state(path) == "killed"


def state(path):
    return RunDirectory(path).state()


def test_a_run_that_is_looked_at_while_it_starts_is_not_refused(tmp_path):
    path = write_run(tmp_path / "a", state="running")
    looking = FileLock(path / ".lock", thread_local=False)
    looking.acquire()
    later = threading.Timer(0.05, looking.release)
    later.start()
    with RunDirectory(path).locked():
        pass
    later.join()


def test_a_run_without_a_word_of_its_end_is_unknown(tmp_path):
    path = write_run(tmp_path / "a")
    (path / "summary.json").unlink()
    assert only_run(path).state == "unknown"


def test_folders_are_searched_and_runs_that_were_moved_aside_left_out(tmp_path):
    first, second = write_run(tmp_path / "o" / "a", 0), write_run(tmp_path / "o" / "b", 1)
    old = RunDirectory(write_run(tmp_path / "o" / "a", 2)).move_aside()
    (tmp_path / "o" / "empty").mkdir()
    (tmp_path / "o" / "loop").symlink_to(tmp_path / "o")
    assert [run.path for run in records.collect([tmp_path / "o"])[0]] == [first, second]
    assert only_run(old).seed == 2, "unless it is named"


def test_a_folder_that_goes_away_under_the_search_takes_no_other_with_it(tmp_path, monkeypatch):
    write_run(tmp_path / "a")
    (tmp_path / "b" / "c").mkdir(parents=True)
    search = records.inner_folders

    def searched(folder):
        if folder.name == "b":
            (folder / "c").rmdir()
            folder.rmdir()
        return search(folder)

    monkeypatch.setattr(records, "inner_folders", searched)
    assert len(records.collect([tmp_path])[0]) == 1


def test_a_run_that_is_named_twice_is_one(tmp_path):
    path = write_run(tmp_path / "o" / "a", 0)
    (tmp_path / "link").symlink_to(tmp_path / "o")
    found, _ = records.collect([tmp_path / "o", path, tmp_path / "o" / "a", tmp_path / "link"])
    assert [run.path for run in found] == [path]


def test_what_is_no_folder_of_runs_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert problem(tmp_path / "none").startswith(f"{tmp_path / 'none'}: not there")
    assert problem(tmp_path / "file").startswith(f"{tmp_path / 'file'}: not a folder")
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "full")
    empty = problem(tmp_path / "full", tmp_path / "empty")
    assert empty.startswith(f"{tmp_path / 'empty'}: holds no runs")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '"a"', '{"config": 3}', '{"best": 1}', b"\xff\xfe"],
)
def test_a_damaged_summary_is_a_note_and_a_run_without_figures(tmp_path, content):
    whole, hurt = write_run(tmp_path / "a", 0), write_run(tmp_path / "a", 1)
    content = content if isinstance(content, bytes) else content.encode()
    (hurt / "summary.json").write_bytes(content)
    found, [note] = records.collect([tmp_path / "a"])
    assert {run.path: run.state for run in found} == {whole: "done", hurt: "damaged"}
    assert ONE_LINE.fullmatch(str(note))
    assert str(note).startswith(f"{hurt}/summary.json: damaged: ")


@pytest.mark.parametrize("content", [None, "a: [", "- 1", "seed: [1]", "optim: {name: []}"])
def test_a_run_without_a_readable_config_is_left_out_with_a_note(tmp_path, content):
    hurt = write_run(tmp_path / "a", 1, state="failed")
    (hurt / "config.yaml").unlink()
    if content is not None:
        (hurt / "config.yaml").write_text(content)
    assert problem(hurt).startswith(f"{hurt}/config.yaml: ")
    whole = write_run(tmp_path / "a", 0)
    found, [note] = records.collect([tmp_path / "a"])
    assert [run.path for run in found] == [whole]
    assert str(note).startswith(f"{hurt}/config.yaml: ")
    assert "left out" in str(note)


def test_a_loss_that_is_not_finite_is_none(tmp_path):
    run = only_run(write_run(tmp_path / "a", best=None))
    assert (run.state, run.best, run.best_step, run.final, run.height) == ("done", *[None] * 4)


def test_a_real_run_says_in_its_summary_which_it_is(small, tmp_path, quick):
    config = small()
    path = run_experiment(config, tmp_path / "outputs").path
    manifest = json.loads((path / "manifest.json").read_text())
    summary = json.loads((path / "summary.json").read_text())
    assert summary["run"] == path.name
    assert summary["config"] == to_dict(config)
    assert summary["config_hash"] == manifest["config_hash"]
    assert summary["data_sha256"] == manifest["data"]["sha256"]
    assert summary["code"] == code_digest(manifest)
    run = only_run(path)
    assert (run.best, run.code) == (summary["best"]["val_loss"], summary["code"])


# Identity


def test_the_keys_that_count_are_those_of_the_hash(composed):
    config = composed()
    part = hashed_part(config, "sha", "init")
    # `flat` fills in what is at its default, as sample_documents, which is not hashed.
    unhashed = {*UNHASHED, "plugins"}
    hashed = {key for key in flat(part) if key.rpartition(".")[2] not in unhashed} | {"init_from"}
    assert {key for key in flat(to_dict(config)) if is_hashed(key)} == hashed


def test_a_key_that_an_old_config_lacks_takes_its_default(monkeypatch):
    from gptexp.config import identity

    monkeypatch.setattr(identity, "_defaults", lambda node: {"lr": 7, "momentum": 8})
    identity._plain_defaults.cache_clear()
    found = flat({"seed": 1, "optim": {"name": "sgd", "lr": 0.1}})
    identity._plain_defaults.cache_clear()
    optim = {"optim.lr": 0.1, "optim.momentum": 8, "optim.name": "sgd"}
    assert found == {"seed": 1, **optim, "plugins": "", "branch_from": None}


def test_runs_of_one_setting_differ_in_nothing_that_counts(tmp_path):
    unhashed = {"trainer__log_interval": 7, "data__path": "moved.txt", "rerun": True}
    write_run(tmp_path / "a", 0, trainer__device="cuda:0")
    write_run(tmp_path / "a", 1, trainer__device="cuda:1", **unhashed)
    write_run(tmp_path / "b", 2, trainer__device="cuda", optim__lr=0.5)
    found, _ = records.collect([tmp_path / "a"])
    assert records.mixed(found) == []
    assert "trainer.log_interval" in records.differing(found)
    found, _ = records.collect([tmp_path])
    assert records.mixed(found) == ["optim.lr"]
    assert records.differing(found)[-1] == "seed"


def test_the_code_of_a_run_is_all_the_code_that_worked_on_it():
    other = {**SOURCES, "model.py": "9" * 64}
    alone, changed = {"sources": SOURCES, "resumes": []}, {"sources": other, "resumes": []}
    resumed = {"sources": SOURCES, "resumes": [{"before": {"sources": SOURCES}}]}
    half = {"sources": SOURCES, "resumes": [{"before": {"sources": other}}]}
    assert code_digest(resumed) == code_digest(alone)
    assert len({code_digest(alone), code_digest(changed), code_digest(half)}) == 3
    assert code_digest({}) is None


# Statistics


def test_the_interval_is_that_of_the_textbook():
    """1, 2, 3, 4, 5: s = sqrt(2.5), t(0.975, 4) = 2.7764, so 2.7764 * sqrt(2.5 / 5)."""
    found = groups.statistic([1, 2, 3, 4, 5])
    assert (found.n, found.mean) == (5, 3)
    assert found.ci95 == pytest.approx(2.776445105 * math.sqrt(0.5), rel=1e-9)


def test_two_values_take_the_t_of_one_degree_of_freedom():
    """1 and 2: s = sqrt(0.5), t(0.975, 1) = 12.7062, so 12.7062 * 0.5."""
    assert groups.statistic([1, 2]).ci95 == pytest.approx(12.706204736 / 2, rel=1e-9)


def test_one_value_has_no_interval_and_none_no_mean():
    assert groups.statistic([3.5, None]) == groups.Statistic(1, 3.5, None)
    assert groups.statistic([None]) is None


def test_equal_values_have_an_interval_of_nothing():
    assert groups.statistic([0.1] * 3).ci95 == pytest.approx(0, abs=1e-15)


def test_numbers_sort_before_words_and_what_is_not_there():
    values = [None, "b", 10, "a", 9.5]
    assert sorted(values, key=groups.sort_key) == [9.5, 10, "a", "b", None]


def test_the_synthetic_runs_have_the_shape_of_real_ones(small, tmp_path, quick):
    real = run_experiment(small(), tmp_path / "outputs").path
    made = write_run(tmp_path / "made")
    assert {p.name for p in made.iterdir()} <= {p.name for p in real.iterdir()}
    for name in ("summary.json", "manifest.json", "status.json"):
        keys = [set(json.loads((path / name).read_text())) for path in (made, real)]
        assert keys[0] <= keys[1], name
    assert flat(CONFIG).keys() == only_run(real).config.keys()


def test_the_steps_of_a_run_with_another_budget_are_no_part_of_what_it_is(tmp_path):
    def mixed(name, **budget):
        trainers = [{**CONFIG["trainer"], **budget, "max_steps": steps} for steps in (10, 20)]
        for seed, trainer in enumerate(trainers):
            write_run(tmp_path / name, seed, trainer=trainer)
        return records.mixed(records.collect([tmp_path / name])[0])

    assert mixed("steps") == ["trainer.max_steps"]
    for key, value in {"max_tokens": 99, "max_epochs": 0.5, "max_flops": 1e9}.items():
        assert mixed(key, **{key: value}) == []


def test_what_only_one_variant_has_is_no_difference_unless_its_runs_differ_in_it(tmp_path):
    write_run(tmp_path, 0)
    for seed, (name, momentum) in enumerate([("sgd", 0.5), ("sgd", 0.9), ("sgd", 0.9)], start=1):
        write_run(tmp_path, seed, optim__name=name, optim__momentum=momentum)
    found, _ = records.collect([tmp_path])
    some = [run for run in found if run.config.get("optim.momentum") != 0.5]
    assert "optim.momentum" in records.differing(some)
    assert "optim.momentum" not in records.varying(some, records.differing(some))
    assert "optim.name" in records.varying(some, records.differing(some))
    assert "optim.momentum" in records.varying(found, records.differing(found))


@pytest.mark.parametrize(
    "line", ["when: 2024-01-01", "word: !!binary aGVsbG8=", "1: 2", "all: [1]"]
)
def test_a_config_with_what_no_config_holds_is_damaged(tmp_path, line):
    """JSON has no word for a date, and no key of ours is a number."""
    path = write_run(tmp_path / "a", state="failed")
    with (path / "config.yaml").open("a") as file:
        file.write(f"{line}\n")
    assert problem(path).startswith(f"{path / 'config.yaml'}: damaged: its config is no config")


@pytest.mark.parametrize("value", [".inf", ".nan", "2020-01-01", "!!binary aGk=", "!!set {a}"])
def test_a_config_of_values_that_no_config_has_is_damaged(tmp_path, value):
    """Such as a table or a report could not write as JSON."""
    path = write_run(tmp_path / "a", state="failed")
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("lr: 0.001", f"lr: {value}"))
    assert value in config.read_text()
    assert "config.yaml: damaged: its config is no config" in problem(path)
