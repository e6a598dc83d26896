"""init_from: the weights of another run, where they mean the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from interruptions import Small, finish, stop_before_step, uninterrupted
from judged_runs import Judge
from small_runs import ONE_LINE, metrics, only, problem_lines, put, summary

from gptexp.config import Config, config_hash
from gptexp.errors import GptexpError
from gptexp.experiment import identity
from gptexp.experiment.identity import identify, start_of
from gptexp.experiment.inherit import inherited
from gptexp.experiment.prepare import prepare
from gptexp.experiment.run import run_experiment
from gptexp.inference.weights import read_checkpoint
from gptexp.runs.entries import weights_digest


def refusal(config: Config, outputs: Path) -> list[str]:
    """The lines with which a config is refused before its directory exists."""
    with pytest.raises(GptexpError) as refused:
        prepare(config, identify(config, outputs))
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(refused.value))
    return problem_lines(refused.value)


@pytest.fixture
def trained(small: Small, once: Callable[..., Path], tmp_path: Path) -> Path:
    return once(small("trainer.max_steps=2"), tmp_path / "first")


@pytest.mark.slow
def test_init_from_starts_from_the_best_weights_of_a_run(small: Small, tmp_path: Path) -> None:
    first = run_experiment(small("optim.lr=0.1"), tmp_path).path
    config = small("optim.lr=1e-4")
    plain = run_experiment(config, tmp_path).path
    config.init_from = str(first)
    second = run_experiment(config, tmp_path).path
    assert second not in (first, plain)
    assert metrics(second)[0]["val/loss"] == summary(first)["best"]["val_loss"]
    shutil.copytree(first, tmp_path / "moved")
    config.init_from = str(tmp_path / "moved")
    assert run_experiment(config, tmp_path).state == "already done"  # by content, not by name


def test_words_that_may_mean_another_run_later_are_answered_with_its_path(
    small: Small, tmp_path: Path, trained: Path
) -> None:
    """The same command is to stay the same run, though the best of a folder may change."""
    config, folder = small("seed=1"), trained.parent
    for words in (f"best:{folder}", f"latest:{folder}", str(folder), str(trained)[:-5]):
        config.init_from = words
        [line] = refusal(config, tmp_path)
        assert line.startswith(f"init_from: {words} may mean another run later; now it is ")
        assert line.endswith(f" Fix: init_from={trained}")
    config.init_from = str(trained)
    assert run_experiment(config, tmp_path).state == "done"


def test_init_from_may_be_the_folder_one_is_in(
    small: Small, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert run_experiment(put(small("seed=1"), "init_from", "."), tmp_path).state == "done"
    monkeypatch.chdir(trained / "checkpoints")
    assert "holds no runs" in only(refusal(put(small("seed=1"), "init_from", ""), tmp_path))


@pytest.mark.slow
def test_init_from_is_resumed_as_any_run(small: Small, tmp_path: Path) -> None:
    config = small()
    config.init_from = str(run_experiment(config, tmp_path / "first").path)
    expected = uninterrupted(config, tmp_path / "straight")
    stop_before_step(config, tmp_path / "stopped", 5)
    assert finish(config, tmp_path / "stopped") == expected


def test_init_from_refuses_another_vocabulary_and_other_shapes(
    small: Small, tmp_path: Path, text_file: Path
) -> None:
    first = run_experiment(small(), tmp_path).path
    wider = small("model.n_embd=32")
    wider.init_from = str(first)
    outcome = run_experiment(wider, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert outcome.error.startswith("init_from: ")
    assert "another architecture or vocabulary: model.n_embd. Fix: " in outcome.error
    other_text = small()
    other = text_file.with_name("other.txt")
    other.write_text(text_file.read_text().replace("q", "z"))
    other_text.data.path, other_text.init_from = str(other), str(first)
    outcome = run_experiment(other_text, tmp_path)
    assert (outcome.state, outcome.exit_code) == ("refused", 2)
    assert outcome.error.startswith(f"init_from: {first} does not know 'z' (U+007A) of {other}. ")
    assert [path.name for path in first.parent.iterdir()] == [first.name]


# Shapes tell of some of these alone; the others change what the same weights compute.
ARCHITECTURE = {
    "n_layer": 2,
    "n_head": 4,
    "n_embd": 32,
    "block_size": 16,
    "bias": False,
    "norm": "rmsnorm",
    "norm_gain": False,
    "embd_norm": True,
    "final_norm": False,
    "activation": "relu",
    "position": "none",
    "tie_head": False,
}


def test_C6_init_from_another_architecture_names_the_key_and_both_values(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    stored = yaml.safe_load((trained / "config.yaml").read_text())["model"]
    for key, value in ARCHITECTURE.items():
        theirs, ours = json.dumps(stored[key]).strip('"'), json.dumps(value).strip('"')
        assert theirs != ours, f"{key} is to be another"
        config = put(small(), "init_from", str(trained))
        kind = type(getattr(config.model, key))  # an enum, for some
        put(config, f"model.{key}", kind(value))
        head, row = refusal(config, tmp_path)
        assert head.startswith(f"init_from: {trained} has another architecture")
        assert f"vocabulary: model.{key}. Fix: " in head
        assert row == (
            f"model.{key}: checkpoint {theirs}, config {ours}. Fix: model.{key}={theirs}"
        )


def test_C6_all_keys_that_differ_are_one_table(small: Small, trained: Path, tmp_path: Path) -> None:
    config = small("model.n_embd=32", "model.n_layer=2", "tokenizer=byte", "optim.lr=0.5")
    head, *rows = refusal(put(config, "init_from", str(trained)), tmp_path)
    assert ": model.n_layer, model.n_embd, tokenizer. Fix: " in head
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "model.n_layer: checkpoint 1, config 2",
        "model.n_embd: checkpoint 16, config 32",
        "tokenizer: checkpoint 16 characters, config bytes",
    ]


def test_C6_what_leaves_the_meaning_of_weights_as_it_is_may_differ(
    small: Small, tmp_path: Path
) -> None:
    first = run_experiment(small("model.position=none", "trainer.max_steps=2"), tmp_path).path
    config = small("model.position=none", "model.dropout=0", "model.init_std=0.5")
    config.model.name, config.model.block_size = "other", 16
    config.init_from = str(first)
    prepare(config, identify(config, tmp_path))


def test_C6_unknown_characters_are_listed_in_a_line(
    small: Small, trained: Path, tmp_path: Path, text_file: Path
) -> None:
    config = put(small(), "init_from", str(trained))
    text_file.write_text(text_file.read_text().replace("q", "z").replace("\n", "\t") + "é")
    assert refusal(config, tmp_path) == [
        f"init_from: {trained} does not know '\\t' (U+0009), 'z' (U+007A), 'é' (U+00E9) of "
        f"{text_file}. Fix: tokenizer.extend=true, which adds rows for them, or leave them out of "
        "the text"
    ]
    text_file.write_text("".join(chr(0x100 + i) for i in range(20)) * 100)
    assert f"(U+0107) and 12 more of {text_file}. Fix: " in only(refusal(config, tmp_path))


def forged(trained: Path, path: Path, **values: Any) -> str:
    torch.save({**read_checkpoint(trained), **values}, path)
    return str(path)


def test_the_text_is_read_in_the_vocabulary_of_the_weights(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    state = read_checkpoint(trained)
    turned = {"name": "char", "characters": state["tokenizer"]["characters"][::-1]}
    config = put(small(), "init_from", forged(trained, tmp_path / "a.pt", tokenizer=turned))
    assert prepare(config, identify(config, tmp_path)).tokenizer.to_dict() == turned


def test_C6_other_parameters_under_the_same_config_are_a_table_too(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    weights = read_checkpoint(trained)["model"]
    weights["extra"] = torch.zeros(3)
    weights["head.weight"] = weights["head.weight"][:, :5]
    config = put(small(), "init_from", forged(trained, tmp_path / "a.pt", model=weights))
    _, *rows = refusal(config, tmp_path)
    assert [row.partition(". Fix:")[0] for row in rows] == [
        "head.weight: checkpoint [16, 5], config [16, 16]",
        "extra: checkpoint [3], config none",
    ]


def test_C6_a_checkpoint_whose_config_cannot_be_read_is_refused(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    stored = read_checkpoint(trained)["config"]
    stored["model"]["n_loops"] = 3
    path = forged(trained, tmp_path / "a.pt", config=stored)
    line = refusal(put(small(), "init_from", path), tmp_path)
    assert line == [
        f"init_from: {path}: model.n_loops: no such key. Fix: use the gptexp that wrote it"
    ]


# The vocabulary of the start, which neither config nor text may tell

SHIFTED = str.maketrans("ehi", "hij")  # in the order of their code points, so the ids stay


@pytest.fixture
def alike(
    small: Small, once: Callable[..., Path], tmp_path: Path, text_file: Path
) -> tuple[Path, Path]:
    """Two runs of equal weights, in which some characters have other ids."""
    other = small("trainer.max_steps=4")
    other.data.path = str(text_file.with_name("shifted.txt"))
    Path(other.data.path).write_text(text_file.read_text().translate(SHIFTED))
    one = once(small("trainer.max_steps=4"), tmp_path / "one")
    return one, once(other, tmp_path / "other")


@pytest.fixture
def tuned(small: Small, text_file: Path) -> Callable[..., Config]:
    """`tuned(run)`: a small run from it, on a text of what both of `alike` know."""
    common = text_file.with_name("common.txt")
    common.write_text(text_file.read_text().replace("e", "h"))

    def build(start: Path, *overrides: str) -> Config:
        config = small("trainer.max_steps=4", *overrides)
        config.data.path, config.init_from = str(common), str(start)
        return config

    return build


@pytest.fixture
def by_weights(monkeypatch: pytest.MonkeyPatch) -> Callable[[Config, Path], Path]:
    """`by_weights(config, outputs)`: the run as an earlier gptexp has trained it."""

    def train(config: Config, outputs: Path) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(identity, "_is_told", lambda *_: True)
            found = run_experiment(config, outputs)
        assert found.state == "done"
        return found.path

    return train


def test_equal_weights_in_other_vocabularies_are_other_runs(tuned, alike, tmp_path: Path) -> None:
    one, other = map(start_of, alike)
    assert one.weights == other.weights
    assert one.vocabulary != other.vocabulary
    runs = [run_experiment(tuned(start), tmp_path) for start in alike]
    assert [run.state for run in runs] == ["done", "done"]
    assert runs[0].path != runs[1].path
    assert metrics(runs[0].path) != metrics(runs[1].path)
    for start, run in zip(alike, runs, strict=True):
        assert run_experiment(tuned(start), tmp_path).path == run.path
        [checkpoint] = (start / "checkpoints").glob("*.pt")
        assert run_experiment(tuned(checkpoint), tmp_path).state == "already done"
        shutil.copy(checkpoint, tmp_path / "lone.pt")
        assert run_experiment(tuned(tmp_path / "lone.pt"), tmp_path).state == "already done"


def test_a_vocabulary_that_the_text_gives_anyway_leaves_the_hash_as_it_was(
    small: Small, trained: Path, tmp_path: Path
) -> None:
    config = put(small("seed=1"), "init_from", str(trained))
    found = identify(config, tmp_path)
    weights = weights_digest(trained)
    assert found.hash == config_hash(config, found.data_sha256, weights)


def test_the_hash_of_a_start_is_what_it_was(composed: Callable[..., Config]) -> None:
    found = config_hash(composed("model=tiny", "data=text", "data.path=x"), "0" * 64, "1" * 64)
    assert found == "486fac294707e2c613e5e151a4362fe693eaa738ce785270130357e65ec4b02e"


@pytest.mark.slow
@pytest.mark.parametrize("extend", ["false", "true"])
def test_a_run_that_an_earlier_gptexp_hashed_by_the_weights_alone_is_found_again(
    tuned, alike, by_weights, tmp_path: Path, judge: Judge, extend: str
) -> None:
    start, other = alike
    config = tuned(start, f"tokenizer.extend={extend}")
    if extend == "true":
        with Path(config.data.path).open("a") as file:
            file.write("xyz" * 50)
    old = by_weights(config, tmp_path)
    again = run_experiment(config, tmp_path)
    assert (again.state, again.path) == ("already done", old)
    assert run_experiment(config, tmp_path / "elsewhere").path.name != old.name
    config.init_from = str(other)
    assert run_experiment(config, tmp_path).path != old
    for level in ("verify", "full"):
        code, lines = judge(old, level)
        assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


@pytest.mark.slow
def test_a_run_with_the_vocabulary_in_its_hash_is_reproduced(
    tuned, alike, tmp_path: Path, judge: Judge
) -> None:
    run = run_experiment(tuned(alike[0]), tmp_path).path
    for level in ("verify", "full"):
        code, lines = judge(run, level)
        assert (code, lines[-1][:9]) == (0, "IDENTICAL"), lines


def test_a_run_of_an_earlier_gptexp_that_was_interrupted_goes_on(
    tuned, alike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tuned(alike[0], "trainer.max_steps=12")
    with monkeypatch.context() as patch:
        patch.setattr(identity, "_is_told", lambda *_: True)
        stop_before_step(config, tmp_path, 6)
    [old] = (tmp_path / config.name).iterdir()
    assert run_experiment(config, tmp_path).path == old
    assert summary(old)["steps"] == 12


# What is wrong with it


@pytest.mark.parametrize("spoil", ["nope", "empty", "junk.pt", "config", "checkpoint"])
def test_what_is_wrong_behind_init_from_names_the_key(
    small: Small, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.pt").write_bytes(b"junk")
    words = str(trained) if spoil in ("config", "checkpoint") else spoil
    if spoil == "config":
        (trained / "config.yaml").write_text("a: 1\n")
    if spoil == "checkpoint":
        (trained / "config.yaml").unlink()
        next(trained.glob("checkpoints/*.pt")).write_bytes(b"junk")
    config = put(small(), "init_from", words)
    found = [only(problems_of(inherited, config, [f"init_from={words}"]))]
    if spoil != "config":  # of which identity reads none
        found.append(only(problems_of(identify, config, tmp_path)))
    for line in found:
        assert line.startswith(f"init_from: {words}"), line


def problems_of(call: Callable[..., object], *arguments: object) -> list[str]:
    with pytest.raises(GptexpError) as refused:
        call(*arguments)
    assert refused.value.exit_code == 2
    assert all(ONE_LINE.fullmatch(line) for line in problem_lines(refused.value))
    return problem_lines(refused.value)
