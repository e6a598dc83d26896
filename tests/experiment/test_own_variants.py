"""Own optimizers, models and tokenizers, from modules outside the package: see docs/plugins.md."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from interruptions import stop_before_step
from own_modules import forget, modules_of, written
from small_runs import ROOT, SMALL, metrics, only

import gptexp as package
from gptexp import plugins
from gptexp.config import config_hash, from_overrides, keys, to_dict
from gptexp.config.own import load_for
from gptexp.config.words import kind_of
from gptexp.errors import ConfigError, OwnCodeError
from gptexp.experiment.run import run_experiment
from gptexp.training.step import UpdateStep

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = modules_of(PAGE)
FILES = dict(re.findall(r"`(my_conf/\w+/\w+\.yaml)`:\n\n```yaml\n(.*?)^```$", PAGE, re.M | re.S))
AT_LEAST_20 = "tokenizer.at_least=20"
CHOICES = {  # of each example, the words that take it
    "my_lion": ["plugins=[my_lion]", "optim=lion"],
    "my_gru": ["plugins=[my_gru]", "model=gru", "model.n_embd=8", "model.block_size=8"],
    "my_pairs": ["plugins=[my_pairs]", "tokenizer=pairs", AT_LEAST_20],
}
FOREIGN: list[Path] = []  # the one run of the fixture `foreign`
TOUCH = "from pathlib import Path\nPath('it-ran').touch()\n"


@pytest.fixture(autouse=True)
def folder(command, monkeypatch, quick) -> Iterator[Path]:
    """The current folder, with the page's examples; its modules are forgotten afterwards."""
    with written(EXAMPLES, monkeypatch):
        yield Path.cwd()


@pytest.fixture
def words(text_file) -> Callable[..., list[str]]:
    """`words("my_lion", ...)`: a small run's overrides that take an example, and others."""
    small = [word for word in SMALL if not word.startswith("model")]
    given = {"my_gru": small}

    def make(name: str, *others: str) -> list[str]:
        base = given.get(name, SMALL)
        return [*base, f"data.path={text_file}", *CHOICES[name], *others]

    return make


def trained(words: list[str], outputs: str = "outputs") -> Path:
    outcome = run_experiment(from_overrides(words), Path(outputs), overrides=words)
    assert outcome.state == "done", outcome
    return outcome.path


def weights(run: Path) -> dict[str, torch.Tensor]:
    [file] = (run / "checkpoints").glob("*.pt")
    return torch.load(file, weights_only=True)["model"]


