"""`gptexp explain`: the text is fit to be read, of a corpus and of a run."""

import math
import re
import sys

import pytest
import torch
from small_runs import ONE_LINE, ROOT, only, problem_lines
from switches import COMBINATIONS, overrides, words

import gptexp
from gptexp.cli.app import main
from gptexp.config import from_overrides
from gptexp.errors import ConfigError, DataError
from gptexp.experiment.run import run_experiment
from gptexp.explain.command import explain
from gptexp.explain.trace import trace_text

TINY = ["model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=16"]

LAPTOP = ["model=laptop", *TINY]

# Every switch of the GPT at least once each way, and the models that are none.
VARIANTS = {
    "microgpt": [],
    "nanogpt": LAPTOP,
    "without positions": ["model.position=none"],
    "without norms at the ends": ["model.embd_norm=false"],
    "layernorm after the embeddings": [*LAPTOP, "model.embd_norm=true", "model.bias=false"],
    "tied head": ["model.tie_head=true", "model.norm_gain=true"],
    "gelu and biases": ["model.activation=gelu", "model.bias=true"],
    "dropout": ["model.dropout=0.5"],
    "deep": ["model.n_layer=4", "model.n_head=8"],
    "one head": ["model.n_head=1"],
    "perceptron": ["model=mlp", "model.context=3"],
    "long perceptron": ["model=mlp", "model.context=16"],
    "bigram": ["model=bigram"],
    "bytes": ["tokenizer=byte"],
    "sgd": ["experiment=ladder_heads"],
    "clipped": ["trainer.grad_clip=0.1", "optim=adamw"],
    "warm-up": ["schedule.warmup_steps=9"],
}

MUP = "optim.scaling=mup"


def numbers_of(text: str, stage: str) -> list[str]:
    """The lines of one stage."""
    _, _, rest = text.partition(f"  {stage} ")
    return re.split(r"\n\n\d  ", rest)[0].splitlines()[1:]


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_rendered_in_lines_that_fit(names, name):
    overrides = VARIANTS[name]
    text = explain("documents", [*names, *overrides], None)
    assert max(map(len, text.splitlines())) <= 100
    assert len(text.splitlines()) < 160
    headings = re.findall(r"(?m)^(\d)  ([A-Z][A-Z, ]+) -+ gptexp/(\S+\.py)", text)
    assert [int(number) for number, *_ in headings] == list(range(1, len(headings) + 1))
    assert all((ROOT / "gptexp" / file.rstrip(":")).is_file() for *_, file in headings)
    titles = [title for _, title, _ in headings]
    is_gpt = name not in ("perceptron", "long perceptron", "bigram")
    assert ("ATTENTION" in titles) == ("RESIDUAL STREAM" in titles) == is_gpt
    assert ("EMBEDDINGS" in titles) == (name != "bigram")
    assert titles[-3:] == ["LOGITS, PROBABILITIES", "LOSS", "ONE UPDATE"]
    assert ("position row" in text) == (is_gpt and name != "without positions")


@pytest.mark.parametrize("switches", COMBINATIONS, ids=words)
def test_each_switch_of_the_model_is_told_rightly(names, switches):
    sizes = ["model.n_layer=2", "model.n_head=4", "model.n_embd=16", "model.block_size=16"]
    text = explain("documents", [*names, *sizes, *overrides(switches)], "isabella")
    assert max(map(len, text.splitlines())) <= 100
    told = " ".join(text.split())
    heads = {None: "keys of its own", 2: "2 in a row share", 1: "are the same for all"}
    assert heads[switches["n_kv_head"]] in told
    assert ("turned by their position" in told) == (switches["position"].value == "rope")
    assert ("position row" in told) == (switches["position"].value == "learned")
    assert ("scaled to an RMS of 1 first" in told) == switches["qk_norm"]
    assert ("begins at zero" in told) == switches["zero_init"]
    assert ("times their gates" in told) == switches["activation"].gated
    windows = switches["window"]
    assert ("Layer 1 sees the last" in told) == bool(windows)
    assert ("Layer 2 sees the last 5 tokens" in told) == (windows == [5])
    seen = [len([*re.finditer(r"[.1]\d", row)]) for row in rows_of(text, "layer 1, head 1")]
    assert seen == [min(place + 1, windows[0] if windows else 8) for place in range(8)]


