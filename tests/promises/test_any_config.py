"""A1, A5, A11, J3: any value of any key makes a config that is stored as it is, or one clean line.

The found cases stand as examples before what is drawn.
"""

from collections.abc import Callable
from pathlib import Path

import any_words
import pytest
from any_words import COMMANDS, TYPEABLE
from fuzzing import assert_one_line_each, in_a_process, unshrunk
from hypothesis import example, given
from small_runs import ROOT, only

from gptexp.config import check, compose, config_hash, from_yaml, grid, to_dict, to_yaml
from gptexp.errors import ConfigError, GptexpError
from gptexp.experiment.identity import identify
from gptexp.experiment.prepare import prepare
from gptexp.files import json_sha256

DEEP = "{a:" * 300 + "1" + "}" * 300
FOUND = [  # each ended in a traceback, a hang or a config that could not be read again
    "optim.lr=" + "9" * 400,
    "optim.lr=" + "9" * 5000,
    "trainer.max_tokens=" + "9" * 400,
    "schedule.warmup_steps=" + "9" * 400,
    "trainer.sample_interval=" + "9" * 400,
    f"seed={DEEP}",
    "seed=" + "[" * 2000,
    "model.n_head=4611686018427387904",
    "data=[[1]]",
    "data=[1]",
    "data=${oc.create:[1,2]}",
    "~optim=0.0",
    "model=\0",
    "model=" + "a" * 10_000,
    "recipe=" + "a" * 10_000,
    "trainer.device=cpu\n",
    "trainer.keep=a\nb",
    "logger.tags=a\nb",
    "Á\x85=",
    "logger.group=\udcff",
    "data.path=\udcff",
    "logger.tags=${oc.dict.values:model}",
    "logger.tags=${oc.create:[1,2]}",
    "logger.tags=${name}",
    "logger.tags=${model}",
]


@pytest.fixture
def accepted(text_file: Path, tmp_path: Path, monkeypatch) -> Callable[[list[str]], bool]:
    """`accepted(words)`: whether they are a run's config, up to its first step; nothing is made."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(words: list[str]) -> bool:
        try:
            with_text = any_words.completed(words, text_file)
            if (config := compose.single_run(with_text)) is None:
                return False  # Hydra's to answer
            check(config)
        except GptexpError as error:
            assert_one_line_each(error)
            return False
        again = from_yaml(to_yaml(config))
        assert again == config
        assert config_hash(again, "a", "b") == config_hash(config, "a", "b")
        assert json_sha256(to_dict(again)) == json_sha256(to_dict(config))
        try:
            identity = identify(config, Path("outputs"))
            assert identity.directory.path.parent.parent == Path("outputs")
            prepare(config, identity)
        except GptexpError as error:
            assert_one_line_each(error)
            return False
        finally:
            assert not list(folder.iterdir())
        return True

    return call


def with_found(test: Callable[..., None]) -> Callable[..., None]:
    for word in FOUND:
        test = example([word])(test)
    return test


@with_found
@unshrunk(50)
@given(COMMANDS)
def test_A5_A11_J3_any_config_is_stored_as_it_is_or_is_refused_in_lines(accepted, words):
    accepted(words)


@pytest.mark.drawn
@pytest.mark.slow
def test_A5_A11_J3_a_thousand_configs_and_a_hundred_as_processes(accepted, tmp_path):
    counts = {"in process": 0, "accepted": 0, "processes": 0}

    @unshrunk(1000)
    @given(COMMANDS)
    def in_process(words):
        counts["in process"] += 1
        counts["accepted"] += accepted(words)

    @unshrunk(110)
    @given(TYPEABLE)
    def as_a_process(words):
        counts["processes"] += 1
        refused_in_a_process(words, tmp_path / "work")

    in_process()
    as_a_process()
    print(f"\nconfigs: {counts}")
    assert counts["in process"] >= 1000 and counts["processes"] >= 100
    assert counts["accepted"] > 50


def refused_in_a_process(words: list[str], folder: Path) -> None:
    """Its text is not there, so that whatever the words are it ends before torch is imported."""
    there_is_none = any_words.completed(words, Path("there_is_none.txt"))
    result = in_a_process(ROOT / "run.py", *there_is_none, cwd=folder)
    assert result.code in (2, 4), (words, result.err)
    notes = [line for line in result.err.splitlines() if " is given again: " in line]
    said = "".join(f"{line}\n" for line in result.err.splitlines() if line not in notes)
    assert result._replace(err=said).errors
    assert not list(folder.iterdir()), words


def test_J3_a_file_of_a_long_name_is_no_choice_and_that_is_one_line(refused):
    line = only(refused("model=" + "a" * 300))
    assert line.startswith("model") and len(line) < 300


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["optim.lr=" + "9" * 5000], "optim.lr: 9999"),
        (["seed=1", f"optim.lr={DEEP}"], "optim.lr: {a:{a:"),
        (["data=[[1]]"], "data: [[1]] is no choice"),
        (["optim.lr=" + "9" * 400], "optim.lr: int too large"),
        (["trainer.keep=a\nb"], "trainer.keep=a\\nb: its value cannot be read"),
    ],
)
def test_J2_J3_what_hydra_has_no_words_for_is_named_by_its_key_in_one_line(refused, words, part):
    line = only(refused(*words))
    assert part in line and len(line) < 250


@pytest.mark.parametrize("key", ["logger.group", "data.path", "init_from"])
def test_A11_a_text_that_no_file_can_hold_is_refused(key):
    words = ["data=text", "data.path=a.txt"] if key != "data.path" else ["data=text"]
    config = compose.single_run([*words, f"{key}=a\udcff"])
    with pytest.raises(ConfigError, match=f"{key}: 'a.*' is not UTF-8"):
        check(config)


@pytest.mark.parametrize("word", ["seed=range(0,1000000000)", "seed=sort(range(0,1000000000))"])
def test_J3_a_sweep_of_more_points_than_fit_is_refused_before_they_are_made(word):
    with pytest.raises(ConfigError, match="seed: a sweep of more than 100,000 points"):
        grid.of_command(["-m", word])


def test_J3_so_is_one_of_many_keys():
    with pytest.raises(ConfigError, match="trainer.max_steps: a sweep of more than 100,000"):
        grid.of_command(["-m", "seed=range(0,1000)", "trainer.max_steps=range(1,1000)"])