def equal(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_the_examples_of_the_page_train_and_are_looked_at(words, command, gptexp, name):
    done = command(*words(name))
    assert (done.code, done.err) == (0, "")
    [run] = Path("outputs/default").iterdir()
    lines = [line for line in metrics(run) if "val/loss" in line]
    assert lines[-1]["val/loss"] < lines[0]["val/loss"]
    forget()
    flag = ["--plugins", name]
    counts = ["ensemble", run, "--counts"]
    for verb in (["sample", run, "--tokens", "4"], ["evaluate", run], ["explain", run], counts):
        asked = gptexp(*verb)
        assert asked.code == 2 and f"Fix: --plugins {name}, " in asked.err, verb
        assert gptexp(*verb, *flag).code == 0, verb
        forget()
    shown = gptexp("reproduce", run, *flag)
    assert shown.code == 0 and shown.out.splitlines()[-1].startswith("IDENTICAL"), shown.out
    forget()
    for verb in (["table", run], ["diff", run, run], ["report", run], ["plot", run]):
        assert gptexp(*verb).code == 0, verb
    assert name not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_a_run_of_own_code_that_is_killed_and_resumed_is_the_same_bit_for_bit(words, name):
    whole = trained(words(name), "whole")
    stop_before_step(from_overrides(words(name)), Path("killed"), 7)
    forget()
    resumed = trained(words(name), "killed")
    assert json.loads((resumed / "manifest.json").read_text())["resumes"]
    assert equal(weights(resumed), weights(whole))


SAME = """
from dataclasses import dataclass
import torch, gptexp
from gptexp.config import AdamWConfig, GPTConfig
from gptexp.models.gpt import GPT
@dataclass(kw_only=True)
class OwnAdam(AdamWConfig):
    weight_decay: float = 0.1
@dataclass(kw_only=True)
class OwnGPT(GPTConfig):
    pass
@gptexp.optimizer("own", OwnAdam)
def own(config, groups):
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.eps, fused=True)
@gptexp.model("own", OwnGPT)
class Own(GPT):
    pass
"""


def _typed(value: object) -> object:
    return "null" if value is None else value


WIDTH = ["optim.scaling=mup", "optim.base_width=8"]
DECAY = ["optim.decay_timescale=0.5", "optim.decay_schedule=follow_lr"]


@pytest.mark.slow
@pytest.mark.parametrize("also", [[], WIDTH, DECAY], ids=["plain", "width", "decay"])
def test_what_is_derived_from_ours_trains_the_same_weights_bit_for_bit(words, also):
    Path("same.py").write_text(SAME)
    ours = [word for word in words("my_lion", *also) if "lion" not in word]
    values = to_dict(from_overrides(ours))
    own = ["plugins=[same]"]
    for section, name in (("optim", "name"), ("model", "kind")):
        kept = {k: v for k, v in values[section].items() if k not in (name, "name")}
        own += [
            f"{section}=own",
            *(f"{section}.{key}={_typed(value)}" for key, value in kept.items()),
        ]
    run = trained([*ours, *own])
    assert (run / "config.yaml").read_text().count("own") >= 3
    assert equal(weights(run), weights(trained(ours, "ours")))


ROWS = """
from dataclasses import dataclass
import torch, gptexp
from gptexp.config import OptimConfig
@dataclass(kw_only=True)
class RowsConfig(OptimConfig):
    lr: float = 0.01
    weight_decay: float = 0.0
class Rows(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["count"] += 1
            for weight in group["params"]:
                rows = weight.grad.square().flatten(1).sum(1) if weight.ndim > 1 else weight.grad**2
                known = self.state[weight]
                known["rows"] = known.get("rows", 0) + rows
                scale = (known["rows"] / group["count"]).sqrt() + 1e-8
                weight -= group["lr"] * weight.grad / scale.view(-1, *[1] * (weight.ndim - 1))
@gptexp.optimizer("own", RowsConfig)
def own(config, groups):
    return Rows(groups, {"count": 0, "lr": config.lr})
"""


@pytest.mark.slow
def test_a_state_of_any_shape_and_counters_in_its_groups_are_resumed_bit_for_bit(words):
    Path("rows.py").write_text(ROWS)
    given = [word for word in words("my_lion") if "lion" not in word]
    given += ["plugins=[rows]", "optim=own"]
    whole = trained(given, "whole")
    stop_before_step(from_overrides(given), Path("killed"), 7)
    assert equal(weights(trained(given, "killed")), weights(whole))


@pytest.mark.slow
def test_a_run_of_own_code_made_again_is_equal_to_the_bit(words, gptexp):
    metric = "@gptexp.metric('my/one')\ndef one(run):\n    return 1\n"
    Path("my_lion.py").write_text(EXAMPLES["my_lion"] + metric)
    run = trained(words("my_lion"))
    shown = gptexp("reproduce", run, "--level", "full", "--plugins", "my_lion")
    assert shown.code == 0 and "the run, made again, is equal to the bit" in shown.out
    assert "own metrics are not compared: my/one" in shown.out


@pytest.mark.slow
def test_a_run_whose_own_code_was_edited_is_verified_and_not_made_again(words, gptexp):
    run = trained(words("my_lion"))
    Path("my_lion.py").write_text(EXAMPLES["my_lion"] + "\n")
    forget()
    shown = gptexp("reproduce", run, "--plugins", "my_lion")
    assert shown.code == 0 and "though the code differs: my_lion.py" in shown.out
    again = gptexp("reproduce", run, "--level", "prefix", "--plugins", "my_lion")
    assert again.code == 2 and "its own code is another one here: my_lion.py" in again.out
    assert "my_lion.py" in gptexp("diff", run, trained(words("my_lion"))).out


@pytest.mark.slow
def test_a_file_of_ones_own_and_an_experiment_bring_values_and_module(words, command):
    assert set(FILES) == {"my_conf/optim/lion.yaml", "my_conf/experiment/mine.yaml"}
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(text)
    base = [word for word in words("my_lion") if "lion" not in word]
    for own in (["plugins=[my_lion]", "optim=lion"], ["experiment=mine"]):
        done = command("--config-dir", "my_conf", *base, *own)
        assert (done.code, done.err) == (0, ""), done.err
    [run] = Path("outputs/default").iterdir()  # the same one
    assert "lr: 0.0001\n" in (run / "config.yaml").read_text()
    forget()
    missing = command("--config-dir", "my_conf", *base, "optim=lion")
    assert missing.code == 2 and "optim=lion: the module that registers it is not" in missing.err


def test_a_date_in_a_file_of_ones_own_that_is_none_is_no_matter_of_its_modules():
    Path("my_conf/optim").mkdir(parents=True)
    Path("my_conf/optim/mine.yaml").write_text("name: 2026-99-99\n")  # a text to Hydra
    load_for(["--config-dir=my_conf", "optim=mine"])


@pytest.mark.slow
def test_a_sweep_trains_own_variants_beside_others(words, command):
    done = command("-m", *words("my_lion")[:-1], "optim=adamw,lion", "optim.lr=1e-3,1e-4")
    assert done.code == 0 and "4 points: 4 done" in done.out
    kinds = [json.loads(p.read_text())["plugins"] for p in Path("outputs").rglob("manifest.json")]
    assert sum("files" in entry for [entry] in kinds) == 4, "the module is named by all"


@pytest.mark.slow
def test_keys_are_known_by_meaning_completed_and_corrected(words, command, gptexp):
    shown = gptexp("config", "optim.beta1", "--plugins", "my_lion").out
    assert "meaning  share of the momentum in the sign" in shown
    assert "optim=adam|adamw|count|lion|muon|sgd" in gptexp("config", "optim").out
    wrong = command(*words("my_lion"), "optim.beta3=1")
    assert "optim.beta3: no such key. Fix: did you mean optim.beta2?" in wrong.err
    assert "beta2: 0.99" in command(*words("my_lion"), "--cfg", "job").out
    forget()
    load_for(["plugins=[my_lion]", "optim="])
    assert "lion" not in keys.choices("optim"), "nothing is imported for a choice that is not made"


def test_a_text_of_an_own_key_stays_as_it_was_typed(words, command):
    assert kind_of("optim.remark") is None
    source = EXAMPLES["my_lion"].replace("    lr: float", "    remark: str = 'none'\n    lr: float")
    Path("my_lion.py").write_text(source)
    shown = command(*words("my_lion"), "optim.remark=2026_11_27", "--cfg", "job")
    assert "remark: '2026_11_27'" in shown.out or "remark: 2026_11_27" in shown.out
    assert kind_of("optim.remark") is str


def test_a_model_whose_parts_take_and_give_anything_has_its_pictures_drawn(words):
    source = (
        EXAMPLES["my_gru"]
        .replace("self.table(ids)", "self.part(ids=self.table(ids))['x']")
        .replace("        self.gru =", "        self.part = Part()\n        self.gru =")
    )
    part = "class Part(nn.Module):\n    def forward(self, ids):\n        return {'x': ids}\n\n\n"
    Path("my_gru.py").write_text(source.replace("@gptexp.model", part + "@gptexp.model"))
    assert trained(words("my_gru")).is_dir()


@pytest.mark.slow
def test_an_edit_gives_another_directory_and_a_metric_does_not(words):
    first = trained(words("my_lion"))
    [entry] = json.loads((first / "manifest.json").read_text())["plugins"]
    assert entry["module"] == "my_lion"
    assert entry["files"] == {"my_lion.py": entry["sha256"]}
    Path("my_lion.py").write_text(EXAMPLES["my_lion"] + "\n")
    forget()
    second = trained(words("my_lion"))
    assert second.name != first.name
    both = [*words("my_lion"), "plugins=[my_lion,my_metrics]"]
    both.remove("plugins=[my_lion]")
    assert run_experiment(from_overrides(both)).path == second, "it is done"


def test_a_run_without_own_code_is_called_as_before(small):
    before = config_hash(small(), "0" * 64)
    plugins.load(["my_lion", "my_gru", "my_pairs"])
    assert config_hash(small(), "0" * 64) == before


def test_the_digest_is_that_of_the_whole_package_and_nothing_is_imported_for_it(folder):
    package = folder / "my_package" / "deep"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "one.py", package / "two.py"):
        file.write_text(TOUCH)
    sys.path.append(str(folder))
    found = plugins.code_of("my_package.deep.one")
    names = ["__init__.py", "deep/one.py", "deep/two.py"]
    assert sorted(found) == [f"my_package/{name}" for name in names]
    assert list(plugins.code_of("my_lion")) == ["my_lion.py"]
    assert plugins.code_of("nowhere_here") == {}
    (package / ".#one.py").symlink_to("somebody@somewhere.1234")  # as an editor locks a file
    assert plugins.code_of("my_package.deep.one") == found
    assert not Path("it-ran").exists() and "my_package" not in sys.modules


