"""`gptexp explain`: the numbers are those of the model, and the text is fit to be read."""

import copy
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from small_runs import ONE_LINE, ROOT, only, problem_lines

import gptexp
from gptexp.cli.app import main
from gptexp.config import Config, from_overrides
from gptexp.data.load import load_corpus
from gptexp.errors import ConfigError, DataError
from gptexp.experiment.run import run_experiment
from gptexp.explain.command import explain
from gptexp.explain.trace import Trace, trace_text
from gptexp.inference.loss import token_losses
from gptexp.models.build import build_model
from gptexp.models.gpt import GPT
from gptexp.models.hooks import record_activations
from gptexp.optim.build import build_optimizer
from gptexp.runtime.random import stream_seed
from gptexp.tokenizers.base import Tokenizer

NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "evelyn", "abi", "harper"]
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


def explained(what: str, overrides: list[str], text: str | None) -> str:
    """`explain`, whatever a fixture has composed before."""
    GlobalHydra.instance().clear()
    return explain(what, overrides, text)


@pytest.fixture
def names(tmp_path) -> list[str]:
    """Overrides for documents of our own."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES * 3))
    return [f"data.path={path}"]


def tokenizer_of(config: Config) -> Tokenizer:
    return load_corpus(config.data, config.tokenizer, config.model.block_size).tokenizer


@pytest.fixture
def walked(composed, names):
    """`walked("model.n_layer=2")`: config, model, ids of emma, and the walk of an untrained one."""

    def build(*overrides: str, text: str = "\nemma\n"):
        given = {"experiment=microgpt", "data=documents", *names, *overrides}
        if any(word in given for word in ("model=bigram", "model=mlp")):
            given.remove("experiment=microgpt")
            given.add("experiment=ladder_" + ("mlp" if "model=mlp" in given else "bigram"))
        config = composed(*sorted(given))
        tokenizer = tokenizer_of(config)
        seed = stream_seed(config.seed, "init")
        network = build_model(config.model, tokenizer.vocab_size, seed)
        ids = torch.from_numpy(tokenizer.encode(text))
        lr = config.optim.lr
        return config, network, ids, trace_text(network, tokenizer, config, ids, lr)

    return build


KINDS = [[], LAPTOP, ["model.n_layer=3"], ["model.tie_head=true"], ["model=mlp"], ["model=bigram"]]


@pytest.mark.parametrize("overrides", KINDS, ids=" ".join)
def test_logits_and_losses_are_those_of_a_plain_forward_pass(walked, overrides):
    _, network, ids, found = walked(*overrides)
    with torch.no_grad():
        logits = network.eval()(ids[None, :-1])
    losses = token_losses(logits, ids[None, 1:])
    assert torch.equal(found.logits, logits[0])
    assert torch.equal(found.losses, losses[0])
    assert found.loss == losses.mean().item()
    assert (found.ids, found.target_ids) == (ids[:-1].tolist(), ids[1:].tolist())


def test_dropout_plays_no_part(walked):
    _, network, ids, found = walked("model.dropout=0.5")
    assert network.training  # and is left so
    with torch.no_grad():
        assert torch.equal(found.logits, network.eval()(ids[None, :-1])[0])
    *_, without = walked("model.dropout=0.0")
    assert without.update == found.update


def _ids(found: Trace) -> torch.Tensor:
    return torch.tensor([*found.ids, found.target_ids[-1]])


@pytest.mark.parametrize("overrides", [[], LAPTOP, ["model.n_layer=3"]], ids=" ".join)
def test_attention_is_causal_and_each_row_adds_up_to_one(walked, overrides):
    config, network, _, found = walked(*overrides)
    assert len(found.layers) == config.model.n_layer
    with torch.no_grad():  # away from the flat attention of fresh weights
        for parameter in network.parameters():
            parameter.mul_(4.0)
    found = trace_text(network, tokenizer_of(config), config, _ids(found), 0.01)
    for block, layer in zip(network.blocks, found.layers, strict=True):
        values = block.attention.heads(block.attention_norm(layer.before)[None])[2]
        mixed = (layer.weights @ values).transpose(1, 2).reshape(layer.before.shape)
        torch.testing.assert_close(block.attention.proj(mixed), layer.attention)
        assert layer.weights.shape == (config.model.n_head, 5, 5)
        assert (layer.weights.triu(1) == 0).all()
        torch.testing.assert_close(layer.weights.sum(-1), torch.ones(config.model.n_head, 5))


@pytest.mark.parametrize("overrides", [[], LAPTOP, ["model.n_layer=3"]], ids=" ".join)
def test_the_stages_join_on_to_each_other(walked, overrides):
    """Sum of both rows; each branch is added; the last stream is what the head makes logits of."""
    _, network, ids, found = walked(*overrides)
    assert isinstance(network, GPT)
    rows = found.embeddings
    assert torch.equal(rows.tokens, network.token_table.weight[ids[:-1]])
    assert torch.equal(rows.positions, network.position_table.weight[:5])
    assert torch.equal(rows.total, rows.tokens + rows.positions)
    stream = rows.total if rows.normed is None else rows.normed
    for layer in found.layers:
        assert torch.equal(layer.before, stream)
        assert torch.equal(layer.between, layer.before + layer.attention)
        assert torch.equal(layer.after, layer.between + layer.mlp)
        assert layer.hidden.shape == (5, 4 * network.cfg.n_embd)
        stream = layer.after
    assert torch.equal(network.head(network.final_norm(stream)), found.logits)


def test_a_perceptron_has_its_context_and_hidden_units(walked):
    _, network, _, found = walked("model=mlp", "model.context=3")
    rows = found.embeddings.tokens
    assert torch.equal(found.perceptron.joined[2], rows[:3].flatten())
    assert (found.perceptron.joined[0, :32] == 0).all()
    assert torch.equal(network.head(found.perceptron.hidden), found.logits)
    assert (found.perceptron.hidden >= 0).all()


def test_a_bigram_update_counts_the_pairs(walked):
    *_, found = walked("model=bigram", text="\nmmm\n")
    assert not found.counts.seen.any()
    change = only(found.update.changes)
    assert change.change == pytest.approx(math.sqrt(1 + 2**2 + 1))  # BOS m; m m twice; m BOS
    vocab_size = len(found.vocabulary)
    pairs = [2 / (vocab_size + 1), *[3 / (vocab_size + 3)] * 2, 2 / (vocab_size + 3)]
    assert found.update.loss == pytest.approx(-sum(map(math.log, pairs)) / 4)


@pytest.mark.parametrize(
    "overrides", [[], [*LAPTOP, "trainer.grad_clip=0.1"], ["experiment=ladder_heads"]], ids=" ".join
)
def test_the_update_is_that_of_the_optimizer_built_by_hand(walked, overrides):
    config, network, ids, found = walked(*overrides)
    model = copy.deepcopy(network).eval()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(config.optim, model)
    token_losses(model(ids[None, :-1]), ids[None, 1:]).mean().backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    if config.trainer.grad_clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.trainer.grad_clip)
    optimizer.step()
    with torch.no_grad():
        after = token_losses(model(ids[None, :-1]), ids[None, 1:]).mean().item()
    assert found.update.loss == pytest.approx(after, abs=1e-6)
    assert {c.name: c.gradient for c in found.update.changes} == pytest.approx(norms)
    changes = {name: (p - before[name]).norm().item() for name, p in model.named_parameters()}
    assert {c.name: c.change for c in found.update.changes} == pytest.approx(changes)
    assert found.update.gradient == pytest.approx(math.hypot(*norms.values()))


def test_an_update_of_an_untrained_microgpt_lowers_the_loss_and_leaves_the_model_alone(walked):
    _, network, _, found = walked()
    assert found.update.loss < found.loss - 0.1
    *_, again = walked()
    assert again.update == found.update
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks for part in network.modules())


def test_hooks_are_taken_off_when_the_forward_pass_fails(walked):
    _, network, *_ = walked()
    with pytest.raises(IndexError):
        record_activations(network, torch.tensor([10_000]))
    assert not any(part._forward_hooks for part in network.modules())


# The text


def numbers_of(text: str, stage: str) -> list[str]:
    """The lines of one stage."""
    _, _, rest = text.partition(f"  {stage} ")
    return re.split(r"\n\n\d  ", rest)[0].splitlines()[1:]


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_rendered_in_lines_that_fit(names, name):
    overrides = VARIANTS[name]
    text = explained("documents", [*names, *overrides], None)
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
    assert text == explained("documents", [*names, *overrides], None), "deterministic"


def test_the_numbers_of_the_text_are_those_of_the_walk(names, walked):
    *_, found = walked()
    text = explained("documents", names, "emma")
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
    deep = explained("documents", [*names, "model.n_layer=4", "model.n_head=8"], "isabellasophia")
    assert "the first 8 of 15 positions are shown" in deep
    assert "Shown are 4 of 8 heads" in deep
    assert "Layers 2 to 3 are not shown" in deep
    assert "layer 4, head 4" in deep and "layer 2" not in deep
    cut = explained("documents", names, "isabella" * 3)
    assert "The context holds 16 tokens" in cut and "16 positions" in cut


def test_wide_characters_keep_the_columns(tmp_path):
    path = tmp_path / "wide.txt"
    path.write_text("漢字かな\n" * 30)
    text = explained("documents", [f"data.path={path}"], "漢字かな")
    rows = numbers_of(text, "RESIDUAL STREAM")[-5:]
    assert len({len(row) + len(re.findall("[漢字かな]", row)) for row in rows}) == 1


def test_of_a_text_a_few_tokens_of_the_validation_split_are_read(text_file):
    path = f"data.path={text_file}"
    text = explained("text", [path], None)
    content = text_file.read_text()
    val = content[int(len(content) * 0.9) :]
    shown = "".join({"\n": "↵", " ": "␣"}.get(c, c) for c in val[:9])
    assert f"reads {shown} and" in text
    assert "BOS" not in text
    assert "reads to␣be↵ and" in explained("text", [path], "to be\n")


def test_an_untrained_model_is_the_one_that_a_run_begins_with(names, tmp_path):
    words = [*names, "seed=3", "schedule.warmup_steps=4", "optim.lr=0.02", "trainer.keep=all"]
    words += ["trainer.max_steps=5", "logger=none"]
    text = explained("documents", words, "ava")
    assert "untrained, seed 3" in text and "learning rate of 0.004," in text
    config = from_overrides(["experiment=microgpt", "data=documents", *words])
    outcome = run_experiment(config, tmp_path / "outputs")
    first = next((outcome.directory / "checkpoints").glob("step-*0.pt"))
    loaded = gptexp.load(first)
    assert loaded.step == 0
    ids = torch.from_numpy(loaded.tokenizer.encode("\nava\n"))
    found = trace_text(loaded.model, loaded.tokenizer, config, ids, 0.004)
    assert f"{found.loss:.4f}" in text and f"{found.update.loss:.4f}" in text


# Runs


@pytest.fixture
def run(small, tmp_path) -> Path:
    outcome = run_experiment(small(), tmp_path / "outputs")
    assert outcome.state == "done"
    return outcome.directory


def test_a_run_shows_its_best_weights_and_is_not_changed(run, text_file, tmp_path, monkeypatch):
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path)
    text = explained(str(run), [], "to be or")
    loaded = gptexp.load(run)
    ids = torch.from_numpy(loaded.tokenizer.encode("to be or"))
    found = trace_text(loaded.model, loaded.tokenizer, loaded.config, ids, loaded.config.optim.lr)
    assert f"{found.loss:.4f}" in text and f"{found.update.loss:.4f}" in text
    assert f"weights of step {loaded.step}" in " ".join(text.split())
    explained(str(run), [], None)
    alone = tmp_path / "alone.pt"
    alone.write_bytes(next((run / "checkpoints").glob("step-*.pt")).read_bytes())
    stages = [
        whole.partition("TOKENS")[2] for whole in (text, explained(str(alone), [], "to be or"))
    ]
    assert stages[0] == stages[1] != ""
    alone.unlink()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files


def test_a_run_whose_corpus_has_gone_needs_a_text(run, text_file):
    text_file.unlink()
    explained(str(run), [], "to be")
    with pytest.raises(DataError, match=r"text\.txt is not there.*Fix: .*--text"):
        explained(str(run), [], None)


# What is refused


@pytest.mark.parametrize(
    ("what", "overrides", "text", "pattern"),
    [
        ("nowhere", [], None, "nowhere: .*names.*Fix: gptexp explain names"),
        ("shakespear", [], None, "Fix: gptexp explain shakespeare"),
        ("model.n_layer=2", [], None, "model.n_layer=2: .*Fix: "),
        ("documents", ["model.n_layr=2"], None, r"model\.n_layr: .*did you mean"),
        ("documents", ["model.n_layer=0"], None, r"model\.n_layer: 0 is below 1"),
        ("documents", ["data=names"], None, "data: given twice"),
        ("documents", ["init_from=x"], None, "init_from: .*Fix: gptexp explain x"),
        ("documents", [], "émma", r"'é' \(U\+00E9\)"),
        ("documents", [], "em\nma", "--text: .*one document"),
        ("documents", [], "", "--text: '' is not one document"),
    ],
)
def test_what_is_wrong_is_one_line(names, what, overrides, text, pattern):
    given = [*names, *overrides] if what == "documents" else overrides
    with pytest.raises((ConfigError, DataError), match=pattern) as raised:
        explained(what, given, text)
    assert ONE_LINE.fullmatch(only(problem_lines(raised.value)))


def test_a_text_needs_two_tokens_and_a_run_takes_no_overrides(text_file, run):
    with pytest.raises(DataError, match=r"--text: 't' has no token that follows.*Fix: "):
        explained("text", [f"data.path={text_file}"], "t")
    with pytest.raises(ConfigError, match=r"seed=1: a run has its own config\. Fix: "):
        explained(str(run), ["seed=1"], None)


def test_the_command_prints_it(names, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["gptexp", "explain", "documents", *names, "--text", "mia"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert shown == explained("documents", names, "mia") + "\n"
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.setattr(sys, "argv", ["gptexp", "explain", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert re.fullmatch(r"gptexp: error: nowhere: .+\n", capsys.readouterr().err)


def test_the_boundary_is_made_visible(walked):
    *_, found = walked()
    assert found.vocabulary[found.ids[0]] == found.vocabulary[found.target_ids[-1]] == "↵"
