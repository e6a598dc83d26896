"""A page of microGPT's kind: which runs are on it, in which order, and what is counted."""

import json
import math
import re
import shutil
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import pytest
from small_runs import only, refusal

from gptexp.data.load import format_of
from gptexp.errors import DataError, Problem
from gptexp.inference.load import load_run
from gptexp.playground import contents
from gptexp.playground import ladder as ladders
from gptexp.playground import page as pages
from gptexp.playground.page import HERE, MICRO_SCRIPTS, SCRIPTS
from gptexp.playground.room import with_room
from gptexp.playground.stages import adds, place, title


@pytest.fixture
def page_of(gptexp, tmp_path):
    """`page_of(run, ...)`: their page, what its ladder holds or None, and what was printed."""

    def call(*runs):
        result = gptexp("playground", *runs, "--to", tmp_path / "p.html")
        assert result.code == 0, result.err
        text = (tmp_path / "p.html").read_text()
        found = re.findall(r'id="ladder-data">(.*?)</script>', text, re.DOTALL)
        return text, json.loads(found[0]) if found else None, result.out + result.err

    return call


@pytest.fixture
def seeds(trained, tmp_path):
    """`seeds(n, **values)`: copies of a run, with these values in their summaries and n seeds."""

    def call(count, folder, **values):
        runs = []
        for seed in range(count):
            run = Path(shutil.copytree(trained, tmp_path / folder / f"s{seed}"))
            summary = json.loads((run / "summary.json").read_text())
            summary["config"] |= {"seed": seed}
            summary["config"]["optim"] |= values
            summary["best"]["val_loss"] = 2.5 - seed / 100
            (run / "summary.json").write_text(json.dumps(summary))
            runs.append(run)
        return runs

    return call


@pytest.mark.slow
def test_a_lone_microgpt_stands_above_the_pairs_of_its_whole_text(page_of, trained):
    _, found, _ = page_of(trained)
    counted, own = found["stages"]
    assert (counted["title"], own["title"]) == ("Counting 54 documents", "microGPT")
    assert (counted["run"], own["run"]) == (None, 0)
    data = load_run(trained).config.data
    lines = format_of(data).normalise(Path(data.path).read_text()).strip().split("\n")
    train, val, tokens = lines[:54], lines[54:], sorted(set("\n".join(lines)))
    pairs = {a + b: 0 for a in tokens for b in tokens}
    for line in train:
        for pair in zip("\n" + line, line + "\n", strict=True):
            pairs["".join(pair)] += 1
    assert sorted(pairs.values()) == sorted(chain(*found["counts"]))
    losses = [
        -math.log((pairs[a + b] + 1) / (sum(pairs[a + c] for c in tokens) + len(tokens)))
        for line in val
        for a, b in zip("\n" + line, line + "\n", strict=True)
    ]
    assert counted["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert found["text"] == val[0], "a document that was not trained on"
    [learner] = found["learners"]
    assert learner == {"run": 0, "optimizer": "adam", "lr": 0.01, "beta1": 0.85, "beta2": 0.99}


@pytest.mark.parametrize("place", [(contents, "own_text"), (ladders, "own_text")])
def test_without_its_text_a_microgpt_stands_alone(page_of, trained, monkeypatch, place):
    def gone(*_):
        raise DataError(Problem("documents.txt", "not there", "put it there"))

    monkeypatch.setattr(*place, gone)
    _, found, out = page_of(trained)
    assert out.count("documents.txt: not there\n") == 1
    assert [stage["title"] for stage in found["stages"]] == ["microGPT"]
    assert len(found["text"]) == 4 and "counts" not in found


def test_other_runs_have_no_ladder_and_none_of_its_scripts(page_of, finished):
    text, found, _ = page_of(finished)
    assert found is None
    assert "class Ladder" not in text and "rungs" not in text


def test_ids_and_names_of_scripts_are_there_once(page_of, trained):
    text, *_ = page_of(trained)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert sorted(ids) == sorted(set(ids))
    scripts = [(HERE / f"{name}.js").read_text() for name in (*SCRIPTS, *MICRO_SCRIPTS)]
    names = re.findall(r"^(?:const|let|class|function) (\w+)", "\n".join(scripts), re.MULTILINE)
    assert sorted(names) == sorted(set(names))
    asked = {name for script in scripts for name in re.findall(r'byId\("([\w-]+)"\)', script)}
    assert asked - set(ids) == {"subject"}, "it is there with several runs"


def test_microgpt_adds_less_than_40_kb_of_scripts(page_of, trained, monkeypatch):
    with_them = len(page_of(trained)[0])
    monkeypatch.setattr(pages, "MICRO_SCRIPTS", ())
    assert 20_000 < with_them - len(page_of(trained)[0]) < 40_000


def test_the_stages_of_the_ladder_come_in_its_order_and_each_adds_something(composed):
    bigram, mlp, head, micro = (
        composed(f"experiment={rung}")
        for rung in ("ladder_bigram", "ladder_mlp", "ladder_head", "microgpt")
    )
    mlp3 = replace(mlp, model=replace(mlp.model, context=3))
    heads = replace(head, model=replace(head.model, n_head=4))
    layers = replace(micro, model=replace(micro.model, n_layer=2))
    configs = [bigram, mlp, mlp3, head, heads, micro, layers]
    assert sorted([layers, mlp3, bigram, heads, micro, mlp, head], key=place) == configs
    told = [adds(config, before) for before, config in pairwise([None, *configs])]
    for words, wanted in zip(
        told,
        ["counted", "one token", "3 tokens", "Attention", "4 heads", "Adam", "2 layers"],
        strict=True,
    ):
        assert wanted in words
    assert "Adam" not in told[3] and "Attention" not in told[4]
    titles = [title(config, config.model.kind == "gpt") for config in configs]
    assert len(set(titles)) == 7 and titles[5] == "microGPT"
    other = replace(micro, seed=3, optim=replace(micro.optim, lr=0.02))
    assert adds(other, micro) == "The same but for seed=3, optim.lr=0.02."
    assert adds(micro, micro) == "The same once more."


def test_of_more_runs_than_there_is_room_for_the_best_seed_of_each_setting_is_shown(seeds, page_of):
    runs = [*seeds(6, "one"), *seeds(5, "other", lr=0.02)]
    shown = with_room(runs)
    assert list(shown) == [runs[5], runs[10]]
    assert len(shown[runs[5]]) == 6 and len(shown[runs[10]]) == 5
    assert list(with_room(runs[:9])) == runs[:9], "each is a line, so nine have room"
    _, found, out = page_of(*runs)
    assert out.startswith("11 runs are 2 but for their seeds: the best of each is on the page\n")
    stage = found["stages"][1]
    assert stage["seeds"] == 6 and stage["loss"] == pytest.approx(2.475)
    assert stage["spread"] == pytest.approx(2.571 * 0.01871 / math.sqrt(6), rel=1e-3)


def test_more_settings_than_there_is_room_for_are_refused_in_a_line(seeds, finished, tmp_path):
    runs = [run for i in range(10) for run in seeds(2, f"lr{i}", lr=0.01 + i)]
    line = only(refusal(with_room, runs).splitlines())
    assert line == (
        "runs: 20, 10 but for their seeds, and a page has room for 9 side by side. Fix: name fewer"
    )
    texts = [Path(shutil.copytree(finished, tmp_path / f"t{i}")) for i in range(7)]
    assert list(with_room(texts)) == texts[:1], "copies of one run"