@pytest.mark.slow
def test_a_run_that_starts_from_own_code_asks_for_it_and_brings_its_model_along(words, text_file):
    run = trained(words("my_gru"))
    forget()
    start = [w for w in words("my_gru", f"init_from={run}", "seed=1") if "model" not in w]
    without = [word for word in start if "plugins" not in word]
    with pytest.raises(OwnCodeError, match=r"Fix: plugins=\[my_gru\], if you trust it"):
        package.train(without, quiet=True)
    assert "my_gru" not in sys.modules
    outcome = package.train(start, quiet=True)
    assert to_dict(package.load(outcome.path).config)["model"]["kind"] == "gru"


@pytest.mark.slow
def test_from_python_a_run_is_loaded_with_its_modules_and_trained_again(words):
    run = trained(words("my_gru"))
    forget()
    with pytest.raises(OwnCodeError, match=r"or in Python plugins=\['my_gru'\]"):
        package.load(run)
    with pytest.raises(ConfigError, match="plugins: 'my_gru' is no list"):
        package.load(run, plugins="my_gru")
    loaded = package.load(run, plugins=["my_gru"])
    assert loaded.config.plugins == [] and len(loaded.sample(tokens=3)) == 1
    assert loaded.model(loaded.encode("a")).shape == (1, 1, loaded.tokenizer.vocab_size)
    loaded.config.seed = 9
    again = package.train(loaded.config, quiet=True)
    assert "plugins:\n- my_gru\n" in (again.path / "config.yaml").read_text()


