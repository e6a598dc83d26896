"""model.GPT in float64 against the scalar engine: every logit, loss, gradient and Adam update."""

import gc
import random
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from gptexp import reference
from gptexp.config import Activation, AdamConfig, GPTConfig, Norm, Position
from gptexp.interchange import microgpt
from gptexp.interchange.microgpt import MicroGPT
from gptexp.models.build import build_model
from gptexp.optim.build import build_optimizer

CLOSE = {"rtol": 0.0, "atol": 1e-9}
LR = 0.01
SHAPES = {  # n_layer, n_head, n_embd, block_size, vocab_size
    "microgpt": (1, 4, 16, 16, 27),
    "another": (2, 2, 8, 6, 5),
}
LENGTHS = {"short": -3, "exact": 0, "cut": 4}  # targets beyond block_size
CASES = [(shape, length) for shape in SHAPES for length in LENGTHS]


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """As the command does: the collector would walk every graph, in vain."""
    gc.disable()
    yield
    gc.enable()


def build_gpt(n_layer: int, n_head: int, n_embd: int, block_size: int, vocab_size: int):
    """The GPT of microGPT's shape, in float64."""
    cfg = GPTConfig(
        name="microgpt",
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        block_size=block_size,
        dropout=0.0,
        bias=False,
        init_std=0.08,
        norm=Norm.rmsnorm,
        norm_gain=False,
        embd_norm=True,
        final_norm=False,
        activation=Activation.relu,
        position=Position.learned,
        tie_head=False,
        scale_residuals=False,
    )
    return build_model(cfg, vocab_size, seed=0).double()


class Twins:
    """The two models with the same weights, and documents for them."""

    def __init__(self, shape: str) -> None:
        n_layer, n_head, n_embd, block_size, vocab_size = SHAPES[shape]
        self.n_layer, self.block_size, self.bos = n_layer, block_size, vocab_size - 1
        self.rng = random.Random(3)
        rows = reference.draw_weights(self.rng, vocab_size, n_layer, n_embd, block_size)
        self.scalar = reference.Model(rows, n_head)
        tensors = {name: torch.tensor(m, dtype=torch.float64) for name, m in rows.items()}
        chars = "".join(chr(97 + i) for i in range(self.bos))
        micro = MicroGPT(n_embd, n_head, n_layer, block_size, 0, None, chars, tensors)
        self.gpt = build_gpt(*SHAPES[shape])
        self.gpt.load_state_dict(microgpt.to_state(micro))

    def document(self, length: str) -> list[int]:
        n_char = self.block_size + LENGTHS[length] - 1
        return [self.bos, *(self.rng.randrange(self.bos) for _ in range(n_char)), self.bos]

    def gpt_loss(self, tokens: list[int]) -> torch.Tensor:
        n = min(len(tokens) - 1, self.block_size)
        logits = self.gpt(torch.tensor([tokens[:n]]))[0]  # [n, vocab_size]
        return F.cross_entropy(logits, torch.tensor(tokens[1 : n + 1]))

    def assert_weights_equal(self) -> None:
        ours = microgpt.from_state(self.gpt.state_dict(), self.n_layer)
        self.assert_equal(ours, "data")

    def assert_gradients_equal(self) -> None:
        state = {name: p.grad for name, p in self.gpt.named_parameters()}
        self.assert_equal(microgpt.from_state(state, self.n_layer), "grad")

    def assert_equal(self, ours: dict[str, torch.Tensor], attribute: str) -> None:
        assert ours.keys() == self.scalar.weights.keys()
        for name, rows in self.scalar.weights.items():
            theirs = [[getattr(value, attribute) for value in row] for row in rows]
            expected = torch.tensor(theirs, dtype=torch.float64)
            torch.testing.assert_close(ours[name], expected, **CLOSE, msg=lambda m, n=name: n + m)


def test_the_gpt_of_microgpts_shape_has_4192_parameters():
    twins = Twins("microgpt")
    assert sum(p.numel() for p in twins.gpt.parameters()) == 4_192
    assert len(twins.scalar.parameters) == 4_192


@pytest.mark.parametrize(("shape", "length"), CASES)
def test_logits_are_those_of_the_scalar_engine(shape, length):
    twins = Twins(shape)
    tokens = twins.document(length)[: twins.block_size]
    expected = [[v.data for v in logits] for logits in twins.scalar.forward_uncached(tokens)]
    with torch.no_grad():
        logits = twins.gpt(torch.tensor([tokens]))[0]
    torch.testing.assert_close(logits, torch.tensor(expected, dtype=torch.float64), **CLOSE)


@pytest.mark.parametrize(("shape", "length"), CASES)
def test_the_loss_and_every_gradient_are_those_of_the_scalar_engine(shape, length):
    twins = Twins(shape)
    tokens = twins.document(length)
    expected = reference.loss(twins.scalar, tokens)
    expected.backward()
    loss = twins.gpt_loss(tokens)
    loss.backward()
    assert loss.item() == pytest.approx(expected.data, rel=0, abs=1e-9)
    twins.assert_gradients_equal()
    assert max(p.grad.abs().max() for p in twins.gpt.parameters()) > 0.01  # not all zero


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_steps_of_adam_are_those_of_the_scalar_engine(shape, num_steps):
    twins = Twins(shape)
    documents = [twins.document(length) for length in LENGTHS]
    expected = list(reference.train(twins.scalar, documents, num_steps))
    betas = {"beta1": 0.85, "beta2": 0.99, "eps": 1e-8}
    optimizer = build_optimizer(
        AdamConfig(name="adam", lr=LR, weight_decay=0.0, **betas), twins.gpt
    )
    before = twins.gpt.token_table.weight.clone()
    losses = []
    for step in range(num_steps):
        loss = twins.gpt_loss(documents[step])
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = LR * (1 - step / num_steps)
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(expected, rel=0, abs=1e-9)
    assert (twins.gpt.token_table.weight - before).abs().max() > 0.009
    twins.assert_weights_equal()
