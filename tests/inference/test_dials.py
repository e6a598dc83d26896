"""Each dial on known logits, against its formula in plain Python."""

import math
from fractions import Fraction

import pytest
import torch

from gptexp.errors import CheckpointError
from gptexp.inference.dials import Sampling, choose, penalised
from gptexp.inference.generate import generate

LOGITS = [0.0, 3.0, 1.0, 2.0, -1.0, 2.5]
DRAWS = 40_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(sampling: Sampling, logits: list[float] = LOGITS) -> list[float]:
    """How often each token is drawn."""
    drawn = choose(torch.tensor([logits]).expand(DRAWS, -1), sampling, generator()).flatten()
    return (drawn.bincount(minlength=len(logits)) / DRAWS).tolist()


def plain(sampling: Sampling, logits: list[float] = LOGITS) -> list[float]:
    """The probabilities by the formulas, in the documented order."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    left = order[: sampling.top_k]
    weights = {i: math.exp(logits[i] / sampling.temperature) for i in left}
    total, reached, nucleus = sum(weights.values()), 0.0, []
    for i in left:
        nucleus.append(i)
        reached += weights[i] / total
        if reached >= sampling.top_p:
            break
    kept = [i for i in nucleus if weights[i] >= sampling.min_p * weights[order[0]]]
    total = sum(weights[i] for i in kept)
    return [weights[i] / total if i in kept else 0.0 for i in range(len(logits))]


@pytest.mark.parametrize("temperature", [0.0, 1e-4, 1e-30, 1e-40, 5e-324])
def test_temperature_to_zero_is_greedy(temperature):
    assert choose(torch.tensor([LOGITS]), Sampling(temperature, None, 0), generator()).item() == 1


@pytest.mark.parametrize(
    "dials",
    [
        {},
        {"top_k": 2},
        {"top_k": 6},
        {"top_p": 0.5},
        {"top_p": 1e-9},
        {"top_p": 1e-300},
        {"top_p": 0.999},
        {"min_p": 0.3},
        {"min_p": 1.0},
        {"top_k": 3, "top_p": 0.6},
        {"top_p": 0.9, "min_p": 0.2},
        {"top_k": 4, "top_p": 0.95, "min_p": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_draws_follow_the_formulas_of_the_dials(temperature, dials):
    sampling = Sampling(temperature, **{"top_k": None, "seed": 0, **dials})
    drawn, expected = shares(sampling), plain(sampling)
    assert [share > 0 for share in drawn] == [share > 0 for share in expected]
    assert drawn == pytest.approx(expected, abs=0.01)


def test_top_p_is_taken_of_what_top_k_left():
    """The two likeliest come to 0.74 of all tokens, and to 0.81 of the first three."""
    alone, both = Sampling(1.0, None, 0, top_p=0.75), Sampling(1.0, 3, 0, top_p=0.75)
    assert sum(share > 0 for share in shares(alone)) == 3
    assert sum(share > 0 for share in shares(both)) == 2


def test_top_p_is_taken_at_the_temperature():
    kept = [sum(share > 0 for share in shares(Sampling(t, None, 0, top_p=0.8))) for t in (0.3, 3.0)]
    assert kept == [1, 4]


def test_top_k_keeps_exactly_k_where_logits_tie():
    assert sum(share > 0 for share in shares(Sampling(1.0, 2, 0), [0.0] * 4)) == 2


def test_top_p_keeps_as_few_as_reach_it_where_logits_tie():
    assert sum(share > 0 for share in shares(Sampling(1.0, None, 0, top_p=0.5), [0.0] * 4)) == 2


def test_the_penalty_is_that_of_ctrl_on_the_tokens_of_the_context():
    logits = torch.tensor([LOGITS, LOGITS])
    context = torch.tensor([[1, 1, 4], [0, 2, 5]])
    found = penalised(logits, context, 2.0, None)
    assert found.tolist() == [[0, 1.5, 1, 2, -2, 2.5], [0, 3, 0.5, 2, -1, 1.25]]
    assert penalised(logits, context, 2.0, 5)[1].tolist() == [0, 3, 0.5, 2, -1, 2.5]


def test_the_penalty_looks_at_what_the_model_reads_and_at_no_more():
    class Eager(torch.nn.Module):
        def forward(self, ids):
            logits = torch.zeros(*ids.shape, 4)
            logits[..., 3] = 1.0
            logits[..., 0] = 0.9
            return logits

    sampling = Sampling(0.0, None, 0, repetition_penalty=2.0)
    [new] = generate(Eager(), [torch.tensor([1])], 8, 2, sampling)
    assert new == [3, 0, 3, 3, 0, 3, 3, 0]
    [spared] = generate(Eager(), [torch.tensor([3])], 8, 4, sampling, end=3)
    assert spared == []


def test_dials_that_are_off_draw_the_same_tokens():
    off = Sampling(0.8, None, 7, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
    logits = torch.randn(500, 9, generator=generator(1))
    assert torch.equal(
        choose(logits, off, generator(7)), choose(logits, Sampling(0.8, None, 7), generator(7))
    )
    scaled = (logits - logits.max(dim=-1, keepdim=True).values) / 0.8
    as_before = torch.multinomial(scaled.softmax(-1), 1, generator=generator(7))
    assert torch.equal(choose(logits, off, generator(7)), as_before)


@pytest.mark.parametrize("logit", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_one_line(logit):
    """As of a checkpoint of somebody else, whose weights are NaN or too large."""
    with pytest.raises(CheckpointError, match="not finite"):
        choose(torch.tensor([LOGITS, [*LOGITS[1:], logit]]), Sampling(1.0, None, 0), generator())


def test_tokens_may_be_ruled_out():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf]])
    assert choose(logits, Sampling(1.0, None, 0), generator()).item() == 1


def test_dials_may_be_numbers_that_torch_does_not_know():
    floats, fractions = (
        {"temperature": kind("1.5"), "repetition_penalty": kind("1.5"), "top_p": kind("0.9")}
        for kind in (float, Fraction)
    )
    model = torch.nn.Embedding(4, 4)
    drawn = [
        generate(model, [torch.tensor([1, 2])], 6, 4, Sampling(top_k=None, seed=0, **dials))
        for dials in (floats, fractions)
    ]
    assert drawn[0] == drawn[1]