@pytest.fixture
def foreign(words, tmp_path_factory) -> Path:
    """A run directory that names a module which is here and would run: a copy of one."""
    if not FOREIGN:
        run = trained(words("my_gru"))
        FOREIGN.append(shutil.copytree(run, tmp_path_factory.mktemp("foreign") / run.name))
        shutil.rmtree("outputs")
        forget()
    Path("my_gru.py").write_text(TOUCH)
    return shutil.copytree(FOREIGN[0], Path("outputs", "default", FOREIGN[0].name))


VERBS = ["sample", "evaluate", "explain", "reproduce", "export --to tensorboard", "table"]
VERBS += ["export --to microgpt", "report", "plot", "diff RUN", "ensemble --counts"]


@pytest.mark.parametrize("line", VERBS)
def test_no_verb_imports_the_own_code_that_a_run_directory_names(foreign, gptexp, line):
    verb, *others = line.replace("RUN", str(foreign)).split()
    shown = gptexp(verb, foreign, *others)
    reads = verb in ("table", "report", "plot", "diff")
    assert shown.code == (0 if reads else 2), shown.err
    assert reads or "--plugins my_gru" in shown.err
    assert not Path("it-ran").exists() and "my_gru" not in sys.modules


@pytest.mark.parametrize("odd", ["a b", "../x", "", 7, None, {"a": 1}, "x;y"])
def test_a_name_that_no_module_has_is_not_advised(foreign, odd):
    file = foreign / "config.yaml"
    file.write_text(file.read_text().replace("- my_gru", f"- {json.dumps(odd)}"))
    from gptexp.runs.directory import RunDirectory

    with pytest.raises(ConfigError) as refused:
        RunDirectory(foreign).config()
    assert not isinstance(refused.value, OwnCodeError)


