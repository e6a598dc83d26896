"""`gptexp plan --suggest`: the next runs of a sweep, as commands that work."""

import json
import re
import shlex
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from law_runs import CHINCHILLA, write_point
from small_runs import SMALL, only, refusal

from gptexp.analysis.records import Run
from gptexp.config import Config, flat, from_overrides, to_dict
from gptexp.errors import ConfigError, Problem
from gptexp.laws.forms import LAWS
from gptexp.laws.points import Points
from gptexp.runs.directory import code_digest
from gptexp.runs.provenance import sources
from gptexp.runs.state import RunState
from gptexp.sweep import possible
from gptexp.sweep.neighbours import neighbours
from gptexp.sweep.plan import Planner
from gptexp.sweep.suggest import HEADER, plan_suggestions, target_of
from gptexp.training import throughput

WIDTHS, STEPS = (16, 32, 64, 128), (100, 200, 400, 800)
KEYS = {"model.n_embd", "trainer.max_steps", "seed"}
COMMON = [word for word in SMALL if word.partition("=")[0] not in KEYS]
COMMON += ["data.path=words.txt", "name=law"]
COMMAND = "python run.py "


@pytest.fixture
def swept(small, tmp_path, monkeypatch):
    """A folder of runs that follow Chinchilla's law, by width and steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(throughput, "measure", lambda *_: throughput.Speed(1e-3, 1e-3 / 3))
    Path("words.txt").write_text("to be or not to be\n" * 1600)
    planner, random = Planner(Path("outputs")), np.random.default_rng(0)
    for width, steps in product(WIDTHS, STEPS):
        own = [f"model.n_embd={width}", f"trainer.max_steps={steps}", "seed=0"]
        config = small(*COMMON, *own)
        size = planner.size(config)
        point = Points.of([size.params], [size.tokens], [1.0])
        loss = float(LAWS["chinchilla"].loss(CHINCHILLA, point)[0])
        keys = {"model__n_embd": width, "trainer__max_steps": steps}
        loss *= float(np.exp(random.normal(0, 0.003)))
        folder = Path("outputs/law")
        run = write_point(folder, size.params, size.tokens, loss, unique=28_000, **keys)
        values = to_dict(config)
        (run / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        params = {"total": size.params, "non_embedding": size.params}
        change(run / "summary.json", config=values, flops=size.flops, params=params)
        change(run / "manifest.json", overrides=[*COMMON, *own])
    return folder


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def commands(text: str) -> list[list[str]]:
    lines = [line.removeprefix(COMMAND) for line in text.splitlines() if line.startswith(COMMAND)]
    return [shlex.split(line) for line in lines]


def rows(text: str) -> list[list[str]]:
    """The cells of the table."""
    lines = [line for line in text.splitlines() if re.match(r"\d+  ", line)]
    return [re.split(r"  +", line) for line in lines]


def test_each_suggestion_is_a_command_of_the_run_in_its_row(swept):
    before = sorted(Path.cwd().rglob("*"))
    text, damaged = plan_suggestions(swept, num=3)
    assert sorted(Path.cwd().rglob("*")) == before, "it writes nothing"
    assert damaged == []
    found = commands(text)
    assert len(found) == len({*map(tuple, found)}) == len(rows(text)) == 3
    planner = Planner(Path("outputs"))
    largest = planner.size(composed(WIDTHS[-1], STEPS[-1])).flops
    for words, row in zip(found, rows(text), strict=True):
        config = from_overrides(words)
        cost = planner.cost(config)
        assert cost.left == 1.0
        assert (row[1], row[4]) == (f"{cost.params:,}", f"{cost.flops:.2e}")
        usual, given = (flat(to_dict(c)) for c in (from_overrides(COMMON), config))
        assert {key for key in usual if usual[key] != given[key]} <= KEYS
        assert cost.flops <= 4 * largest
        assert cost.epochs <= 1, "nor did any run see a token twice"
        low, high = map(float, row[7].split(" to "))
        assert low < float(row[6]) < high
        measured = config.model.n_embd in WIDTHS and config.trainer.max_steps in STEPS
        assert config.seed == measured, "the next seed, of a point that was measured"
    assert "3 points, 0 done; to train 3: " in text


@pytest.mark.slow
def test_a_sweep_of_other_code_is_said_to_be_one(swept):
    said = "the code has changed since: "
    assert said in plan_suggestions(swept, num=1)[0]
    code = code_digest({"sources": sources()})
    for run in swept.iterdir():
        change(run / "summary.json", code=code)
    assert said not in plan_suggestions(swept, num=1)[0]


def composed(width: int, steps: int) -> Config:
    return from_overrides([*COMMON, f"model.n_embd={width}", f"trainer.max_steps={steps}"])


@pytest.mark.slow
def test_a_seed_that_is_none_in_a_file_is_passed_over(swept):
    file = min(swept.rglob("summary.json"))
    config = json.loads(file.read_text())["config"]
    change(file, config=config | {"seed": "x"})
    text, _ = plan_suggestions(swept, num=1)
    [words] = commands(text)
    assert "seed=0" in words or "seed=1" in words


@pytest.mark.slow
def test_with_a_target_the_interval_there_is_what_narrows(swept):
    target = target_of("N=1e7, t=1e8")
    text, _ = plan_suggestions(swept, target=target, num=2)
    line = text[text.index("narrows: ") :].replace("\n ", "")
    found = re.search(r"N=1e\+07 T=1e\+08 U=1e\+08, ([\d.]+) to ([\d.]+) nats.* (\d+)% narr", line)
    assert found is not None, line
    low, high = float(found[1]), float(found[2])
    assert low < LAWS["chinchilla"].loss(CHINCHILLA, target)[0] < high
    together = 1 - np.prod([1 - float(row[8].rstrip("%")) / 100 for row in rows(text)])
    assert float(found[3]) / 100 == pytest.approx(together, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "without"), [(80, []), (60, ["FLOPs", "epochs"])])
def test_no_line_but_a_command_is_wider_than_the_terminal(swept, monkeypatch, columns, without):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown, below, *_ = (part.splitlines() for part in split_at_table(swept))
    assert max(map(len, (*shown, *below))) <= columns
    head = below[0].split()
    assert head == [word for word in HEADER[1:-1] if word not in without]
    assert [line.split()[0] for line in below[1::2]] == ["1", "2"]
    assert all(re.match(r"   n_embd=\d+ max_steps=\d+ s\d+$", line) for line in below[2::2])


def split_at_table(folder: Path) -> list[str]:
    """The parts of two suggestions between empty lines."""
    text, _ = plan_suggestions(folder, num=2)
    return text.split("\n\n")


@pytest.mark.slow
def test_of_two_texts_the_hint_chooses_one(swept, gptexp):
    for run in swept.iterdir():
        copy = shutil.copytree(run, swept.parent / "other" / run.name)
        config = json.loads((run / "summary.json").read_text())["config"]
        config |= {"data": config["data"] | {"path": "poems.txt"}}
        change(copy / "summary.json", data_sha256="d" * 64, config=config)
    said = only(gptexp("plan", "--suggest", "outputs").errors)
    assert said.startswith("text: 2 kinds of it among the runs")
    hint = shlex.split(said.rpartition(" take ")[2])
    assert hint == ["--where", "data.path=words.txt"]
    text, _ = plan_suggestions(Path("outputs"), where=hint[1:], num=1)
    alone, _ = plan_suggestions(swept, num=1)
    assert text.split() == alone.replace("outputs/law:", "outputs:").split()
    assert "--where: it is about what --suggest" in only(gptexp("plan", *hint).errors)


@pytest.mark.slow
def test_overrides_of_a_file_bring_in_no_code_and_what_they_lack_is_added(swept, monkeypatch):
    Path("evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    for run in swept.iterdir():
        words = json.loads((run / "manifest.json").read_text())["overrides"]
        evil = ["plugins=[evil]", "++plugins=[evil]", "--config-dir=.", "hydra.run.dir=x"]
        kept = [word for word in words if not word.startswith(("model.dropout=", "name="))]
        change(run / "manifest.json", overrides=[*evil, *kept])
    text, _ = plan_suggestions(swept, ["trainer.threads=1"], num=1)
    [words] = commands(text)
    assert not any("evil" in word or "dir" in word for word in words)
    config = from_overrides(words)
    assert (config.name, config.model.dropout, config.trainer.threads) == ("law", 0.1, 1)


def test_overrides_of_several_points_are_no_run():
    with pytest.raises(ConfigError, match="is 2 points"):
        possible._composed([*COMMON, "model.n_embd=64,128"])


@pytest.mark.slow
def test_runs_of_own_code_ask_for_its_modules(swept):
    for run in swept.iterdir():
        config = json.loads((run / "summary.json").read_text())["config"]
        mine = {"optim": {**config["optim"], "name": "mine"}, "plugins": ["my_optimizers"]}
        change(run / "summary.json", config=config | mine)
    said = refusal(plan_suggestions, swept)
    assert "optim mine is own code" in said
    assert "--plugins my_optimizers" in said


@pytest.mark.slow
def test_where_no_law_holds_or_no_point_is_in_reach_a_line_says_so(swept, monkeypatch):
    def refuse(words: list[str]) -> None:
        raise ConfigError(Problem("name", "too odd", "another"))

    with monkeypatch.context() as patch:
        patch.setattr(possible, "_composed", refuse)
        assert "no run to suggest: name: too odd. Fix: " in refusal(plan_suggestions, swept)
    runs = sorted(swept.iterdir())
    for number, run in enumerate(runs):
        final = json.loads((run / "summary.json").read_text())["final"]
        change(run / "summary.json", final=final | {"val_loss": 2.0 + number * 7 % 5})
    found = re.search(
        r"no law holds; (\w+): .* or --law \1 to go", refusal(plan_suggestions, swept)
    )
    assert found is not None
    text, _ = plan_suggestions(swept, num=1, law=found[1])
    assert "it does not hold: it explains " in text
    assert len(commands(text)) == 1
    for run in runs[1:]:
        change(run / "summary.json", final=final | {"val_loss": None})
    assert "1 run cannot tell a law; 15 are left out" in refusal(plan_suggestions, swept)
    assert "--law: chinchila is not known. Fix: did you mean chinchilla?" in refusal(
        plan_suggestions, swept, (), None, 5, "chinchila"
    )


@pytest.mark.parametrize("words", ["N=1e8", "1e8,1e9", "N=1e8,T=-1", "N=1e8,T=x", "N=1,T=1,X=1"])
def test_a_target_that_is_none_is_refused(words, gptexp):
    said = only(gptexp("plan", "--suggest", "outputs", "--at", words).errors)
    assert said.startswith(f"--at: {words!r} is no point of a law. Fix: ")
    assert "--at: it is about what --suggest" in only(gptexp("plan", "--at", "N=1,T=1").errors)


def run_of(**keys: object) -> Run:
    """A run with the usual keys but for these, as model__n_embd=32."""
    values = flat(to_dict(from_overrides(["data=text", "data.path=text.txt"])))
    values |= {key.replace("__", "."): value for key, value in keys.items()}
    params = int(values["model.n_embd"]) ** 2
    return Run(Path("x"), RunState.done, "", values, None, None, params=params)


def axis(runs: list[Run], key: str) -> list[object]:
    """The values of a key over all neighbours, in order."""
    return sorted({one.values[key] for one in neighbours(runs)})


def test_neighbours_lie_between_and_one_step_beyond_and_their_heads_divide():
    runs = [run_of(model__n_embd=n, model__n_head=h) for n, h in [(24, 3), (48, 6), (96, 12)]]
    shapes = [(one.values["model.n_embd"], one.values["model.n_head"]) for one in neighbours(runs)]
    assert sorted(set(shapes)) == [(24, 3), (32, 4), (48, 6), (64, 8), (96, 12), (192, 24)]
    turned = [run_of(model__n_embd=n, model__n_head=5, model__position="rope") for n in (20, 50)]
    assert axis(turned, "model.n_embd") == [20, 30, 50, 100]


def test_neighbours_keep_to_the_text_and_to_the_budget_that_the_runs_have():
    runs = [run_of(data__fraction=f, trainer__max_epochs=2.0) for f in (0.1, 0.3, 1.0)]
    assert axis(runs, "data.fraction") == [0.1, 0.17, 0.3, 0.55, 1.0]
    assert axis(runs, "trainer.max_epochs") == [2.0, 4.0]
    assert all("trainer.max_steps" not in one.values for one in neighbours(runs))
    mixed = [*runs, run_of(trainer__max_tokens=1000)]
    assert all(not any("max_" in key for key in one.values) for one in neighbours(mixed))


def test_odd_values_of_a_file_have_no_neighbours():
    assert neighbours([run_of(data__fraction="x"), run_of(data__fraction=-1)]) == []
    odd = [run_of(trainer__max_steps=steps) for steps in (0, "x", 10**300)]
    assert [one.values for one in neighbours(odd)] == [{}]
