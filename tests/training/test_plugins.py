"""Own metrics and callbacks, from modules outside the package: see docs/plugins.md."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from event_files import scalars
from interruptions import kill_before_step
from pages import blocks
from small_runs import ROOT, SMALL, metrics, only, summary

import gptexp as package
from gptexp import plugins
from gptexp.config import config_hash, flat, from_dict, problems, to_dict
from gptexp.errors import ConfigError
from gptexp.experiment.run import run_experiment
from gptexp.training import moments

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = {Path(block.file).stem: block.text for block in blocks(PAGE) if block.file}

# Disturbs all that it can reach: streams, weights, mode, gradients, config.
CLUMSY = """
import random, torch, numpy, gptexp

@gptexp.metric("my/clumsy")
def clumsy(run):
    torch.manual_seed(1); torch.rand(3)
    run.model.train()
    for weight in run.model.parameters():
        weight.requires_grad_().zero_()
        weight.grad = torch.ones_like(weight)
    run.config.trainer.max_steps = 1
    run.config.seed = 7
    return torch.tensor(2.5)
""" + "".join(
    f"""
@gptexp.on("{moment}")
def at_{moment}(run):
    clumsy(run)
"""
    for moment in plugins.MOMENTS
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The current folder, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_registered", [])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def module(folder) -> Callable[[str, str], str]:
    """`module(name, source)`: a module in the current folder; returns the override."""

    def write(name: str, source: str) -> str:
        Path(f"{name}.py").write_text(f"import gptexp\n{source}")
        return f"plugins=[{name}]"

    return write


def returning(value: str, name: str = "my/value") -> str:
    return f"@gptexp.metric('{name}')\ndef value(run):\n    return {value}\n"


def trained(config, outputs="outputs") -> Path:
    outcome = run_experiment(config, Path(outputs))
    assert outcome.state == "done", outcome
    return outcome.path


@pytest.mark.slow
def test_the_examples_of_the_page_do_what_it_says(command, text_file, gptexp):
    for name in ("my_metrics", "my_callbacks"):
        Path(f"{name}.py").write_text(EXAMPLES[name])
    small = [word for word in SMALL if word != "logger=none"]
    words = [*small, f"data.path={text_file}", "logger=tensorboard"]
    done = command(*words, "plugins=[my_metrics,my_callbacks]")
    assert (done.code, done.err) == (0, "")
    [run] = Path("outputs/default").iterdir()
    lines = [line for line in metrics(run) if "val/loss" in line]
    assert [line["step"] for line in lines] == [0, 4, 8, 12]
    assert all(0 <= line["my/vowels"] <= 1 for line in lines)
    noted = [line.split() for line in Path("evaluations.txt").read_text().splitlines()]
    assert noted == [[run.name, str(v["step"]), f"{v['val/loss']:.4f}"] for v in lines]
    assert summary(run)["final"]["own"] == {"my/vowels": lines[-1]["my/vowels"]}
    assert [value for _, value in scalars(run)["my/vowels"]] == pytest.approx(
        [line["my/vowels"] for line in lines]
    )
    shown = gptexp("table", run, "--columns", "my/vowels", "--sort", "my/vowels", "--format", "csv")
    assert shown.code == 0 and f"{lines[-1]['my/vowels']}"[:6] in shown.out


def test_the_training_is_the_same_to_the_bit_whatever_own_code_does(small, module, folder):
    plain = trained(small("trainer.keep=all"), "plain")
    module("clumsy", CLUMSY)
    own = trained(small("trainer.keep=all", "plugins=[clumsy]"), "own")
    assert own.name == plain.name, "it is not hashed"
    ours, theirs = metrics(own), metrics(plain)
    assert [line.pop("my/clumsy") for line in ours if "my/clumsy" in line] == [2.5] * 4
    assert ours == theirs
    stored = json.loads((own / "summary.json").read_text())["config"]
    assert (stored["seed"], stored["trainer"]["max_steps"]) == (0, 12)
    for part in ("best", "final"):
        stored = summary(own)[part]
        assert stored.pop("own") == {"my/clumsy": 2.5}
        assert stored == summary(plain)[part]


def test_a_run_that_is_taken_up_has_the_values_of_one_that_never_stopped(small, module, folder):
    module("stepping", returning("run.step + run.values['val/loss']"))
    config = small("plugins=[stepping]")
    straight = trained(config, "straight")
    kill_before_step(config, Path("killed"), 7)
    resumed = trained(config, "killed")
    assert metrics(resumed) == metrics(straight)
    assert summary(resumed) == summary(straight)


def test_the_moments_come_in_their_order_with_copies_of_the_run(small, module, folder):
    source = "SEEN = []\n" + "".join(
        f"""