def test_learning_rates_over_the_width_are_told(names):
    words = [*names, "optim=adamw", "optim.base_width=32"]
    plain, scaled = (explain("documents", [*words, *more], "ava") for more in ([], [MUP]))
    assert ("goes with the width" in plain, "goes with the width" in scaled) == (False, True)


def rows_of(text: str, title: str) -> list[str]:
    """The rows of the first table in the line of a title, without their labels."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if title in line)
    size = lines[start].index("layer", lines[start].index(title) + 5)
    return [line[4:size] for line in lines[start + 2 : start + 10]]


@pytest.mark.parametrize("name", ["dropout", "perceptron", "bytes"])
def test_the_text_is_the_same_each_time(names, name):
    one, two = (explain("documents", [*names, *VARIANTS[name]], None) for _ in range(2))
    assert one == two


def test_the_numbers_of_the_text_are_those_of_the_walk(names, walked):
    *_, found = walked()
    text = explain("documents", names, "emma")
    rows = [line.split() for line in numbers_of(text, "LOGITS, PROBABILITIES")[-5:]]
    assert [row[0] for row in rows] == ["↵", "e", "m", "m", "a"]
    assert [row[-4] for row in rows] == ["e", "m", "m", "a", "↵"]
    assert [row[-1] for row in rows] == [f"{loss:.3f}" for loss in found.losses.tolist()]
    best = found.logits.softmax(-1).max(-1)
    assert [row[2] for row in rows] == [f"{p:.3f}" for p in best.values.tolist()]
    assert [row[1] for row in rows] == [found.vocabulary[i] for i in best.indices.tolist()]
    assert f"{math.log(len(found.vocabulary)):.4f}" in text
    assert f"{found.loss:.4f}" in text and f"{found.update.loss:.4f}" in text
    first = found.layers[0].weights[0, 4].tolist()
    shown = " ".join(f"{weight:.2f}"[1:] for weight in first)
    assert f"a {shown}" in text


def test_long_texts_and_deep_models_say_what_is_not_shown(names):
    deep = explain("documents", [*names, "model.n_layer=4", "model.n_head=8"], "isabellasophia")
    assert "the first 8 of 15 positions are shown" in deep
    assert "Shown are 4 of 8 heads" in deep
    assert "Layers 2 to 3 are not shown" in deep
    assert "layer 4, head 4" in deep and "layer 2" not in deep
    cut = explain("documents", names, "isabella" * 3)
    assert "The context holds 16 tokens" in cut and "16 positions" in cut


def test_wide_characters_keep_the_columns(tmp_path):
    path = tmp_path / "wide.txt"
    path.write_text("漢字かな\n" * 30)
    text = explain("documents", [f"data.path={path}"], "漢字かな")
    rows = numbers_of(text, "RESIDUAL STREAM")[-5:]
    assert len({len(row) + len(re.findall("[漢字かな]", row)) for row in rows}) == 1


def test_of_a_text_a_few_tokens_of_the_validation_split_are_read(text_file):
    path = f"data.path={text_file}"
    text = explain("text", [path], None)
    content = text_file.read_text()
    val = content[int(len(content) * 0.9) :]
    shown = "".join({"\n": "↵", " ": "␣"}.get(c, c) for c in val[:9])
    assert f"reads {shown} and" in text
    assert "BOS" not in text
    assert "reads to␣be↵ and" in explain("text", [path], "to be\n")


def test_an_untrained_model_is_the_one_that_a_run_begins_with(names, tmp_path):
    words = [*names, "seed=3", "schedule.warmup_steps=4", "optim.lr=0.02", "trainer.keep=all"]
    words += ["trainer.max_steps=5", "logger=none"]
    text = explain("documents", words, "ava")
    assert "untrained, seed 3" in text and "learning rate of 0.004," in text
    config = from_overrides(["experiment=microgpt", "data=documents", *words])
    outcome = run_experiment(config, tmp_path / "outputs")
    first = next((outcome.path / "checkpoints").glob("step-*0.pt"))
    loaded = gptexp.load(first)
    assert loaded.step == 0
    ids = torch.from_numpy(loaded.tokenizer.encode("\nava\n"))
    found = trace_text(loaded.model, loaded.tokenizer, config, ids, 0.004)
    assert f"{found.loss:.4f}" in text and f"{found.update.loss:.4f}" in text


def test_a_run_shows_its_best_weights_and_is_not_changed(finished, tmp_path, monkeypatch):
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    text = explain(str(finished), [], "to be or")
    loaded = gptexp.load(finished)
    ids = torch.from_numpy(loaded.tokenizer.encode("to be or"))
    found = trace_text(loaded.model, loaded.tokenizer, loaded.config, ids, loaded.config.optim.lr)
    assert f"{found.loss:.4f}" in text and f"{found.update.loss:.4f}" in text
    assert f"weights of step {loaded.step}" in " ".join(text.split())
    explain(str(finished), [], None)
    alone = tmp_path / "alone.pt"
    alone.write_bytes(next((finished / "checkpoints").glob("step-*.pt")).read_bytes())
    stages = [whole.partition("TOKENS")[2] for whole in (text, explain(str(alone), [], "to be or"))]
    assert stages[0] == stages[1] != ""
    alone.unlink()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_a_run_whose_corpus_has_gone_needs_a_text(small, text_file, tmp_path):
    run = run_experiment(small(), tmp_path / "outputs").path
    text_file.unlink()
    explain(str(run), [], "to be")
    with pytest.raises(DataError, match=r"text\.txt is not there.*Fix: .*--text"):
        explain(str(run), [], None)


@pytest.mark.parametrize(
    ("what", "overrides", "text", "pattern"),
    [
        ("nowhere", [], None, "nowhere: .*names.*Fix: gptexp explain names"),
        ("shakespear", [], None, "Fix: gptexp explain shakespeare"),
        ("model.n_layer=2", [], None, "model.n_layer=2: .*Fix: "),
        ("dialogues", [], None, "dialogues: of conversations.*Fix: names, or shakespeare"),
        ("documents", ["model.n_layr=2"], None, r"model\.n_layr: .*did you mean"),
        ("documents", ["model.n_layer=0"], None, r"model\.n_layer: 0 is below 1"),
        ("documents", ["init_from=x"], None, "init_from: .*Fix: gptexp explain x"),
        ("documents", ["branch_from=x"], None, "branch_from: .*Fix: gptexp explain x"),
        ("documents", [], "émma", r"'é' \(U\+00E9\)"),
        ("documents", [], "em\nma", "--text: .*one document"),
        ("documents", [], "", "--text: '' is not one document"),
    ],
)
def test_what_is_wrong_is_one_line(names, what, overrides, text, pattern):
    given = [*names, *overrides] if what == "documents" else overrides
    with pytest.raises((ConfigError, DataError), match=pattern) as raised:
        explain(what, given, text)
    assert ONE_LINE.fullmatch(only(problem_lines(raised.value)))


def test_a_text_needs_two_tokens_and_a_run_takes_no_overrides(text_file, finished):
    with pytest.raises(DataError, match=r"--text: 't' has no token that follows.*Fix: "):
        explain("text", [f"data.path={text_file}"], "t")
    with pytest.raises(ConfigError, match=r"seed=1: a run has its own config\. Fix: "):
        explain(str(finished), ["seed=1"], None)


def test_the_command_prints_it(names, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["gptexp", "explain", "documents", *names, "--text", "mia"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert shown == explain("documents", names, "mia") + "\n"
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr(sys, "argv", ["gptexp", "explain", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.fullmatch(r"gptexp: error: nowhere: .+\n", capsys.readouterr().err)
