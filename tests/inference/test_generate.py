"""Generation on known logits, and from runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import samples
from torch import Tensor, nn

import gptexp
from gptexp.errors import CheckpointError, ConfigError, DataError
from gptexp.experiment.run import run_experiment
from gptexp.inference.dials import Sampling
from gptexp.inference.generate import draw, generate
from gptexp.models.build import build_model
from gptexp.models.gpt import GPT


class Counter(nn.Module):
    """Predicts the last token plus one, and remembers the longest context it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0

    def forward(self, ids: Tensor) -> Tensor:
        self.longest = max(self.longest, ids.shape[1])
        return nn.functional.one_hot((ids + 1) % 10, 10).float() * 50


def test_the_context_is_cropped_to_the_block_size():
    network = Counter()
    new = generate(network, [torch.tensor([1, 2, 3, 4, 5])], 6, 4, Sampling(1.0, None, 0))
    assert new == [[6, 7, 8, 9, 0, 1]]
    assert network.longest == 4


def test_prompts_of_different_lengths_go_on_side_by_side():
    prompts = [torch.tensor(ids) for ids in ([1, 1, 1, 1, 5], [7], [2, 3])]
    new = generate(Counter(), prompts, 3, 4, Sampling(1.0, None, 0), num=2)
    assert new == [[6, 7, 8]] * 2 + [[8, 9, 0]] * 2 + [[4, 5, 6]] * 2
    new = generate(Counter(), prompts, 9, 8, Sampling(1.0, None, 0), end=9)
    assert new == [[6, 7, 8], [8], [4, 5, 6, 7, 8]]


def test_a_row_that_is_said_to_be_over_is_not_drawn_on():
    prompts, over, seen = [torch.tensor([1]), torch.tensor([5])], set(), []
    for row, token in draw(Counter(), prompts, 3, 4, Sampling(1.0, None, 0), 1, None, over):
        seen.append((row, token))
        if (row, token) == (0, 2):
            over.add(0)
    assert seen == [(0, 2), (1, 6), (1, 7), (1, 8), (1, None)]


def test_sampling_leaves_the_global_generator_and_the_mode_alone():
    network = Counter().train()
    before = torch.get_rng_state()
    generate(network, [torch.tensor([1])], 5, 4, Sampling(1.0, None, 3))
    assert torch.equal(before, torch.get_rng_state())
    assert network.training
    left = draw(network, [torch.tensor([1])], 5, 4, Sampling(1.0, None, 3), 1, None, set())
    next(left)
    assert not network.training
    left.close()
    assert network.training, "as after an answer that Ctrl-C broke off"


def uncached(network, monkeypatch):
    monkeypatch.setattr(type(network), "new_cache", lambda self: None)
    return network


MODELS = [
    *("model=micro", "model=bigram", "model=mlp", "model.n_layer=2 model.n_embd=32"),
    *("model.position=none model.n_kv_head=1", "model.position=rope model.n_kv_head=2"),
    "model=modern_laptop model.n_layer=2 model.n_embd=32 model.window=[4,0]",
    "model.qk_norm=true model.position=rope model.window=[3]",
]


@pytest.mark.parametrize("words", MODELS)
def test_cached_tokens_are_those_that_are_read_anew_each_time(composed, words, monkeypatch):
    """Up to the block size and beyond it, of prompts of different lengths, some of which end."""
    cfg = composed(*words.split(), "model.block_size=12").model
    network, vocab_size = build_model(cfg, 11, seed=1).eval(), 11
    for parameter in network.parameters():  # far from uniform
        parameter.data.mul_(3)
    prompts = [torch.arange(length) % vocab_size for length in (4, 1, 15)]
    asked = (network, prompts, 20, 12, Sampling(1.0, 8, 3, repetition_penalty=1.2), 3)
    cached = generate(*asked), generate(*asked, end=5)
    uncached(network, monkeypatch)
    assert cached == (generate(*asked), generate(*asked, end=5))
    assert len({len(row) for row in cached[1]}) > 2


def test_a_cached_token_is_read_once_and_the_context_whole_beyond_the_block_size(composed):
    network, read = build_model(composed("model=micro").model, 5, seed=0), []
    network.register_forward_pre_hook(lambda _, given: read.append(tuple(given[0].shape)))
    generate(network, [torch.tensor([1, 2, 3])], 16, 16, Sampling(1.0, None, 0), num=2)
    assert read == [(2, 3)] + [(2, 1)] * 13 + [(2, 16)] * 2


