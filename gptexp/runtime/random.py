"""Seeds of named random streams, and the state of torch's generators."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def stream_seed(seed: int, stream: str, *index: int) -> int:
    """A 63-bit seed for one named random stream at one index, such as the batch of one step.

    Streams of different names or indices are independent, so how often the run evaluates, logs or
    samples cannot move its weights.
    """
    words = "/".join([str(seed), stream, *map(str, index)])
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_dropout(seed: int, *rank_and_step: int) -> None:
    """Seed torch's default generators, of which dropout is the only user during training.

    Ranks behind the first have streams of their own, each anew where they join.
    """
    torch.manual_seed(stream_seed(seed, "dropout", *rank_and_step))


def random_bits(count: int) -> Tensor:
    """`count` int16 on the CPU, every value as likely, from a seed that torch's generator gives.

    That generator is the only state; numpy's is 20 times as fast at drawing many.
    """
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.SFC64(seed).random_raw(-(-count // 4))  # of 64 bits each
    return torch.from_numpy(words.view(np.int16))[:count]


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of the generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """The inverse of rng_state; what another kind of device left is passed over."""
    setters: dict[str, Callable[[Tensor], None]] = {
        "cpu": torch.set_rng_state,
        "cuda": lambda value: torch.cuda.set_rng_state(value, device),
        "mps": torch.mps.set_rng_state,
    }
    for kind in {"cpu", device.type} & state.keys():
        setters[kind](state[kind].cpu())
