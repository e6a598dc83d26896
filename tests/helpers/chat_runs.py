"""Small runs of conversations: letters with a fixed answer that is sometimes another one."""

import random
from pathlib import Path

import pytest
from chats import line, write_chats

from gptexp.config import Config
from gptexp.experiment.run import run_experiment

ANSWERS = {"a": "b", "c": "ab", "e": "ffff"}  # what is learned


def lines(count: int = 60) -> list[str]:
    """One to three questions each; three of ten answers are another letter's."""
    drawn = random.Random(0)
    made = []
    for _ in range(count):
        asked = [drawn.choice("ace") for _ in range(drawn.randint(1, 3))]
        turns = [(q, ANSWERS[q if drawn.random() < 0.7 else drawn.choice("ace")]) for q in asked]
        made.append(line(*(text for turn in turns for text in turn)))
    return made


@pytest.fixture
def chat_config(small, tmp_path):
    """`chat_config("seed=1")`: SMALL on such conversations, in bytes."""
    path = write_chats(tmp_path / "chats.jsonl", lines())

    def build(*overrides: str) -> Config:
        common = ["data=chat", f"data.path={path}", "tokenizer=byte", "model.block_size=24"]
        common += ["model.dropout=0.0", "data.val_fraction=0.4", "trainer.sample_documents=3"]
        return small(*common, *overrides)

    return build


LEARNED = [
    "trainer.max_steps=40",
    "trainer.eval_interval=20",
    "optim.lr=0.02",
    "trainer.batch_size=8",
]


@pytest.fixture
def chat_run(chat_config, once, tmp_path) -> Path:
    """One that has learned most of the answers."""
    return once(chat_config(*LEARNED), tmp_path / "outputs")


def trained(config: Config, outputs: Path) -> Path:
    """The directory of a run that is trained now."""
    outcome = run_experiment(config, outputs)
    assert outcome.state == "done", outcome.error
    assert outcome.path is not None
    return outcome.path
