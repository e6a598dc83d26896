"""microGPT in plain Python, one scalar at a time: slow, short, and the oracle of model.GPT.

It imports the standard library alone, so that it reads in one sitting and shares no code with what
it checks. `python -m gptexp.reference` trains it on names and prints new ones.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import NoReturn


@dataclass(slots=True, eq=False, repr=False)  # each value is itself alone; a graph has no end
class Value:
    """A number that remembers what it was computed from, for reverse-mode differentiation."""

    data: float
    children: tuple[Value, ...] = ()
    slopes: tuple[float, ...] = ()  # the local gradients, d(self)/d(child), one for each child
    grad: float = 0.0  # d(output)/d(self), added to by output.backward()

    def __add__(self, other: Value | float) -> Value:
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Value | float) -> Value:
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> Value:  # the exponent is a constant
        slope = exponent * math.pow(self.data, exponent - 1) if exponent else 0.0
        return Value(math.pow(self.data, exponent), (self,), (slope,))

    def log(self) -> Value:
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self) -> Value:
        result = math.exp(self.data)
        return Value(result, (self,), (result,))

    def relu(self) -> Value:  # its slope at 0 is taken to be 0, as torch has it
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -other

    def __truediv__(self, other: Value | float) -> Value:
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        """Add d(self)/d(v) to the grad of every v below; once for each graph; at any depth."""
        users, pending = {self: 0}, [self]
        while pending:
            for child in pending.pop().children:
                if child not in users:
                    users[child] = 0
                    pending.append(child)
                users[child] += 1
        self.grad, ready = 1.0, [self]
        while ready:  # those whose users have all added to their gradient (Kahn 1962)
            value = ready.pop()
            for child, slope in zip(value.children, value.slopes, strict=True):
                child.grad += slope * value.grad
                users[child] -= 1
                if not users[child]:
                    ready.append(child)


Vector = list[Value]
Rows = list[list[float]]  # a matrix [nout][nin]
Cache = list[tuple[list[Vector], list[Vector]]]  # per layer: keys and values of the past tokens


def dot(a: Vector, b: Vector) -> Value:
    return reduce(add, [x * y for x, y in zip(a, b, strict=True)])


def plus(a: Vector, b: Vector) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def rms_norm(x: Vector) -> Vector:
    """x over its root mean square, without a gain (Zhang and Sennrich 2019)."""
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5  # 1e-5 for an x of zeros
    return [value * scale for value in x]


def log_softmax(x: Vector) -> Vector:
    """log p of each, in nats: without a p that could round to 0, or an exp that could overflow."""
    top = max(value.data for value in x)
    log_total = reduce(add, [(value - top).exp() for value in x]).log() + top
    return [value - log_total for value in x]


def attend(q: Vector, keys: list[Vector], values: list[Vector], n_head: int) -> Vector:
    """What one query [n_embd] reads of the tokens up to its own (Vaswani et al. 2017)."""
    size, out = len(q) // n_head, []
    for start in range(0, len(q), size):
        head = slice(start, start + size)
        scores = [dot(q[head], key[head]) * size**-0.5 for key in keys]
        weights = [log_p.exp() for log_p in log_softmax(scores)]
        columns = zip(*(value[head] for value in values), strict=True)
        out += [dot(weights, list(column)) for column in columns]
    return out


def draw_weights(
    rng: random.Random, vocab_size: int, n_layer: int = 1, n_embd: int = 16, block_size: int = 16
) -> dict[str, Rows]:
    """Every weight of a microGPT from N(0, 0.08), as {name: rows [nout][nin]}."""
    n, wide = n_embd, 4 * n_embd
    shapes = {"wte": (vocab_size, n), "wpe": (block_size, n), "lm_head": (vocab_size, n)}
    for i in range(n_layer):
        shapes |= {f"layer{i}.attn_w{name}": (n, n) for name in "qkvo"}
        shapes |= {f"layer{i}.mlp_fc1": (wide, n), f"layer{i}.mlp_fc2": (n, wide)}
    return {
        name: [[rng.gauss(0, 0.08) for _ in range(nin)] for _ in range(nout)]
        for name, (nout, nin) in shapes.items()
    }


class Model:
    """microGPT with these weights, {name: rows [nout][nin]} as `draw_weights` names them."""

    def __init__(self, weights: dict[str, Rows], n_head: int) -> None:
        self.weights = {k: [[Value(w) for w in row] for row in m] for k, m in weights.items()}
        self.n_head = n_head
        self.n_layer = sum(name.endswith(".attn_wq") for name in weights)
        self.block_size = len(weights["wpe"])
        self.parameters = [w for rows in self.weights.values() for row in rows for w in row]

    def empty_cache(self) -> Cache:
        return [([], []) for _ in range(self.n_layer)]

    def linear(self, name: str, x: Vector) -> Vector:
        return [dot(row, x) for row in self.weights[name]]

    def finish_block(self, i: int, x: Vector, heads: Vector) -> Vector:
        """What follows the heads of layer i: their projection, the MLP, and both residuals."""
        x = plus(x, self.linear(f"layer{i}.attn_wo", heads))
        hidden = [h.relu() for h in self.linear(f"layer{i}.mlp_fc1", rms_norm(x))]
        return plus(x, self.linear(f"layer{i}.mlp_fc2", hidden))

    def forward(self, token: int, cache: Cache) -> Vector:
        """Logits [vocab_size] after one more token, whose keys and values join the cache."""
        position = len(cache[0][0])  # an IndexError from block_size on
        x = rms_norm(plus(self.weights["wte"][token], self.weights["wpe"][position]))
        for i, (keys, values) in enumerate(cache):
            normed = rms_norm(x)
            q, k, v = (self.linear(f"layer{i}.attn_w{name}", normed) for name in "qkv")
            keys.append(k)
            values.append(v)
            x = self.finish_block(i, x, attend(q, keys, values, self.n_head))
        return self.linear("lm_head", x)

    def forward_uncached(self, tokens: list[int]) -> list[Vector]:
        """Logits [time][vocab_size], layer by layer over all tokens at once: equal to `forward`."""
        wte, wpe = self.weights["wte"], self.weights["wpe"]
        stream = [rms_norm(plus(wte[token], wpe[t])) for t, token in enumerate(tokens)]
        for i in range(self.n_layer):
            normed = [rms_norm(x) for x in stream]
            q, k, v = ([self.linear(f"layer{i}.attn_w{n}", x) for x in normed] for n in "qkv")
            for t, x in enumerate(stream):
                heads = attend(q[t], k[: t + 1], v[: t + 1], self.n_head)
                stream[t] = self.finish_block(i, x, heads)
        return [self.linear("lm_head", x) for x in stream]


def loss(model: Model, tokens: list[int]) -> Value:
    """Mean -log p in nats of a document's tokens after the first, cut to block_size of them."""
    n, cache = min(len(tokens) - 1, model.block_size), model.empty_cache()
    log_p = [log_softmax(model.forward(tokens[t], cache))[tokens[t + 1]] for t in range(n)]
    return -reduce(add, log_p) / n


