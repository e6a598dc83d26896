"""Fixtures: a microGPT on documents, trained once, and one of a file made elsewhere."""

import json
import random
import shutil
from pathlib import Path

import pytest

from gptexp import reference
from gptexp.experiment.run import run_experiment

CHARS = "abcdelnou"

TRAINED: list[Path] = []  # the one run of the fixture `trained`


def write_documents(path):
    rng = random.Random(5)
    lines = ["".join(rng.choices(CHARS, k=rng.randint(2, 9))) for _ in range(60)]
    path.write_text("\n".join(lines))
    return path


def words_of(documents):
    """Overrides of a microGPT on `documents`, which import and run.py take alike."""
    return [
        "data=documents",
        f"data.path={documents}",
        "logger=none",
        "trainer.device=cpu",
        "trainer.sample_documents=3",
    ]


@pytest.fixture
def documents(tmp_path):
    return write_documents(tmp_path / "documents.txt")


@pytest.fixture
def words(documents):
    return words_of(documents)


@pytest.fixture
def train(composed):
    """`train(outputs, *words)`: the directory of a microGPT of twelve steps."""

    def call(outputs, *words):
        steps = ["trainer.max_steps=12", "trainer.eval_interval=4"]
        outcome = run_experiment(composed("experiment=microgpt", *steps, *words), outputs)
        assert outcome.state == "done", outcome.error
        return outcome.path

    return call


@pytest.fixture
def trained(train, tmp_path, tmp_path_factory):
    """The directory of such a run: a copy of one that is trained once."""
    if not TRAINED:
        folder = tmp_path_factory.mktemp("trained")
        documents = write_documents(folder / "documents.txt")
        TRAINED.append(train(folder / "outputs", *words_of(documents)))
    [run] = TRAINED
    return shutil.copytree(run, tmp_path / "outputs" / run.parent.name / run.name)


@pytest.fixture
def foreign(tmp_path):
    """A file made elsewhere: float64 weights, two layers, more keys than needed."""
    rows = reference.draw_weights(random.Random(1), len(CHARS) + 1, 2, 8, 6)
    stored = {
        "config": {"n_embd": 8, "n_head": 2, "n_layer": 2, "block_size": 6, "init_std": 0.08},
        "training": {"num_steps": 300, "final_loss": 2.281591759987865},
        "chars": list(CHARS),
        "state_dict": rows,
    }
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(stored))
    return path