CONFIG = """
from dataclasses import dataclass
import torch, gptexp
from gptexp.config import OptimConfig
@dataclass(kw_only=True)
class Own(OptimConfig):
    lr: float = 0.1
    weight_decay: float = 0.0
@gptexp.optimizer("own", Own)
def own(config, groups):
"""
SGD = CONFIG + "    return torch.optim.SGD(groups, lr=config.lr)\n"
WRONG = {
    "no name": (SGD.replace('"own"', '"my own"'), "no name for a choice"),
    "a name of ours": (SGD.replace('"own"', '"sgd"'), "optim=sgd of wrong: gptexp has one of"),
    "no dataclass": (SGD.replace("@dataclass(kw_only=True)", ""), "Own is no dataclass"),
    "no section": (SGD.replace("(OptimConfig)", ""), "is not derived from OptimConfig"),
    "a type": (SGD.replace("lr: float = 0.1", "lr: bytes = b''"), "Own.lr cannot be in a YAML"),
    "a bare list": (
        "import typing\n" + SGD.replace("lr: float = 0.1", "lr: typing.List = None"),
        "Own.lr cannot be in a YAML",
    ),
    "a default": (SGD.replace("0.1", "'x'"), "optim=own of wrong: Own: "),
    "nothing": (CONFIG + "    pass", "own of wrong: it returns NoneType, and no torch.optim"),
    "raises": (
        CONFIG + "    1 / 0",
        "own of wrong: ZeroDivisionError: division by zero. Fix: ",
    ),
    "a part": (
        CONFIG + "    return torch.optim.SGD(groups[0]['params'][:1])",
        "parameters it leaves out",
    ),
    "a state": (
        CONFIG
        + "    made = torch.optim.SGD(groups)\n"
        + "    made.param_groups[0]['f'] = OptimConfig\n    return made",
        "own of wrong: its state_dict holds more than tensors",
    ),
    "hidden state": (
        CONFIG
        + "    class Growing(torch.optim.SGD):\n"
        + "        count = 0\n"
        + "        def step(self):\n"
        + "            self.count += 1\n"
        + "            for group in self.param_groups: group['lr'] *= self.count\n"
        + "            super().step()\n"
        + "    return Growing(groups)",
        "own of wrong: resumed from its state_dict, it makes another step than without",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_optimizer_that_cannot_be_is_refused_in_a_line(words, command, name):
    source, said = WRONG[name]
    Path("wrong.py").write_text(source)
    given = [w for w in words("my_lion") if "lion" not in w]
    done = command(*given, "plugins=[wrong]", "optim=own")
    assert done.code == 2 and said in done.err, done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not Path("outputs").exists()


WRONG_MODELS = {
    "shape": ("self.head(states)", "states", "forward makes [2, 8, 8] of ids [2, 8], and not"),
    "seeing ahead": ("self.gru(self.table(ids))", "self.gru(self.table(ids.flip(1)))", "follow"),
    "raising": ("return self.head(states)", "return self.tail(states)", "AttributeError: 'GRU'"),
    "drawing": (", generator=generator", "", "init_weights does not draw table.weight from its"),
    "abstract": ("def init_weights", "def init", "TypeError: Can't instantiate abstract class"),
    "no model": ("class GRU(Model)", "class GRU(nn.Module)", "is no model. Fix: a subclass of"),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_model_that_cannot_be_is_refused_in_a_line(words, command, name):
    old, new, said = WRONG_MODELS[name]
    assert old in EXAMPLES["my_gru"]
    Path("my_gru.py").write_text(EXAMPLES["my_gru"].replace(old, new))
    done = command(*words("my_gru"))
    assert done.code == 2 and said in done.err and "gru of my_gru: " in done.err, done.err
    assert done.err.count("\n") == 1 and not Path("outputs").exists()


WRONG_TOKENIZERS = {
    "not coming back": (
        '"".join(',
        '"".join(" " if i == 0 else ',
        "it does not round trip: at ",
    ),
    "ids": ("dtype=np.int64", "dtype=np.int32", "encode returns no array of np.int64"),
    "beyond": ("len(tokens)", "3", "and vocab_size is 3"),
    "bytes": ("len(token.encode())", "1", "its byte_lengths add up to"),
    "state": ('"tokens": self.tokens', '"tokens": self.tokens[::-1]', "is another tokenizer"),
    "name": ('"name": "pairs"', '"name": "char"', 'to_dict returns no dictionary with "name": "p'),
    "no tokenizer": ("return cls(sorted(", "return list(sorted(", "build returns ["),
    "no build": ("def build", "def make", "AttributeError: type object 'Pairs' has no attribute"),
}


@pytest.mark.parametrize("name", WRONG_TOKENIZERS)
def test_a_tokenizer_that_cannot_be_is_refused_in_a_line(words, command, name):
    old, new, said = WRONG_TOKENIZERS[name]
    assert old in EXAMPLES["my_pairs"]
    Path("my_pairs.py").write_text(EXAMPLES["my_pairs"].replace(old, new))
    done = command(*words("my_pairs"))
    assert done.code == 2 and said in done.err and "pairs of my_pairs: " in done.err, done.err
    assert done.err.count("\n") == 1 and not Path("outputs").exists()


def test_own_code_that_fails_while_it_trains_is_named_and_no_bug_of_ours(words, command):
    failing = EXAMPLES["my_lion"].replace(
        "for group in self.param_groups:",
        "self.steps = getattr(self, 'steps', 0) + 1\n"
        "        assert self.steps < 4, 'no more'\n"
        "        for group in self.param_groups:",
    )
    Path("my_lion.py").write_text(failing)
    done = command(*words("my_lion"))
    assert (
        done.code == 1 and "lion of my_lion: AssertionError: no more. Fix: correct my_" in done.err
    )
    [run] = Path("outputs/default").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert "Traceback" in (run / "run.log").read_text()


def test_an_own_optimizer_that_is_derived_from_a_fused_one_is_looked_at_by_the_host(monkeypatch):
    class Own(torch.optim.AdamW):
        """With the attributes of a fused one, and a step that need not heed them."""

    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, **_: zeros(*size))  # there is no such device
    runtime = SimpleNamespace(device=SimpleNamespace(type="cuda"), scales_loss=False)
    model = torch.nn.Linear(2, 2)
    for kind, ahead in ((torch.optim.AdamW, True), (Own, False)):
        step = UpdateStep(model, kind(model.parameters(), fused=True), runtime, 1.0)
        assert step.runs_ahead == ahead


@pytest.mark.slow
def test_own_code_is_tried_in_the_dtype_of_the_weights(words, command):
    source = EXAMPLES["my_gru"].replace("self.head(states)", "self.head(states.float())")
    Path("my_gru.py").write_text(source)
    done = command(*words("my_gru"), "trainer.dtype=float64")
    assert done.code == 2 and "gru of my_gru: RuntimeError: " in done.err, done.err
    assert not Path("outputs").exists()
    assert command(*words("my_gru")).code == 0


def test_a_branch_says_that_its_own_code_is_another(words):
    base = trained(words("my_lion"))
    Path("my_lion.py").write_text(EXAMPLES["my_lion"] + "\n")
    forget()
    given = ["plugins=[my_lion]", f"branch_from={base}", "trainer.max_steps=16", "logger=none"]
    run = package.train(given, quiet=True).path
    summary = json.loads((run / "summary.json").read_text())
    assert "other code in my_lion.py" in summary["branched"]["differs"]


def test_what_a_model_says_of_itself_and_raises_is_named(words):
    said = "    @classmethod\n    def saved_activations(cls, cfg):\n        return cfg.nothing\n"
    Path("my_gru.py").write_text(EXAMPLES["my_gru"] + "\n" + said)
    with pytest.raises(
        ConfigError, match=r"gru of my_gru: AttributeError.*correct my_gru.py, line"
    ):
        package.train(words("my_gru"), quiet=True)


def test_documents_without_a_token_for_their_bounds_are_refused(words, command):
    given = [word for word in words("my_pairs") if word not in ("data=text", AT_LEAST_20)]
    done = command("data=documents", *given, "tokenizer.at_least=2")
    assert done.code == 2 and only(done.errors).startswith("tokenizer: ")
    assert "it joins line breaks with what stands beside them" in done.err
    assert not Path("outputs").exists()