class Adam:
    """Kingma and Ba 2015: for each weight it keeps a mean of g and one of g*g."""

    def __init__(self, parameters: Vector) -> None:
        self.parameters, self.updates = parameters, 0
        self.means, self.squares = [0.0] * len(parameters), [0.0] * len(parameters)

    def step(self, lr: float) -> None:
        """One update by the gradients, which are then set to 0."""
        b1, b2, eps = 0.85, 0.99, 1e-8
        self.updates += 1
        for i, p in enumerate(self.parameters):
            m = self.means[i] = b1 * self.means[i] + (1 - b1) * p.grad
            v = self.squares[i] = b2 * self.squares[i] + (1 - b2) * p.grad**2
            # Both began at 0: the corrections take the share of that beginning out.
            mean, square = m / (1 - b1**self.updates), v / (1 - b2**self.updates)
            p.data -= lr * mean / (math.sqrt(square) + eps)
            p.grad = 0.0


def train(model: Model, documents: list[list[int]], num_steps: int) -> Iterator[float]:
    """Update on one document of tokens a step, in turn; yields each loss, before its update."""
    adam = Adam(model.parameters)
    for step in range(num_steps):
        step_loss = loss(model, documents[step % len(documents)])
        step_loss.backward()
        adam.step(0.01 * (1 - step / num_steps))  # a straight line from 0.01 to 0
        yield step_loss.data