def test_rows_that_are_over_are_read_no_more(composed):
    network, read = build_model(composed("model=micro").model, 5, seed=0), []
    network.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    prompt, over = torch.tensor([1]), set()
    for row, token in draw(network, [prompt], 9, 16, Sampling(1.0, None, 0), 8, None, over):
        if row < 7 and token is not None:
            over.add(row)
    assert read == [8] + [1] * 8


def test_an_own_model_whose_forward_takes_no_cache_reads_all(composed):
    class Own(GPT):
        def forward(self, ids):
            return super().forward(ids)

    cfg = composed("model=micro").model
    own, ours = Own(cfg, 5), build_model(cfg, 5, seed=0)
    own.load_state_dict(ours.state_dict())
    asked = ([torch.tensor([1])], 20, 16, Sampling(1.0, None, 0))
    assert generate(own, *asked) == generate(ours, *asked)


TRAINED: list[Path] = []  # one run for all tests here, which leave it as it is


@pytest.fixture
def run(small, tmp_path_factory, quick) -> Path:
    if not TRAINED:
        outcome = run_experiment(small(), tmp_path_factory.mktemp("outputs"))
        assert outcome.state == "done"
        TRAINED.append(outcome.path)
    return TRAINED[0]


def test_load_gives_model_tokenizer_config_and_metrics(run, small):
    loaded = gptexp.load(run)
    assert loaded.config == small(f"data.path={loaded.config.data.path}")
    assert not loaded.model.training
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("to be")) == "to be"
    assert [line["step"] for line in loaded.metrics if "val/loss" in line] == [0, 4, 8, 12]


def test_the_best_checkpoint_alone_is_enough_to_sample(run, tmp_path):
    file = next((run / "checkpoints").glob("step-*.pt"))
    alone = tmp_path / "elsewhere.pt"
    alone.write_bytes(file.read_bytes())
    options = {"tokens": 20, "num": 2, "seed": 5}
    assert gptexp.load(alone).sample("to ", **options) == gptexp.load(run).sample("to ", **options)


def test_the_seed_decides_and_the_prompt_comes_first(run):
    loaded = gptexp.load(run)
    one, same, other = (loaded.sample("be ", tokens=30, seed=seed)[0] for seed in (1, 1, 2))
    assert one == same != other
    assert one.startswith("be ") and len(one) == 33


def test_a_recorded_sample_can_be_drawn_again(run):
    loaded = gptexp.load(run)
    line = next(line for line in samples(run) if line["step"] == loaded.step)
    settings = {"temperature": line["temperature"], "top_k": line["top_k"], "seed": line["seed"]}
    again = loaded.sample(line["prompt"], tokens=len(line["text"]), **settings)
    assert again == [line["prompt"] + line["text"]]


def test_B6_a_prompt_with_unknown_characters_names_them(run):
    with pytest.raises(DataError, match=r"'é' \(U\+00E9\)"):
        gptexp.load(run).sample("né")


def test_a_batch_of_prompts_gives_each_the_texts_that_it_has_alone(run):
    loaded, options = gptexp.load(run), {"tokens": 30, "num": 3, "seed": 4, "temperature": 1.2}
    prompts = ["to be or not", "b", "o be", "to be or not to be or not"]
    alone = [text for prompt in prompts for text in loaded.sample(prompt, **options)]
    assert loaded.sample(prompts, **options) == alone
    assert loaded.sample(iter(prompts), **options) == alone
    assert len(set(alone)) == len(alone)


def test_a_text_ends_before_a_stop_string_which_the_prompt_may_hold(run):
    loaded, options = gptexp.load(run), {"tokens": 60, "seed": 2, "num": 4}
    whole = loaded.sample("to be", **options)
    stopped = loaded.sample("to be", **options, stop=["o", "be"])
    cut = [[text[5:].partition(stop)[0] for stop in ("o", "be")] for text in whole]
    expected = [text[:5] + min(parts, key=len) for text, parts in zip(whole, cut, strict=True)]
    assert stopped == expected != whole
    assert loaded.sample("to be", **options, stop="o") == [
        text[:5] + text[5:].partition("o")[0] for text in whole
    ]