@gptexp.on("{moment}")
def at_{moment}(run):
    SEEN.append(("{moment}", run.step, run.model.training, "my/value" in run.values))
"""
        for moment in plugins.MOMENTS
    )
    module("watching", source + returning("1"))
    trained(small("plugins=[watching]", "trainer.max_steps=4"))
    assert sys.modules["watching"].SEEN == [
        ("start", 0, False, False),
        ("evaluated", 0, False, True),
        ("saved", 0, False, True),
        ("evaluated", 4, False, True),
        ("saved", 4, False, True),
        ("end", 4, False, True),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("float('nan')", "ValueError: nan is no finite number"),
        ("float('-inf')", "ValueError: -inf is no finite number"),
        ("1e300", "ValueError: 1e+300 is no finite number"),
        ("'much'", "ValueError: 'much' is no finite number"),
        ("None", "ValueError: None is no finite number"),
        ("True", "ValueError: True is no finite number"),
        ("exit(3)", "SystemExit: 3"),
    ],
)
def test_a_metric_that_fails_is_named_once_and_the_run_goes_on(
    small, module, warnings, value, reason
):
    module("failing", returning(value) + returning("2", "my/other").replace("value(", "other("))
    run = trained(small("plugins=[failing]"))
    line = only([line for line in warnings() if "plug-in" in line])
    assert line == (
        f"plug-in my/value of failing failed at step 0: {reason}; it is switched off, and the run "
        "goes on"
    )
    assert [line["my/other"] for line in metrics(run) if "val/loss" in line] == [2.0] * 4
    assert not any("my/value" in line for line in metrics(run))


def test_a_callback_that_leaves_the_folder_does_not_take_the_run_along(small, module, folder):
    (folder / "elsewhere").mkdir()
    leave = "import os\n@gptexp.on('evaluated')\ndef leave(run):\n    os.chdir('elsewhere')\n"
    module("leaving", leave)
    trained(small("plugins=[leaving]"))
    assert Path.cwd() == folder


def test_a_callback_that_raises_is_named_once_and_the_run_goes_on(small, module, warnings):
    module("raising", "@gptexp.on('saved')\ndef notify(run):\n    raise OSError('no\\nserver')\n")
    trained(small("plugins=[raising]"))
    line = only([line for line in warnings() if "plug-in" in line])
    assert line.startswith("plug-in notify of raising failed at step 0: OSError: no server; it is")


@pytest.mark.parametrize(
    "value", [3, 0.5, np.float32(2), np.array(2.0), torch.tensor(2), np.int64(4)]
)
def test_a_number_is_one_whatever_library_it_is_of(value):
    assert moments._number(value) == float(value) and type(moments._number(value)) is float


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (None, "plugins: own_code is not there: neither in "),
        ("raise ValueError('at\\nonce')", "cannot be imported, ValueError: at. Fix: see it by "),
        ("import nowhere_at_all", "cannot be imported, ModuleNotFoundError: No module named"),
        ("exit(0)", "cannot be imported, SystemExit: 0"),
        ("def f(:", "cannot be imported, SyntaxError"),
        ("", "registers nothing"),
        (returning("1") * 2, "the metric my/value is registered twice, by own_code and own_code"),
        (returning("1", "value"), "own_code has a metric 'value'. Fix: two words with /"),
        (returning("1", "val/mine"), "val/mine, and val/ is gptexp's own. Fix: call it my/mine"),
        ("@gptexp.on('ended')\ndef f(run): ...", "own_code waits for 'ended'. Fix: one of start,"),
    ],
)
def test_a_module_that_cannot_work_is_refused_before_a_directory_is_made(
    refused, text_file, module, source, line
):
    if source is not None:
        module("own_code", source)
    words = [*SMALL, f"data.path={text_file}", "plugins=[own_code]"]
    assert line in only(refused(*words))
    assert line in only(refused(*words)), "and again in the same process"


def test_a_module_that_is_mended_is_imported(small, module):
    module("mended", returning("1") + "raise ValueError")
    config = small("plugins=[mended]")
    with pytest.raises(ConfigError, match="ValueError"):
        run_experiment(config, raises=True)
    module("mended", returning("1"))
    trained(config)


@pytest.mark.parametrize("name", ["my-metrics", "my_metrics.py.", "a b", "", "../up"])
def test_a_name_that_no_module_has_is_a_problem(small, name):
    config = small()
    config.plugins = [name]
    assert "cannot name a module" in str(only(problems(config)))


def test_a_module_that_is_named_twice_is_a_problem(small):
    config = small("plugins=[a,a]")
    assert "a is there twice" in str(only(problems(config)))


def test_modules_are_recorded_and_not_hashed(small, module):
    module("recorded", returning("1"))
    config = small("plugins=[recorded]")
    run = trained(config)
    digest = hashlib.sha256(Path("recorded.py").read_bytes()).hexdigest()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["plugins"] == [{"module": "recorded", "sha256": digest}]
    assert config_hash(config, "a") == config_hash(small(), "a")


def test_only_the_functions_of_named_modules_are_called(small, module):
    module("first", returning("1", "my/first"))
    module("second", returning("2", "my/second"))
    trained(small("plugins=[first]"), "one")
    run = trained(small("plugins=[second]"), "two")
    assert not any("my/first" in line for line in metrics(run))
    assert any("my/second" in line for line in metrics(run))


def test_a_run_that_is_done_says_that_it_lacks_a_new_one(small, module):
    trained(small())
    module("late", returning("1"))
    outcome = run_experiment(small("plugins=[late]"))
    assert outcome.state == "already done"
    assert outcome.note.endswith("without late, which rerun=true trains it with")


def test_a_sweep_names_a_missing_module_once(command, text_file):
    done = command("-m", *SMALL, f"data.path={text_file}", "plugins=[nowhere_here]", "seed=0,1,2")
    assert done.err.count("nowhere_here is not there") == 1
    assert done.code == 1 and not list(Path().rglob("outputs/*/*"))


@pytest.fixture
def foreign(small, folder, module) -> Path:
    """The directory of a run whose files all name a module that is here."""
    module("hostile", "from pathlib import Path\nPath('it-ran').touch()\n" + returning("1"))
    run = trained(small("plugins=[hostile]"))
    assert "hostile" in (run / "config.yaml").read_text()
    assert "hostile" in (run / "summary.json").read_text()
    del sys.modules["hostile"]
    plugins._registered.clear()
    Path("it-ran").unlink()
    return run


VERBS = [
    ["table", "RUN"],
    ["table", "RUN", "--columns", "plugins,my/value"],
    ["diff", "RUN", "RUN"],
    ["sample", "RUN", "--tokens", "4"],
    ["evaluate", "RUN"],
    ["reproduce", "RUN"],
    pytest.param(["reproduce", "RUN", "--level", "full"], marks=pytest.mark.slow),
    ["export", "RUN", "--to", "tensorboard"],
    ["explain", "RUN"],
    ["report", "RUN"],
    ["plot", "RUN"],
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_no_verb_imports_what_a_run_directory_names(foreign, gptexp, words):
    shown = gptexp(*(foreign if word == "RUN" else word for word in words))
    assert shown.code == 0, shown.err
    assert not Path("it-ran").exists() and "hostile" not in sys.modules
    if words[-1] == "full":
        assert "plug-ins      own metrics are not compared: my/value" in shown.out
        assert "IDENTICAL" in shown.out


@pytest.mark.slow
def test_nothing_is_imported_by_a_resume_a_start_or_a_loaded_config(foreign, small):
    (foreign / "summary.json").unlink()
    trained(small())
    trained(small(f"init_from={foreign}", "seed=1"))
    loaded = package.load(foreign)
    assert loaded.config.plugins == []
    trained(loaded.config, "elsewhere")
    assert not Path("it-ran").exists()


@pytest.mark.parametrize("odd", [7, "hostile", {"a": 1}, [[1]], [{}], None, ["x" * 999]])
def test_whatever_stands_in_place_of_the_list_a_run_is_read(finished, gptexp, odd, composed):
    values = yaml.safe_load((finished / "config.yaml").read_text()) | {"plugins": odd}
    (finished / "config.yaml").write_text(yaml.safe_dump(values))
    stored = json.loads((finished / "summary.json").read_text())
    stored["config"]["plugins"] = odd
    (finished / "summary.json").write_text(json.dumps(stored))
    assert from_dict(values).plugins == []
    code = 2 if isinstance(odd, dict) else 0  # damaged, in one line
    assert gptexp("table", finished).code == code
    assert gptexp("sample", finished, "--tokens", "2").code == 0
    (finished / "summary.json").unlink()
    assert gptexp("table", finished).code == code


def test_a_run_of_before_differs_in_no_key_from_one_of_now(small):
    now = to_dict(small())
    before = {key: value for key, value in now.items() if key != "plugins"}
    assert flat(before) == flat(now)


def test_a_notebook_may_run_its_cell_again(monkeypatch):
    for value in (1, 2):
        exec(returning(str(value)), {"gptexp": package, "__name__": "__main__"})
    [plugin] = plugins.load(["__main__"])
    assert plugin.call(None) == 2
