"""Keys and passwords on a command line are in no file of a run, a sweep or a report."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_runs import SMALL

from gptexp.report.overview import commands
from gptexp.report.page import write_report
from gptexp.runs import provenance
from gptexp.runs.secrets import masked

HEX = "0123456789abcdef" * 2 + "01234567"  # 40 digits, as W&B's keys have
SECRETS = [
    ("+hydra.job.env_set.WANDB_API_KEY=canary", "+hydra.job.env_set.WANDB_API_KEY=***"),
    ("++hydra.job.env_set={A: canary one, B: 'canary'}", "++hydra.job.env_set=***"),
    (f"name={HEX}", "name=***"),
    (f"logger.tags=[local-{HEX},b]", "logger.tags=[***,b]"),
    ("wandb_v1_canaryCANARY0123456789_canary", "***"),
    ("name=hf_canaryCANARY0123456789", "name=***"),
    ("sk-proj-canaryCANARY0123456789-xyz", "***"),
    ("x=ghp_canaryCANARY0123456789", "x=***"),
    ("data.path=https://me:canary@host/a.txt", "data.path=https://***@host/a.txt"),
    ("https://host/?a=1&token=canary&b=2", "https://host/?a=1&token=***&b=2"),
    ("x.api_key=canary", "x.api_key=***"),
    ("--api-key=canary", "--api-key=***"),
    ("MY_PASSWORD='canary two'", "MY_PASSWORD=***"),
]
PLAIN = [
    "outputs/default/laptop-shakespeare-f1-s0-7a91c4c2",
    f"data.path=/cache/snapshots/{HEX}/train.txt",
    f"init_from=runs/{HEX}",
    "a" * 64,  # a digest
    *("trainer.max_tokens=1000", "tokenizer=char", "trainer.sample_tokens=8", "seed=0"),
    *("name=sk-learn-baseline-run-2", "name=top_secret", "name=hf_small_model_for_tests"),
    "data.path=/data/token=bert/part.txt",
    "https://host/a?b=1",
]


@pytest.mark.parametrize(("word", "shown"), SECRETS)
def test_J6_what_looks_like_a_secret_is_masked(word, shown):
    assert masked(word) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize("word", PLAIN)
def test_J6_what_is_none_is_left_as_it_is(word):
    assert masked(word) == word


def test_P8_bytes_that_no_json_can_hold_are_spelled_out():
    assert masked("hydra.run.dir=caf\udce9").encode() == rb"hydra.run.dir=caf\udce9"


@pytest.fixture
def trained(command, text_file, monkeypatch):
    """`trained("logger=none")`: a run and a sweep of two, with a secret on their command lines."""
    monkeypatch.setattr(provenance, "git", dict)
    words = [word.replace("max_steps=12", "max_steps=2") for word in SMALL if word != "logger=none"]
    words += [f"data.path={text_file}", "+hydra.job.env_set.MINE=canary"]

    def call(*more: str) -> None:
        assert command(*words, *more).code == 0
        assert command("-m", *words, "seed=1,2", "logger=none").code == 0

    return call


def assert_hidden() -> None:
    files = [path for path in Path("outputs").rglob("*") if path.is_file()]
    assert [path for path in files if b"canary" in path.read_bytes()] == []
    manifests = [path for path in files if path.name == "manifest.json"]
    assert len(manifests) == 3
    assert all("env_set.MINE=***" in path.read_text() for path in manifests)


def test_F7_J6_no_file_of_a_run_or_a_sweep_holds_a_secret_of_its_command(trained):
    trained("logger=none")
    assert_hidden()


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_service")
def test_F7_J6_nor_does_a_file_of_a_dashboard_or_a_report(trained):
    trained("logger=both")
    write_report(Path("outputs/default"))
    assert list(Path("outputs").rglob("*.wandb"))
    assert_hidden()


def test_J6_a_report_masks_what_an_early_manifest_holds():
    record = SimpleNamespace(manifest={"command": ["run.py", "x.token=canary", "seed=1"]})
    results = SimpleNamespace(records={"one": record})
    assert commands(results) == [("python run.py 'x.token=***' seed=1", 1)]