def test_a_stream_says_piece_by_piece_what_a_sample_is(run):
    loaded = gptexp.load(run)
    pieces = [*loaded.stream(["to", "be or"], Sampling(0.8, None, 5), 12, 2)]
    assert [piece.number for piece in pieces[:4]] == [0, 1, 2, 3]
    assert [piece.added for piece in pieces[:4]] == ["to", "to", "be or", "be or"]
    assert sorted(piece.number for piece in pieces if piece.is_last) == [0, 1, 2, 3]
    texts = ["".join(p.added for p in pieces if p.number == number) for number in range(4)]
    assert texts == loaded.sample(["to", "be or"], tokens=12, num=2, seed=5)
    assert len(pieces) >= 4 + 4 * 12


def test_a_stream_refuses_before_its_first_piece_is_asked_for(run):
    loaded = gptexp.load(run)
    for prompts, sampling in ([None], Sampling(-1, None, 0)), ([], Sampling(1, None, 0)):
        with pytest.raises(ConfigError):
            loaded.stream(prompts, sampling, 9)
    with pytest.raises(DataError, match="U\\+00E9"):
        loaded.stream(["to", "né"], Sampling(1, None, 0), 9)


@pytest.mark.parametrize("prompt", [5, b"to", [5], ["to", None], 1.0])
def test_a_prompt_that_is_no_text_is_refused(run, prompt):
    with pytest.raises(ConfigError, match="prompt: .* is no text"):
        gptexp.load(run).sample(prompt)


def test_B5_a_prompt_has_the_line_ends_that_texts_have(run):
    loaded, options = gptexp.load(run), {"tokens": 9, "seed": 1}
    assert loaded.sample("to\r\nbe\r", **options) == loaded.sample("to\nbe\n", **options)


def test_numbers_of_numpy_are_numbers(run):
    settings = {"tokens": np.int64(3), "num": np.int32(2), "seed": np.int64(1)}
    drawn = gptexp.load(run).sample("to ", temperature=np.float32(0.5), **settings)
    assert drawn == gptexp.load(run).sample("to ", temperature=0.5, tokens=3, num=2, seed=1)


def test_an_empty_prompt_is_refused(run):
    with pytest.raises(DataError, match="prompt: empty"):
        gptexp.load(run).sample("")


def test_a_run_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="not there.*Fix:"):
        gptexp.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="holds no runs"):
        gptexp.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no best checkpoint"):
        gptexp.load(tmp_path)


def test_an_entry_stands_for_its_checkpoint(run):
    best = gptexp.load(run / "checkpoints" / "best.json")
    assert best.sample("to ", tokens=9) == gptexp.load(run).sample("to ", tokens=9)


@pytest.mark.parametrize(
    "setting",
    [
        *({"temperature": -1}, {"tokens": -1}, {"num": 0}, {"seed": -1}, {"top_k": 0}),
        *({"temperature": "0.8"}, {"temperature": None}, {"tokens": 1.5}, {"tokens": True}),
        *({"tokens": 2**63}, {"num": 10**30}, {"top_k": 2**64}),
        *({"num": "2"}, {"seed": None}, {"seed": 1.0}, {"top_k": 2.0}, {"top_k": [1]}),
        *({"top_p": 0}, {"top_p": 1.01}, {"top_p": "1"}, {"min_p": -0.1}, {"min_p": float("nan")}),
        *({"repetition_penalty": 0}, {"repetition_penalty": 11}, {"repetition_penalty": None}),
        *({"stop": ""}, {"stop": ["o", ""]}, {"stop": 5}, {"stop": [5]}, {"stop": None}),
    ],
    ids=str,
)
def test_a_notebook_is_told_of_settings_that_cannot_work(run, setting):
    with pytest.raises(
        ConfigError,
        match=r"^(temperature|tokens|num|seed|top-[kp]|min-p|repetition-penalty|stop): .*Fix: ",
    ):
        gptexp.load(run).sample("to ", **setting)


@pytest.mark.parametrize(("own", "used"), [(1, 1), (None, 2), (8, 2)])
def test_no_more_threads_draw_and_judge_than_trained(run, monkeypatch, own, used):
    loaded, seen = gptexp.load(run), []
    loaded.config.trainer.threads = own
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    loaded.sample("to ", tokens=1)
    loaded.evaluate("to be or not to be")
    assert seen == [used, 2, used, 2], "and those of before afterwards"