def sample(model: Model, rng: random.Random, bos: int, temperature: float = 0.5) -> list[int]:
    """Tokens drawn one after the other until BOS, which is left out, or block_size of them."""
    tokens, cache = [bos], model.empty_cache()
    while len(tokens) <= model.block_size:
        logits = [logit / temperature for logit in model.forward(tokens[-1], cache)]
        chances = [math.exp(log_p.data) for log_p in log_softmax(logits)]
        token = rng.choices(range(len(chances)), weights=chances)[0]
        if token == bos:
            break
        tokens.append(token)
    return tokens[1:]


def encode(document: str, chars: str) -> list[int]:
    """[BOS], its characters, [BOS]; raises ValueError for one that is not in `chars`."""
    return [len(chars), *(chars.index(c) for c in document), len(chars)]


def refuse(problem: str, fix: str) -> NoReturn:
    print(f"gptexp: error: {problem}. Fix: {fix}", file=sys.stderr)
    sys.exit(2)


def read_documents(path: Path | None) -> list[str]:
    """Stripped, non-empty lines of a file, else of the cached names.txt; exits with 2 if bad."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gptexp"
    names = Path(os.environ.get("GPTEXP_DATA_DIR") or cache) / "names.txt"  # as in assets.py
    shown = str(path or "names.txt").encode("unicode_escape").decode()  # one line, in any case
    fix = "" if path else "python run.py data=names fetches it, or "
    fix += "give a UTF-8 file with a name a line"
    try:
        text = (path or names).read_bytes().decode().removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        refuse(f"{shown}: cannot be read: {error}", fix)
    documents = [line.strip() for line in text.split("\n") if line.strip()]
    return documents or refuse(f"{shown}: holds no text", fix)


def run(documents: list[str], num_steps: int, seed: int, samples: int) -> None:
    """Train on a document a step, saying how it goes, and print new ones."""
    rng = random.Random(seed)
    rng.shuffle(documents)
    chars = "".join(sorted(set("".join(documents))))
    model = Model(draw_weights(rng, vocab_size=len(chars) + 1), n_head=4)
    print(
        f"{len(documents)} documents, {len(chars) + 1} tokens, {len(model.parameters)} parameters"
    )
    encoded = [encode(document, chars) for document in documents[: max(1, num_steps)]]
    losses: list[float] = []
    for step_loss in train(model, encoded, num_steps):
        losses.append(step_loss)
        if len(losses) == 1 or len(losses) % max(1, num_steps // 20) == 0:
            recent = sum(losses[-50:]) / len(losses[-50:])  # the loss of one name says little
            print(f"step {len(losses)} of {num_steps}: mean loss {recent:.4f}", flush=True)
    for _ in range(samples):
        print("".join(chars[i] for i in sample(model, rng, bos=len(chars))), flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        refuse(message, "python -m gptexp.reference --help")


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(prog="python -m gptexp.reference", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a document a line; else names.txt")
    for name, default in {"steps": 1000, "seed": 42, "samples": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args(arguments)
    try:
        run(read_documents(options.file), options.steps, options.seed, options.samples)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader had enough, and Python's own flush at the end would fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    gc.disable()  # graphs have no cycles: three times as fast without looking for some
    main()
